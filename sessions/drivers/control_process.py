"""The process of a control client, and its three pipes, for an event loop.

Not `asyncio.subprocess`: tmux hands the pipes to its server, so with a server that hangs they stay open after the
process has ended, and nobody there would tell of its end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

_STEP = 0.005  # seconds between two looks whether it has ended
_LAST_WORDS = 0.1  # seconds from its end until its output counts as ended, too
_STDERR_KEPT = 4_000


class ControlProcess:
    """A program that is written to and read from until it is ended.

    Args:
        received: is called with what it writes on standard output.
        lost: is called when that ends, or the program, or both.
    """

    def __init__(self, received: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        self._received = received
        self._lost = lost
        self._process: subprocess.Popen[bytes] | None = None
        self._outputs: list[asyncio.ReadTransport] = []
        self._input: asyncio.WriteTransport | None = None
        self._errors = _Reader(self._keep_errors)
        self._error_text = b""
        self._writer = _Writer()
        self._pidfd = -1

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def errors(self) -> str:
        """The end of what it wrote on standard error."""
        return self._error_text.decode("utf-8", "replace").strip()

    async def start(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it, away from the terminal's signals. Raises: OSError."""
        loop = asyncio.get_running_loop()
        pipe = subprocess.PIPE
        process = self._process = subprocess.Popen(  # noqa: ASYNC220, it takes a millisecond
            argv,
            bufsize=0,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=dict(environment),
            cwd="/",
            start_new_session=True,
        )
        output = _Reader(self._received, self._lost)
        self._outputs.append((await loop.connect_read_pipe(lambda: output, process.stdout))[0])
        self._outputs.append((await loop.connect_read_pipe(lambda: self._errors, process.stderr))[0])
        self._input, _ = await loop.connect_write_pipe(lambda: self._writer, process.stdin)
        if hasattr(os, "pidfd_open"):  # elsewhere only the end of its output tells, or that no answer comes
            with suppress(OSError):  # it has ended already
                self._pidfd = os.pidfd_open(process.pid)
                loop.add_reader(self._pidfd, self._ended)

    async def write(self, data: bytes) -> None:
        """Write it, and wait until the program has taken most of it. One that has ended takes everything."""
        if self._input is not None and not self._input.is_closing():
            self._input.write(data)
            await self._writer.writable.wait()

    async def end(self, *, grace: float) -> None:
        """End its input, and it if that does not within `grace` seconds; afterwards nothing is left of it."""
        if self._process is None:
            return
        if self._input is not None and grace > 0:
            self._input.close()
        self._forget_pidfd()
        await self._reap(grace)
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._errors.over.wait()
        for output in self._outputs:
            output.close()
        if self._input is not None and not self._writer.over.is_set():
            self._input.abort()
        await asyncio.sleep(0)  # the loop closes them in its next turn

    async def _reap(self, grace: float) -> None:
        """Wait for its end, then see to it."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        while self._process is not None and self._process.poll() is None:
            if loop.time() >= deadline:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)
            await asyncio.sleep(_STEP)
        await asyncio.sleep(_STEP)  # and for the loop to notice that its input was closed

    def _ended(self) -> None:
        """It has ended; what it wrote last is read before anybody is told."""
        self._forget_pidfd()
        asyncio.get_running_loop().call_later(_LAST_WORDS, self._lost)

    def _forget_pidfd(self) -> None:
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _keep_errors(self, data: bytes) -> None:
        self._error_text = (self._error_text + data)[-_STDERR_KEPT:]


class _Reader(asyncio.Protocol):
    def __init__(self, received: Callable[[bytes], None], lost: Callable[[], None] | None = None) -> None:
        self._received = received
        self.over = asyncio.Event()
        self._lost = lost

    def data_received(self, data: bytes) -> None:
        self._received(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.over.set()
        if self._lost is not None:
            self._lost()


class _Writer(asyncio.BaseProtocol):
    def __init__(self) -> None:
        self.writable = asyncio.Event()
        self.writable.set()
        self.over = asyncio.Event()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.over.set()
        self.writable.set()
