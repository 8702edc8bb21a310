"""A client of tmux in control mode, for an event loop: commands over one pipe, and what tmux tells by itself.

One process for any number of commands, none of which forks; commands as long as one likes, where arguments end at
16,347 bytes; and news of sessions, windows and output without asking. See tmux(1), CONTROL MODE.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from common.errors import Unavailable
from sessions.drivers.control_exchange import Desynchronised, Exchange, Reply, check_line, desynchronised
from sessions.drivers.control_notifications import Ended
from sessions.drivers.control_parser import Block, ControlParser, Exit, Item, Notification, Stray
from sessions.drivers.control_process import ControlProcess
from sessions.drivers.control_session import LIST_ORPHANS, Purpose, attach_argv, end_line, new_name, orphans
from sessions.drivers.tmux_client import TmuxClient, failed, no_server, says_no_server
from sessions.drivers.tmux_config import missing_tmux
from sessions.drivers.tmux_errors import TmuxError, TmuxHung
from sessions.drivers.tmux_script import command

Listener = Callable[[Notification | Ended], None]

OPEN_TIMEOUT = 5.0
WINDOW = 64  # lines in flight: tmux keeps their replies without limit
WINDOW_BYTES = 1_000_000  # and what is sent at once; one longer line goes alone
_GRACE = 1.0  # seconds for a client to end by itself
_GUARDS = (b"%begin ", b"%end ", b"%error ")

_log = logging.getLogger(__name__)


class ControlEnded(TmuxError):
    """The control client is not there any more. What it was asked for last may have been done or not."""

    code = "tmux_control_ended"


class ControlClient:
    """One control client with a session of its own (`control_session`), in the event loop it is made in.

    `open` it first, `close` it at last.

    Args:
        client: how tmux is called for the server.
        purpose: what it is for.
        listener: is called with every notification, in order, in the event loop, and at last with `Ended`; it must not
            block. `Notifications` is one.
        host: the machine of the server, as ssh knows it; empty for this one.
    """

    def __init__(
        self, client: TmuxClient, purpose: Purpose, *, listener: Listener | None = None, host: str = ""
    ) -> None:
        self.session = new_name(purpose)
        self._server = client
        self._purpose = purpose
        self._host = host
        self._listener = listener
        self._parser = ControlParser()
        self._exchanges: deque[tuple[Exchange, asyncio.Future[list[Reply]]]] = deque()
        self._turn = asyncio.Lock()
        self._process = ControlProcess(self._received, lambda: self._over.set())
        self._greeting: asyncio.Future[Block] = asyncio.get_running_loop().create_future()
        self._over = asyncio.Event()
        self._end: asyncio.Task[None] | None = None
        self._reason = ""
        self._error: TmuxError | None = None

    @property
    def pid(self) -> int | None:
        """The client's process."""
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Whether it can be asked something."""
        return self._end is not None and not self._over.is_set()

    # Beginning and end

    async def open(self, *, timeout: float = OPEN_TIMEOUT) -> None:  # noqa: ASYNC109, the client is closed by it
        """Start the client and wait until tmux greets it.

        Args:
            timeout: seconds.

        Raises: NoServer, TmuxHung, TmuxError, Unavailable when tmux is missing; then nothing is left of it.
        """
        argv = attach_argv(self._server, self.session, self._purpose, host=self._host)
        if not self._host:
            await asyncio.to_thread(self._probe, timeout)
        self._end = asyncio.create_task(self._wait_for_end())
        try:
            await self._process.start(argv, self._environment())
            async with asyncio.timeout(timeout):
                greeting = await self._greeting
            if not greeting.ok:
                raise TmuxError(f"tmux: {greeting.data.decode('utf-8', 'replace').strip()[:300]}")
            await self._end_orphans(timeout)
        except OSError as error:
            if isinstance(error, TimeoutError):
                await self._fail(self._hung(timeout))
                raise self._hung(timeout) from error
            await self._fail(self._ended())
            raise (_missing_ssh() if self._host else missing_tmux()) from error
        except BaseException:
            await self._fail(self._ended())
            raise

    def _probe(self, seconds: float) -> None:
        """Attach only to a server that answers.

        Up to 3.6, one that has news to tell while a control client is half attached crashes, and all sessions with it
        (tmux issues 4980, 5004): a moment, but as long as you like for one that hangs and then goes on.
        """
        completed = self._server.call(["display-message", "-p", "#{pid}"], timeout=seconds)
        if not completed.ok and "no current target" not in completed.stderr:
            raise failed(completed)

    async def _end_orphans(self, seconds: float) -> None:
        """End the sessions of clients that were killed."""
        [listed] = await self.batch([LIST_ORPHANS], timeout=seconds)
        left = orphans(listed.text.splitlines())
        await self.batch([end_line(name) for name in left], timeout=seconds)

    async def close(self) -> None:
        """End the client, and with it its session; nothing is left of either. May be called any time, and again."""
        await self._fail(self._ended("it was closed"))

    async def __aenter__(self) -> ControlClient:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # Commands

    async def command(self, *words: str, timeout: float) -> list[bytes]:  # noqa: ASYNC109, as in `batch`
        """Run one command. Returns: the lines that it printed.

        Args:
            words: name and arguments, quoted here.
            timeout: seconds.

        Raises: TmuxError when it fails, and as `batch`.
        """
        [reply] = await self.batch([command(*words)], timeout=timeout)
        if not reply.ok:
            raise TmuxError(f"tmux: {reply.error.splitlines()[0][:300]}")
        return reply.lines

    async def batch(self, lines: Sequence[str], *, timeout: float) -> list[Reply]:  # noqa: ASYNC109
        """Run lines of commands, each whatever becomes of the others; the commands of a line until one fails.

        Args:
            lines: as `tmux_script` makes them; any number.
            timeout: seconds for all of them. When they are over, tmux hangs, and the client is closed.

        Returns: one reply per line, in order.
        Raises: InvalidInput; ControlEnded, TmuxHung, Desynchronised: some of it may have been done, and the client is
            of no use any more.
        """
        for line in lines:
            check_line(line)
        replies: list[Reply] = []
        sent = False
        try:
            async with asyncio.timeout(timeout):
                for window in _windows(lines):
                    async with self._turn:
                        sent = True
                        replies += await self._exchange(window)
                        sent = False
        except TimeoutError as error:
            if sent:
                await self._fail(self._hung(timeout))
            raise self._hung(timeout) from error
        return replies

    async def _exchange(self, lines: Sequence[str]) -> list[Reply]:
        if self._error is not None or not self.usable:
            raise self._error or self._ended("it was not opened" if self._end is None else "")
        exchange = Exchange(lines)
        answered: asyncio.Future[list[Reply]] = asyncio.get_running_loop().create_future()
        self._exchanges.append((exchange, answered))
        await self._process.write(exchange.payload)
        return await answered

    # What comes in

    def _received(self, data: bytes) -> None:
        if self._abrupt:
            return
        try:
            for item in self._parser.feed(data):
                self._take(item)
        except TmuxError as error:
            self._error = self._error or error
            self._over.set()

    def _take(self, item: Item) -> None:
        if isinstance(item, Block):
            self._take_block(item)
            return
        if isinstance(item, Stray) and item.line.startswith(_GUARDS):
            raise desynchronised()
        if isinstance(item, Exit):
            self._reason = item.reason
        self._tell(item)

    def _take_block(self, block: Block) -> None:
        if not self._greeting.done():
            self._greeting.set_result(block)
        elif not block.ours:  # of the commands it was started with
            return
        elif not self._exchanges:
            raise desynchronised()
        elif self._exchanges[0][0].take(block):
            exchange, answered = self._exchanges.popleft()
            if not answered.done():
                answered.set_result(exchange.replies)

    def _tell(self, item: Notification | Ended) -> None:
        if self._listener is None:
            return
        try:
            self._listener(item)
        except Exception:
            _log.exception("a listener of tmux's notifications failed")

    # Ending

    @property
    def _abrupt(self) -> bool:
        return isinstance(self._error, TmuxHung | Desynchronised)

    async def _fail(self, error: TmuxError) -> None:
        """End the client for a reason that everybody who waits for it is told, and wait until it is gone."""
        if self._end is None:
            return
        self._error = self._error or error
        self._over.set()
        await asyncio.shield(self._end)

    async def _wait_for_end(self) -> None:
        await self._over.wait()
        if not self._abrupt and self._greeting.done():
            await self._process.write(end_line(self.session).encode() + b"\n")
        await self._process.end(grace=0 if self._abrupt else _GRACE)
        self._reason = self._reason or self._process.errors
        self._error = self._error or self._ended()
        _tell_error(self._greeting, self._refused())
        for _, answered in self._exchanges:
            _tell_error(answered, self._error)
        self._exchanges.clear()
        self._tell(Ended(self._reason or self._error.what))

    def _refused(self) -> TmuxError:
        if says_no_server(self._reason):
            return no_server(self._server.socket_name)
        return self._ended()

    def _ended(self, why: str = "") -> ControlEnded:
        reason = why or self._reason or "its process has ended"
        return ControlEnded(
            f"the control client of tmux server {self._server.socket_name} has ended: {reason[:200]}",
            meaning="What it was asked for last may have been done or not.",
            fix="It is started anew by itself; sessions are not touched.",
        )

    def _hung(self, seconds: float) -> TmuxHung:
        return TmuxHung(
            f"tmux did not answer within {seconds:g} s",
            meaning=f"Server {self._server.socket_name} hangs, or the machine is overloaded; its sessions may run on.",
            fix="Try again; if it stays so, `gaia down --all` ends this tmux server and its sessions.",
            socket=str(self._server.socket_path),
        )

    def _environment(self) -> Mapping[str, str]:
        if not self._host:
            return self._server.environment
        agent = {name: os.environ[name] for name in ("SSH_AUTH_SOCK",) if name in os.environ}
        return {**self._server.environment, **agent}


def _tell_error(future: asyncio.Future[Any], error: TmuxError) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # whoever waited may have given up: that is no error of its own


def _missing_ssh() -> Unavailable:
    return Unavailable("ssh is not installed", fix="Install the OpenSSH client.", program="ssh")


def _windows(lines: Sequence[str]) -> list[Sequence[str]]:
    """The lines in portions that may be in flight at once."""
    windows: list[list[str]] = []
    size = 0
    for line in lines:
        size += len(line)
        if not windows or len(windows[-1]) == WINDOW or size > WINDOW_BYTES:
            windows.append([])
            size = len(line)
        windows[-1].append(line)
    return list(windows)
