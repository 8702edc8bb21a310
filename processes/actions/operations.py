"""Long operations: asked for at a door, run as a process of their own by `run_operation`."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone
from django.utils.module_loading import import_string

from common.errors import Cancelled, Conflict, GaiaError, InvalidInput, NotFound
from common.files import file_lock
from common.home import gaia_home
from common.locks import lock_held
from events import log
from events.actor import acting_as, current_actor
from events.models import Level
from processes.actions.harvest import harvest_if_gone, is_alive
from processes.actions.nodes import daemon_runs, ensure_node
from processes.actions.processes import request_start, request_stop
from processes.models import Operation, Process
from processes.states import EnvironmentBase, OperationState, ProcessState

_WRITE_EVERY_S = 0.2
_LONGEST_KEY = 100  # what the column holds
_LOCK_PATIENCE_S = 2.0  # somebody may only be looking whether it is held
_BEFORE_LOCK_S = 5.0  # a foreground operation is between its row and its lock
_KILLED = 128  # the shell's code for "killed by signal n" is 128 + n
_KEPT = "What was finished before stays."
_AGAIN = "Run it again: what is missing is repaired, the rest is left as it is."


class Progress:
    """What a running operation tells: how far it is, what it does, and whether it should stop."""

    def __init__(self, operation: Operation, listener: Callable[[Operation], None] | None = None) -> None:
        self._operation = operation
        self._listener = listener
        self._written = 0.0

    def __call__(self, done: float, total: float, message: str) -> None:
        """Say how far it is. Raises: Cancelled when somebody asked for that."""
        operation = self._operation
        operation.done, operation.total, operation.message = done, total, message[:500]
        if self._listener:
            self._listener(operation)
        if done < total and time.monotonic() - self._written < _WRITE_EVERY_S:
            return
        self._written = time.monotonic()
        if self._listener is None:  # under the daemon, standard output is the operation's log
            print(f"[{done:g}/{total:g}] {message}", flush=True)
        mine = Operation.objects.filter(pk=operation.pk, state=OperationState.RUNNING)
        if not mine.update(done=done, total=total, message=message[:500]):
            raise Conflict(f"{operation.title} is no longer running", meaning="Somebody has written it off meanwhile.")
        self.check_cancelled()

    def check_cancelled(self) -> None:
        """Raises: Cancelled when somebody asked for that."""
        if Operation.objects.filter(pk=self._operation.pk, cancel_requested_at__isnull=False).exists():
            raise Cancelled(f"{self._operation.title} was cancelled", meaning=_KEPT)


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

    Raises: NotFound for a kind that there is not; Conflict when another one works on the same subject.
    """
    if kind not in settings.GAIA_OPERATIONS:
        raise _unknown(kind)
    known = _same_request(idempotency_key, kind, params)
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
        known = _same_request(idempotency_key, kind, params)  # two with the same key at the same time
        if known is not None:
            return known
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


def check_key(idempotency_key: str | None) -> None:
    """Raises: InvalidInput for a key that cannot be one."""
    if idempotency_key and (len(idempotency_key) > _LONGEST_KEY or not idempotency_key.isprintable()):
        raise InvalidInput(
            f"an idempotency key has at most {_LONGEST_KEY} characters, all of them printable",
            meaning="Nothing was done.",
            fix="Use a UUID.",
        )


def _same_request(idempotency_key: str | None, kind: str, params: Mapping[str, Any]) -> Operation | None:
    """The operation a key stands for. Raises: InvalidInput for what is no key, Conflict when it was for another."""
    check_key(idempotency_key)
    known = Operation.objects.filter(idempotency_key=idempotency_key).first() if idempotency_key else None
    if known is not None and (known.kind, known.params, known.actor) != (kind, dict(params), current_actor()):
        raise Conflict(
            f"the idempotency key {idempotency_key} was used for another request (operation {known.pk})",
            meaning="Nothing was done.",
            fix="Use a new key for each request; the same key only to repeat one.",
            operation=known.pk,
        )
    return known


def _unknown(kind: str) -> NotFound:
    return NotFound(f"there is no operation {kind!r}", fix=f"There are: {', '.join(sorted(settings.GAIA_OPERATIONS))}.")


def _request_process(operation: Operation) -> Process:
    return request_start(
        ensure_node(),
        operation.owner,
        [sys.executable, str(settings.BASE_DIR / "manage.py"), "operate", str(operation.pk)],
        title=operation.title,
        cwd=settings.BASE_DIR,
        env={"GAIA_ROLE": "operation"},
        env_base=EnvironmentBase.GAIA,
        log_file=Path(operation.log),
    )


def request_cancel(operation: Operation) -> bool:
    """Ask a live operation to stop at its next safe point; one that waits to run is cancelled at once.

    Returns: False when it has ended, or was asked before.
    """
    with log.atomic():
        changed = (
            Operation.objects.active()
            .filter(pk=operation.pk, cancel_requested_at=None)
            .update(cancel_requested_at=timezone.now())
        )
        if not changed:
            return False
        log.emit(
            "operation.cancel_requested",
            subject=operation.owner,
            message=f"Cancel of {operation.title} was asked for",
        )
        error = Cancelled(f"{operation.title} was cancelled before it began").as_dict()
        if _end(operation, OperationState.CANCELLED, before=[OperationState.QUEUED], error=error):
            for process in Process.objects.active().filter(owner=operation.owner):
                request_stop(process)
    return True


def run_operation(pk: int, listener: Callable[[Operation], None] | None = None) -> Operation:
    """Run an operation to its end in this process.

    Args:
        pk: its id.
        listener: called on every step with the unsaved operation, for a progress bar.

    Returns: the operation in a terminal state; a failure is stored in `error`, not raised.
    Raises: NotFound; Conflict when it is not waiting to run; KeyboardInterrupt, once that is stored, too.
    """
    operation = Operation.objects.filter(pk=pk).first()
    if operation is None:
        raise NotFound(f"there is no operation {pk}")
    path = foreground_lock(operation)
    with acting_as(operation.actor), file_lock(path, timeout=_LOCK_PATIENCE_S, what=operation.title):
        if not _begin(operation):
            operation.refresh_from_db()
            raise Conflict(f"operation {pk} is already {operation.state}")
        try:
            _work(operation, Progress(operation, listener))
        except KeyboardInterrupt:  # Ctrl-C, or TERM under the daemon
            log.start_over()
            stopped = Cancelled(f"{operation.title} was stopped", meaning=_KEPT, fix=_AGAIN)
            _end(operation, OperationState.CANCELLED, error=stopped.as_dict())
            raise
        finally:
            path.unlink(missing_ok=True)  # nobody looks at it once the row says that it has ended
    operation.refresh_from_db()
    return operation


def _work(operation: Operation, progress: Progress) -> None:
    try:
        progress.check_cancelled()
        if operation.kind not in settings.GAIA_OPERATIONS:
            raise _unknown(operation.kind)
        result = import_string(settings.GAIA_OPERATIONS[operation.kind])(progress, **operation.params)
        _end(operation, OperationState.SUCCEEDED, result=result or {})
    except Cancelled as error:
        _end(operation, OperationState.CANCELLED, error=error.as_dict())
    except GaiaError as error:
        _end(operation, OperationState.FAILED, error=error.as_dict())
    except Exception as error:  # a defect: the operator sees it, the log has the traceback
        traceback.print_exc()
        failure = GaiaError(
            f"{operation.title} failed: {type(error).__name__}: {error}",
            meaning="This is a defect in GAIA; nothing was rolled back.",
            fix=f"{_AGAIN} The whole traceback is in {operation.log or 'the terminal'}.",
        )
        _end(operation, OperationState.FAILED, error=failure.as_dict())


def fail_interrupted(subject: str | None = None) -> int:
    """Operations whose process is gone are failed, so that nothing waits for them; how many there were."""
    count = 0
    candidates = Operation.objects.active()
    for operation in candidates.filter(subject=subject) if subject else candidates:
        count += fail_if_interrupted(operation)
    return count


def is_interrupted(operation: Operation) -> bool:
    """Whether nobody works on an operation any more that is said to be worked on; nothing is written."""
    process = Process.objects.filter(owner=operation.owner).order_by("-id").first()
    if process is None:
        return operation.active and not _foreground_alive(operation)
    gone = not process.active or (not daemon_runs() and process.pid is not None and not is_alive(process))
    return operation.active and gone


def fail_if_interrupted(operation: Operation) -> bool:
    """Fail an operation whose process has ended without finishing it."""
    process = Process.objects.filter(owner=operation.owner).order_by("-id").first()
    if process is not None and process.active and not daemon_runs():
        harvest_if_gone(process)
    if _foreground_alive(operation) if process is None else process.active:
        return False
    operation.refresh_from_db()
    if not operation.active:
        return False
    error = GaiaError(
        f"{operation.title} {_interruption(process)}",
        meaning="It may be half done." if process is None or process.started_at else "Nothing was done.",
        fix=_AGAIN,
        code=process.exit_code if process else None,
    )
    return _end(operation, OperationState.FAILED, error=error.as_dict())


def _interruption(process: Process | None) -> str:
    if process is not None and process.state == ProcessState.NOT_STARTED:
        return f"was not started: {process.problem}"
    if process is not None and process.state == ProcessState.LOST:
        return f"was interrupted: {process.problem}"
    if process is not None and process.exit_code is not None and process.exit_code < _KILLED:
        return f"was interrupted: its process ended with code {process.exit_code}"
    return "was interrupted: its process was killed"


def _foreground_alive(operation: Operation) -> bool:
    """An operation run at a terminal holds a lock file for as long as its process lives."""
    age = (timezone.now() - operation.created_at).total_seconds()
    return 0 <= age < _BEFORE_LOCK_S or lock_held(foreground_lock(operation))


def foreground_lock(operation: Operation) -> Path:
    """The lock file that an operation holds when it runs at a terminal."""
    return gaia_home().locks / f"operation-{operation.pk}.lock"


def _end(
    operation: Operation,
    state: str,
    *,
    before: Sequence[str] | None = None,
    result: Any = None,
    error: dict[str, Any] | None = None,
) -> bool:
    told = {
        OperationState.SUCCEEDED: "succeeded",
        OperationState.CANCELLED: "was cancelled",
        OperationState.FAILED: f"failed: {error['what'] if error else ''}",
    }[OperationState(state)]
    fields: dict[str, Any] = {"ended_at": timezone.now(), "error": error}
    if result is not None:
        fields["result"] = result
    return log.change(
        operation,
        state,
        before=before,
        kind=f"operation.{state}",
        message=f"{operation.title} {told}",
        level=Level.ERROR if state == OperationState.FAILED else Level.INFO,
        fields=fields,
        about=operation.subject,
    )


def _begin(operation: Operation) -> bool:
    return log.change(
        operation,
        OperationState.RUNNING,
        kind="operation.started",
        message=f"{operation.title} started",
        fields={"started_at": timezone.now()},
        about=operation.subject,
    )
