"""Long operations: asked for at a door, run as a process of their own by `run_operation`."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone
from django.utils.module_loading import import_string

from common.errors import Cancelled, Conflict, GaiaError, NotFound
from common.files import file_lock
from common.home import gaia_home
from events import log
from events.actor import acting_as, current_actor
from events.models import Level
from processes.actions.nodes import ensure_node
from processes.actions.processes import request_start
from processes.drivers.liveness import lock_held
from processes.models import Operation, Process
from processes.states import OPERATION_ACTIVE, EnvironmentBase, OperationState

_WRITE_EVERY_S = 0.2


class Progress:
    """What a running operation tells: how far it is, what it does, and whether it should stop."""

    def __init__(self, operation: Operation, listener: Callable[[Operation], None] | None = None) -> None:
        self._operation = operation
        self._listener = listener
        self._written = 0.0

    def __call__(self, done: float, total: float, message: str) -> None:
        """Say how far it is. Raises: Cancelled when somebody asked for that."""
        operation = self._operation
        finished = done >= total
        operation.done, operation.total, operation.message = done, total, message[:500]
        if self._listener:
            self._listener(operation)
        if not finished and time.monotonic() - self._written < _WRITE_EVERY_S:
            return
        self._written = time.monotonic()
        if self._listener is None:  # under the daemon, standard output is the operation's log
            print(f"[{done:g}/{total:g}] {message}", flush=True)
        Operation.objects.filter(pk=operation.pk).update(done=done, total=total, message=message[:500])
        self.check_cancelled()

    def check_cancelled(self) -> None:
        """Raises: Cancelled when somebody asked for that."""
        if Operation.objects.filter(pk=self._operation.pk, cancel_requested_at__isnull=False).exists():
            raise Cancelled(f"{self._operation.title} was cancelled", meaning="What was finished before stays.")


def request_operation(
    kind: str,
    title: str,
    *,
    subject: str,
    params: Mapping[str, Any],
    idempotency_key: str | None = None,
    detached: bool = True,
) -> Operation:
    """Ask for a long operation.

    Args:
        kind: which one, a key of `settings.GAIA_OPERATIONS`.
        subject: key of what it works on; one live operation per subject.
        idempotency_key: a repeated request with the same key gets the first one's operation.
        detached: let the daemon run it; False when the caller runs it itself with `run_operation`.

    Raises: Conflict when another one works on the same subject.
    """
    if idempotency_key:
        known = Operation.objects.filter(idempotency_key=idempotency_key).first()
        if known is not None:
            return known
    fail_interrupted(subject)
    try:
        with log.atomic():
            operation = Operation.objects.create(
                kind=kind,
                title=title,
                subject=subject,
                params=dict(params),
                actor=current_actor(),
                idempotency_key=idempotency_key or None,
            )
            operation.log = str(gaia_home().processes / f"operation-{operation.pk}.log")
            operation.save(update_fields=["log"])
            log.emit("operation.requested", subject=operation.owner, message=f"{title} was asked for", about=subject)
            if detached:
                _request_process(operation)
    except IntegrityError as error:
        other = Operation.objects.active().filter(subject=subject).first()
        raise Conflict(
            f"{other.title} is already running (operation {other.pk}, asked for by {other.actor})"
            if other
            else f"another operation works on {subject}",
            meaning="Two at once would overwrite each other, so this one did nothing.",
            fix=f"Wait for it (gaia operation follow {other.pk}) or cancel it." if other else "Run it again.",
            operation=other.pk if other else None,
        ) from error
    return operation


def _request_process(operation: Operation) -> Process:
    return request_start(
        ensure_node(),
        operation.owner,
        [sys.executable, str(settings.BASE_DIR / "manage.py"), "operate", str(operation.pk)],
        cwd=settings.BASE_DIR,
        env_base=EnvironmentBase.GAIA,
        log_file=Path(operation.log),
    )


def request_cancel(operation: Operation) -> bool:
    """Ask a live operation to stop at its next safe point; False when it has ended."""
    with log.atomic():
        changed = (
            Operation.objects.active()
            .filter(pk=operation.pk, cancel_requested_at=None)
            .update(cancel_requested_at=timezone.now())
        )
        if changed:
            log.emit(
                "operation.cancel_requested",
                subject=operation.owner,
                message=f"Cancel of {operation.title} was asked for",
            )
    return bool(changed)


def run_operation(pk: int, listener: Callable[[Operation], None] | None = None) -> Operation:
    """Run an operation to its end in this process.

    Args:
        pk: its id.
        listener: called on every step with the unsaved operation, for a progress bar.

    Returns: the operation in a terminal state; a failure is stored in `error`, not raised.
    Raises: NotFound; Conflict when it is not waiting to run.
    """
    operation = Operation.objects.filter(pk=pk).first()
    if operation is None:
        raise NotFound(f"there is no operation {pk}")
    if not _move(operation, OperationState.QUEUED, OperationState.RUNNING, "operation.started", "started"):
        operation.refresh_from_db()
        raise Conflict(f"operation {pk} is already {operation.state}")
    with acting_as(operation.actor), file_lock(foreground_lock(operation), what=operation.title):
        progress = Progress(operation, listener)
        try:
            progress.check_cancelled()
            work = import_string(settings.GAIA_OPERATIONS[operation.kind])
            result = work(progress, **operation.params)
        except Cancelled as error:
            _finish(operation, OperationState.CANCELLED, error=error.as_dict())
        except GaiaError as error:
            _finish(operation, OperationState.FAILED, error=error.as_dict())
        except KeyboardInterrupt:
            _finish(operation, OperationState.CANCELLED, error=Cancelled("interrupted at the terminal").as_dict())
            raise
        except Exception as error:  # a defect: the operator sees it, the log has the traceback
            traceback.print_exc()
            failure = GaiaError(
                f"{operation.title} failed: {type(error).__name__}: {error}",
                meaning="This is a defect in GAIA; nothing was rolled back, and running it again repairs what is missing.",
                fix=f"The whole traceback is in {operation.log or 'the terminal'}.",
            )
            _finish(operation, OperationState.FAILED, error=failure.as_dict())
        else:
            _finish(operation, OperationState.SUCCEEDED, result=result or {})
    operation.refresh_from_db()
    return operation


def fail_interrupted(subject: str | None = None) -> int:
    """Operations whose process is gone are failed, so that nothing waits for them; how many there were."""
    count = 0
    candidates = Operation.objects.active()
    for operation in candidates.filter(subject=subject) if subject else candidates:
        count += fail_if_interrupted(operation)
    return count


def fail_if_interrupted(operation: Operation) -> bool:
    """Fail an operation whose process has ended without finishing it."""
    process = Process.objects.filter(owner=operation.owner).order_by("-id").first()
    if process is None:
        alive = _foreground_alive(operation)
    else:
        alive = process.active
    if alive:
        return False
    operation.refresh_from_db()
    if not operation.active:
        return False
    error = GaiaError(
        f"{operation.title} was interrupted: its process was killed",
        meaning="It may be half done.",
        fix="Run it again: what is missing is repaired, the rest is left as it is.",
        code=process.exit_code if process else None,
    )
    return _finish(operation, OperationState.FAILED, error=error.as_dict())


def _foreground_alive(operation: Operation) -> bool:
    """An operation run at a terminal holds a lock file for as long as its process lives."""
    fresh = (timezone.now() - operation.created_at).total_seconds() < 5
    return fresh or lock_held(foreground_lock(operation))


def foreground_lock(operation: Operation) -> Path:
    """The lock file that an operation holds when it runs at a terminal."""
    return gaia_home().locks / f"operation-{operation.pk}.lock"


def _finish(operation: Operation, state: str, *, result: Any = None, error: dict[str, Any] | None = None) -> bool:
    told = {
        OperationState.SUCCEEDED: "succeeded",
        OperationState.CANCELLED: "was cancelled",
        OperationState.FAILED: f"failed: {error['what'] if error else ''}",
    }[OperationState(state)]
    fields: dict[str, Any] = {"ended_at": timezone.now(), "error": error}
    if result is not None:
        fields["result"] = result
    level = Level.ERROR if state == OperationState.FAILED else Level.INFO
    return _move(operation, OPERATION_ACTIVE, state, f"operation.{state}", told, fields=fields, level=level)


def _move(
    operation: Operation,
    before: str | tuple[str, ...],
    after: str,
    kind: str,
    told: str,
    *,
    fields: Mapping[str, Any] | None = None,
    level: str = Level.INFO,
) -> bool:
    states = (before,) if isinstance(before, str) else before
    changes = {"state": after, **(fields or {})}
    if after == OperationState.RUNNING:
        changes["started_at"] = timezone.now()
    with acting_as(operation.actor), log.atomic():
        changed = Operation.objects.filter(pk=operation.pk, state__in=states).update(**changes)
        if changed:
            log.emit(
                kind, subject=operation.owner, message=f"{operation.title} {told}", level=level, about=operation.subject
            )
    for name, value in changes.items() if changed else ():
        setattr(operation, name, value)
    return bool(changed)
