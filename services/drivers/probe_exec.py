"""Asking by a command: exit code 0 is a yes, and its last words are the answer."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from services.drivers.child import Child
from services.drivers.probes import Result, bad, good

_SHOWN_LINES = 3


async def command(argv: Sequence[str], *, cwd: Path | str, env: Mapping[str, str], user: str = "") -> Result:
    """Run a command to its end. Cancelled, it is killed with its whole group; so is what it left running.

    Args:
        argv: program and arguments, run without a shell.
        env: the complete environment.
        user: account it runs as, where we are root; "" for our own.
    """
    child = await Child.start(argv, cwd=cwd, env=env, user=user)
    try:
        code = await child.exited()
        words = last_lines(await child.last_words())
    finally:
        await child.end()
    if code == 0:
        return good(words or "exited with 0")
    return bad(f"{ending(code)}: {words}" if words else ending(code))


def last_lines(text: str) -> str:
    """The last lines of an output, as one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " · ".join(lines[-_SHOWN_LINES:])


def ending(code: int) -> str:
    """How a program ended, of the exit code that `subprocess` has of it."""
    if code < 0:
        with suppress(ValueError):
            return f"ended by {signal.Signals(-code).name}"
    return f"exited with {code}"
