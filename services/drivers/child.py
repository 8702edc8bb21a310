"""A short-lived program beside the event loop: in a session of its own, its pipes read as they fill, killed whole.

Not asyncio's own: in Python 3.11 its `wait` waits for whoever inherited the pipes, too, and its watcher keeps a thread
for every child.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from services.drivers.probes import Bad

_POLL_S = 0.02  # where the kernel has no pidfds
_LONGEST_LINE = 4 * 1024 * 1024  # bytes
_LAST_WORDS_S = 0.2  # for what is in a pipe when its writer has ended


class Child:
    """A started program.

    Args:
        process: just started, in a session of its own.
        keep: bytes of its standard error (or of all its output) that are kept, from the end.
    """

    def __init__(self, process: subprocess.Popen[bytes], keep: int) -> None:
        self.pid = process.pid
        self._process = process
        self._keep = keep
        self._kept = bytearray()
        self._reading: asyncio.Task[None] | None = None
        self._transports: list[asyncio.BaseTransport] = []

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        *,
        cwd: Path | str,
        env: Mapping[str, str],
        user: str = "",
        talks: bool = False,
        keep: int = 8192,
    ) -> Child:
        """Start it.

        Args:
            argv: program and arguments, run without a shell.
            env: the complete environment.
            user: account it runs as, where we are root; "" for our own.
            talks: it gets pipes for standard input and output (`stdin`, `stdout`), and only its standard error is kept.

        Raises: Bad that says why it cannot be started.
        """
        process = _popen(argv, cwd, env, user, talks)
        child = cls(process, keep)
        try:
            await child._listen(process.stderr if talks else process.stdout)
        except BaseException:
            await child.end()
            raise
        return child

    @property
    def said(self) -> str:
        """The last of what it wrote, undecodable bytes replaced."""
        return self._kept.decode("utf-8", errors="replace")

    async def lines(self) -> asyncio.StreamReader:
        """Its standard output, when it talks."""
        return await self._open(self._process.stdout)

    async def input(self) -> asyncio.WriteTransport:
        """Its standard input, when it talks."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_write_pipe(asyncio.Protocol, self._process.stdin)
        self._transports.append(transport)
        return transport

    async def exited(self) -> int:
        """Its exit code, negative for a signal, when it and its group are gone. A child in another group that holds
        its pipes is not waited for.
        """
        if self._process.returncode is None:
            await _gone(self._process)
            self._kill()  # before it is waited for: until then its number is nobody else's
        return self._process.wait()

    async def last_words(self) -> str:
        """What it said, with what is still in the pipe when it has ended."""
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=_LAST_WORDS_S)
        return self.said

    async def end(self) -> None:
        """Kill it with its group, if it runs, and let go of its pipes. To be called in any case."""
        if self._reading is not None:
            self._reading.cancel()
        for transport in self._transports:
            transport.close()
        if self._process.returncode is None:
            self._kill()
            await self.exited()

    def _kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    async def _listen(self, pipe: IO[bytes] | None) -> None:
        reader = await self._open(pipe)
        self._reading = asyncio.ensure_future(self._keep_last(reader))

    async def _open(self, pipe: IO[bytes] | None) -> asyncio.StreamReader:
        reader = asyncio.StreamReader(limit=_LONGEST_LINE)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        self._transports.append(transport)
        return reader

    async def _keep_last(self, reader: asyncio.StreamReader) -> None:
        while piece := await reader.read(65_536):
            self._kept += piece
            del self._kept[: -self._keep]


def _popen(
    argv: Sequence[str], cwd: Path | str, env: Mapping[str, str], user: str, talks: bool
) -> subprocess.Popen[bytes]:
    """Takes the milliseconds of a fork."""
    try:
        return subprocess.Popen(
            argv,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if talks else subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
            **_account(user),
        )
    except FileNotFoundError as error:
        missing = f"{argv[0]} is not installed" if os.path.isdir(cwd) else f"the directory {cwd} does not exist"
        raise Bad(missing) from error
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise Bad(f"{argv[0]} cannot be run: {getattr(error, 'strerror', None) or error}") from error


async def _gone(process: subprocess.Popen[bytes]) -> None:
    try:
        pidfd = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        while process.poll() is None:  # noqa: ASYNC110  nobody tells of it
            await asyncio.sleep(_POLL_S)
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


def _account(user: str) -> dict[str, Any]:
    if not user:
        return {}
    try:
        account = pwd.getpwnam(user)
    except KeyError as error:
        raise Bad(f"there is no account {user}") from error
    if account.pw_uid == os.geteuid():
        return {}
    return {
        "user": account.pw_uid,
        "group": account.pw_gid,
        "extra_groups": os.getgrouplist(user, account.pw_gid),
    }
