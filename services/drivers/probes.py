"""Asking a service how it is: what every probe answers, the hard end of each, and the plainest one, a connection.

The probes are coroutines that run beside each other in the prober's one event loop: two hundred that hang cost two
hundred small tasks, and each is given up when its time is over, whatever it waits for.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

from common.durations import format_duration
from common.redaction import mask_url

LONGEST_ANSWER = 300
"""Characters of an answer."""


@dataclass(frozen=True)
class Result:
    """What a probe found.

    Args:
        ok: whether it is as it should be.
        answer: for people, one line of at most `LONGEST_ANSWER` characters.
        took_ms: milliseconds from asking to knowing.
        facts: what else was learned, JSON-ready: the name and tools of an MCP server.
    """

    ok: bool
    answer: str
    took_ms: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)


class Bad(Exception):
    """The probe's answer is no; its text says why."""


def good(answer: str, **facts: Any) -> Result:
    """All is well."""
    return Result(True, short(answer), facts=facts)


def bad(answer: str) -> Result:
    """Something is not as it should be."""
    return Result(False, short(answer))


def short(text: str, limit: int = LONGEST_ANSWER) -> str:
    """One printable line without credentials of URLs, shortened at its end."""
    line = " ".join("".join(char if char.isprintable() else " " for char in mask_url(text)).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


async def ask(check: Coroutine[Any, Any, Result], seconds: float) -> Result:
    """Run a check to its end or to the end of its time, and say what came of it. Never raises for what it found.

    Args:
        seconds: then it is cancelled. What it does to clean up has as long once more and is left alone then.

    Raises: asyncio.CancelledError when whoever asks is cancelled; the check is, too.
    """
    began = time.perf_counter()
    task = asyncio.ensure_future(check)
    try:
        await asyncio.wait({task}, timeout=seconds)
        took = (time.perf_counter() - began) * 1000
        if task.done():
            return replace(_outcome(task), took_ms=round(took, 3))
        task.cancel()
        await asyncio.wait({task}, timeout=seconds)
        return replace(bad(f"no answer within {_within(seconds)}"), took_ms=round(took, 3))
    except asyncio.CancelledError:
        task.cancel()
        raise


def _outcome(task: asyncio.Future[Result]) -> Result:
    if task.cancelled():
        return bad("the check was cancelled")
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, Bad):
        return bad(str(error))
    if isinstance(error, OSError):
        return bad(reason(error))
    return bad(f"the check failed: {type(error).__name__}: {error}")


def _within(seconds: float) -> str:
    return format_duration(seconds) if seconds >= 1 and seconds == int(seconds) else f"{seconds:g} s"


def reason(error: OSError) -> str:
    """What the system says, without numbers and addresses."""
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused: nobody listens there"
    if isinstance(error, ConnectionError | TimeoutError) and error.errno:
        return os.strerror(error.errno).lower()
    return (error.strerror or str(error) or type(error).__name__).lower()


LOOPBACK = "127.0.0.1"


async def connect(host: str, port: int, **tls: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection. For this machine both of its addresses are tried: some programs listen on ::1 only.

    Args:
        tls: `ssl` and `server_hostname`, as `asyncio.open_connection` takes them.

    Raises: OSError, of the first address when none is reached.
    """
    try:
        return await asyncio.open_connection(host, port, **tls)
    except ConnectionRefusedError:
        if host != LOOPBACK:
            raise
        try:
            return await asyncio.open_connection("::1", port, **tls)
        except OSError:
            pass
        raise


async def tcp(host: str, port: int) -> Result:
    """Whether somebody accepts connections there."""
    try:
        _, writer = await connect(host, port)
    except OSError as error:
        return bad(f"{host}:{port}: {reason(error)}")
    writer.transport.abort()  # no farewell that could be waited for
    return good(f"{host}:{port} accepts connections")
