"""Following a long operation: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from common.durations import format_duration
from common.errors import Cancelled, GaiaError
from gaia_site.cli.ground import say
from processes.actions.operations import fail_if_interrupted, run_operation
from processes.models import Operation
from processes.states import OperationState

_LOOK_S = 0.15
_LINE_EVERY_S = 3.0
_BAR_WIDTH = 28


def finish(operation: Operation, *, detached: bool) -> Operation:
    """Bring an operation to its end: follow the daemon's, or run it here.

    Raises: the operation's own error when it failed or was cancelled.
    """
    show = progress_line()
    if detached:
        done = follow(operation, show)
    else:
        done = run_operation(operation.pk, show)
        show(done)
    if done.state != OperationState.SUCCEEDED:
        raise error_of(done)
    return done


def follow(operation: Operation, show: Callable[[Operation], None]) -> Operation:
    """Look at an operation until it ends. Ctrl-C stops the looking, not the operation."""
    try:
        while True:
            operation.refresh_from_db()
            show(operation)
            if not operation.active:
                return operation
            fail_if_interrupted(operation)
            time.sleep(_LOOK_S)
    except KeyboardInterrupt:
        say(f"\n{operation.title} goes on in the background: gaia operation follow {operation.pk}")
        raise


def progress_line() -> Callable[[Operation], None]:
    """A function that shows how far an operation is, on stderr."""
    return _bar if sys.stderr.isatty() else _Lines()


def _bar(operation: Operation) -> None:
    filled = round(operation.fraction * _BAR_WIDTH)
    bar = "█" * filled + "░" * (_BAR_WIDTH - filled)
    text = f"{bar} {operation.fraction:>4.0%} {operation.message}"
    sys.stderr.write(f"\r\x1b[2K{text[:100]}" + ("" if operation.active else "\n"))
    sys.stderr.flush()


class _Lines:
    def __init__(self) -> None:
        self._last = time.monotonic()
        self._said = ""

    def __call__(self, operation: Operation) -> None:
        if operation.message == self._said or (operation.active and time.monotonic() - self._last < _LINE_EVERY_S):
            return
        self._last, self._said = time.monotonic(), operation.message
        if operation.message:
            say(f"{operation.fraction:>4.0%} {operation.message}")


def error_of(operation: Operation) -> GaiaError:
    """The stored failure of an operation as an error again, with its exit code."""
    stored = operation.error or {}
    kind: type[GaiaError] = Cancelled if operation.state == OperationState.CANCELLED else GaiaError
    for each in _kinds(GaiaError):
        if each.code == stored.get("code"):
            kind = each
    error = GaiaError.__new__(kind)
    GaiaError.__init__(
        error,
        stored.get("what", f"{operation.title} {operation.state}"),
        meaning=stored.get("meaning", ""),
        fix=stored.get("fix", ""),
        **(stored.get("detail") or {}),
    )
    return error


def _kinds(base: type[GaiaError]) -> list[type[GaiaError]]:
    return [base, *(kind for child in base.__subclasses__() for kind in _kinds(child))]


def took(operation: Operation) -> str:
    """How long it ran."""
    if operation.started_at is None or operation.ended_at is None:
        return ""
    seconds = (operation.ended_at - operation.started_at).total_seconds()
    return f"{seconds:.1f} s" if seconds < 10 else format_duration(seconds)
