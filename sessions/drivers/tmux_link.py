"""Two ways to the same tmux server behind one interface, for threads; and a breaker that chooses between them.

`ControlLink` keeps a control client: no fork, no limit of length, news without asking. `PlainLink` starts a tmux for
every call, as `TmuxClient` does: slower, and right when a server's control mode is not. `SafeLink` uses the first as
long as it works.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import re
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from sessions.drivers.control_client import OPEN_TIMEOUT, ControlClient, Listener
from sessions.drivers.control_exchange import Reply, check_line
from sessions.drivers.control_session import Purpose
from sessions.drivers.tmux_client import TmuxClient, failed
from sessions.drivers.tmux_errors import NoServer, TmuxError, TmuxHung
from sessions.drivers.tmux_script import command, line

FAILURES = 3  # in a row, and control mode is left alone
PAUSE = 60.0  # seconds until it is tried again
_SPARE = 5.0  # seconds beyond a timeout until the link's own thread counts as lost
_PARSE_ERROR = re.compile(r"^-:(\d+): (.*)$", re.MULTILINE)  # of source-file; then none of its lines was run


class TmuxLink(Protocol):
    """A way to one tmux server; every method may be called by any thread."""

    def run(self, lines: Sequence[str], *, timeout: float, repeatable: bool = False) -> list[Reply]:
        """Run lines of commands, each whatever becomes of the others; the commands of a line until one fails.

        What fails inside braces (`if-shell … { }`) may not be told: have such commands print what became of them.

        Args:
            lines: as `tmux_script` makes them; any number.
            timeout: seconds for all of them.
            repeatable: whether it does no harm to run them twice, as when they only look.

        Returns: one reply per line, in order.
        Raises: InvalidInput, NoServer; TmuxHung, TmuxError: some of it may have been done.
        """
        ...

    def close(self) -> None:
        """Leave nothing behind. The link may be used again; it begins anew then."""
        ...


class PlainLink:
    """A tmux of its own for every call, with a script on its standard input."""

    def __init__(self, client: TmuxClient) -> None:
        self._client = client

    def run(self, lines: Sequence[str], *, timeout: float, repeatable: bool = False) -> list[Reply]:
        """See `TmuxLink.run`."""
        left = {number: check_line(text) for number, text in enumerate(lines)}
        refused: dict[int, Reply] = {}
        replies: dict[int, Reply] = {}
        while left and not replies:
            nonce = secrets.token_hex(8)
            completed = self._client.script(_marked(left, nonce), timeout=timeout)
            said = "" if nonce in completed.stdout else completed.stdout + completed.stderr
            parse_error = _PARSE_ERROR.search(said)
            if parse_error is not None:  # tmux refuses the whole script for one line: again, without that one
                number = list(left)[(int(parse_error[1]) - 1) // 2]
                refused[number] = Reply(False, [], f"parse error: {parse_error[2]}")
                del left[number]
                continue
            replies = _sort_out(left, nonce, completed.stdout, completed.stderr)
            if len(replies) < len(left):
                raise failed(completed)
        return [(refused | replies)[number] for number in range(len(lines))]

    def close(self) -> None:
        """Nothing is kept."""


def _marked(lines: dict[int, str], nonce: str) -> list[str]:
    """The lines, each followed by a word that is printed when all went well, and by one that always is."""
    marked = []
    for number, text in lines.items():
        marked.append(line(text, command("display-message", "-p", f"{nonce}-ok-{number}")))
        marked.append(command("display-message", "-p", f"{nonce}-end-{number}"))
    return marked


def _sort_out(lines: dict[int, str], nonce: str, stdout: str, stderr: str) -> dict[int, Reply]:
    """The replies of those lines that were run to their end; why one failed stands in the order of failing."""
    reasons = iter(stderr.splitlines())
    replies: dict[int, Reply] = {}
    rest = "\n" + stdout
    for number in lines:
        printed, mark, rest = rest.partition(f"\n{nonce}-end-{number}\n")
        if not mark:
            break
        rest = "\n" + rest
        success = f"\n{nonce}-ok-{number}"
        ok = printed.endswith(success)
        error = "" if ok else next(reasons, "tmux gave no reason")
        replies[number] = Reply(ok, [text.encode() for text in printed.removesuffix(success).split("\n")[1:]], error)
    return replies


class ControlLink:
    """A control client in an event loop and a thread of its own; it is started when needed, and anew when it ended.

    Args:
        client: how tmux is called for the server.
        purpose: what the control client is for.
        listener: is called in that thread with every notification; it must not block.
        host: the machine of the server, as ssh knows it; empty for this one.
    """

    def __init__(
        self,
        client: TmuxClient,
        *,
        purpose: Purpose = Purpose.COMMAND,
        listener: Listener | None = None,
        host: str = "",
    ) -> None:
        self._client = client
        self._purpose = purpose
        self._listener = listener
        self._host = host
        self._guard = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._control: ControlClient | None = None
        self._opening = asyncio.Lock()

    def run(self, lines: Sequence[str], *, timeout: float, repeatable: bool = False) -> list[Reply]:
        """See `TmuxLink.run`."""
        for text in lines:
            check_line(text)
        task = asyncio.run_coroutine_threadsafe(self._run(lines, timeout), self._running_loop())
        try:
            return task.result(timeout + OPEN_TIMEOUT + _SPARE)
        except concurrent.futures.TimeoutError:
            task.cancel()
            raise TmuxHung(f"tmux did not answer within {timeout:g} s", socket=str(self._client.socket_path)) from None

    def close(self) -> None:
        """End the control client, its session, and the thread."""
        with self._guard:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._end(), loop).result(OPEN_TIMEOUT + _SPARE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    async def _run(self, lines: Sequence[str], seconds: float) -> list[Reply]:
        async with self._opening:
            control = self._control
            if control is None or not control.usable:
                control = ControlClient(self._client, self._purpose, listener=self._listener, host=self._host)
                await control.open(timeout=min(seconds, OPEN_TIMEOUT))
                self._control = control
        return await control.batch(lines, timeout=seconds)

    async def _end(self) -> None:
        async with self._opening:
            control, self._control = self._control, None
            if control is not None:
                await control.close()
        await asyncio.get_running_loop().shutdown_default_executor()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._guard:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._opening = asyncio.Lock()
                self._thread = threading.Thread(target=self._loop.run_forever, name="tmux-control", daemon=True)
                self._thread.start()
            return self._loop


class BreakerState(NamedTuple):
    """How control mode does, for people and metrics."""

    open: bool  # True: plain calls take its place
    failures: int  # in a row
    trips: int  # how often it was given up
    retry_in: float  # seconds until it is tried again
    reason: str  # of the last failure


class SafeLink:
    """Control mode while it works; after some failures in a row plain calls, and control mode is tried again later.

    Args:
        control: the first choice.
        plain: takes its place; and repeats at once what failed, if it may be repeated.
        failures: in a row, until control mode is given up.
        pause: seconds until it is tried again.
        clock: seconds that only go on.
    """

    def __init__(
        self,
        control: TmuxLink,
        plain: TmuxLink,
        *,
        failures: int = FAILURES,
        pause: float = PAUSE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._control = control
        self._plain = plain
        self._limit = failures
        self._pause = pause
        self._clock = clock
        self._guard = threading.Lock()
        self._failures = 0
        self._trips = 0
        self._closed_until = 0.0  # while control mode is given up: when it is tried again
        self._reason = ""

    @property
    def state(self) -> BreakerState:
        """How control mode does."""
        with self._guard:
            opened = self._failures >= self._limit
            wait = max(self._closed_until - self._clock(), 0.0) if opened else 0.0
            return BreakerState(opened, self._failures, self._trips, wait, self._reason)

    def run(self, lines: Sequence[str], *, timeout: float, repeatable: bool = False) -> list[Reply]:
        """See `TmuxLink.run`."""
        if not self._may_try():
            return self._plain.run(lines, timeout=timeout, repeatable=repeatable)
        try:
            replies = self._control.run(lines, timeout=timeout, repeatable=repeatable)
        except NoServer:
            self._worked()  # it would be told the same by plain calls
            raise
        except TmuxError as error:
            self._failed(error)
            if not repeatable:
                raise
            return self._plain.run(lines, timeout=timeout, repeatable=True)
        self._worked()
        return replies

    def close(self) -> None:
        """End both."""
        self._control.close()
        self._plain.close()

    def _may_try(self) -> bool:
        with self._guard:
            if self._failures < self._limit:
                return True
            if self._clock() < self._closed_until:
                return False
            self._closed_until = self._clock() + self._pause  # one tries; the others wait for what becomes of it
            return True

    def _worked(self) -> None:
        with self._guard:
            self._failures = 0

    def _failed(self, error: TmuxError) -> None:
        with self._guard:
            self._failures += 1
            self._reason = error.what
            if self._failures >= self._limit:
                self._trips += self._failures == self._limit
                self._closed_until = self._clock() + self._pause


def safe_link(client: TmuxClient, *, listener: Listener | None = None) -> SafeLink:
    """The way to a server that threads should take.

    Args:
        client: how tmux is called for it.
        listener: is called with every notification, while control mode works.
    """
    return SafeLink(ControlLink(client, listener=listener), PlainLink(client))
