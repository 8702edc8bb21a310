"""Real tmux servers on sockets of their own, which end with the test whatever happens."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sessions.drivers import tmux_process
from sessions.drivers.tmux import Created, NewSession, PaneFacts, TmuxServer

ServerMaker = Callable[..., TmuxServer]
Start = Callable[..., PaneFacts]
FAST = 0.3
"""Seconds after which a server that was stopped counts as hanging."""


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that does nothing for a while: a server that hangs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def server_pid(server: TmuxServer) -> int:
    """Of the server that runs."""
    identity = server.snapshot().server
    assert identity is not None
    return identity.pid


@pytest.fixture
def tmux_dir() -> Iterator[Path]:
    """A directory for sockets; short, because a socket's path has at most 107 bytes."""
    directory = Path(tempfile.mkdtemp(prefix="gt.", dir="/tmp"))
    yield directory
    for path in directory.glob("tmux-*/*"):
        _end_server(path)
    shutil.rmtree(directory, ignore_errors=True)


def _end_server(path: Path) -> None:
    """Not with the code under test: `kill-server`, and SIGKILL for one that does not listen to it."""
    pid = tmux_process.listening_pid(path)
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(["tmux", "-S", str(path), "kill-server"], capture_output=True, timeout=5, check=False)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def make_server(tmux_dir: Path) -> Iterator[ServerMaker]:
    """Makes drivers for servers in this test's directory: `make_server("name", history_limit=…)`."""
    servers: list[TmuxServer] = []

    def make(name: str = "t", **options: object) -> TmuxServer:
        options.setdefault("config", tmux_dir / "tmux.conf")
        servers.append(TmuxServer(name, tmpdir=tmux_dir, **options))  # type: ignore[arg-type]
        return servers[-1]

    yield make
    for server in servers:  # servers whose socket a test has deleted
        for pid in tmux_process.find_servers(server.socket_name, str(tmux_dir)):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def server(make_server: ServerMaker) -> TmuxServer:
    return make_server()


@pytest.fixture
def start(server: TmuxServer, tmux_dir: Path) -> Start:
    """Starts one session and returns its pane: `start("name", "/bin/cat", env={…})`."""

    def make(name: str, *argv: str, **options: object) -> PaneFacts:
        session = NewSession(name, f"id-{name}", tmux_dir, argv or ("/bin/cat",), **options)  # type: ignore[arg-type]
        [result] = server.create([session])
        assert isinstance(result, Created), result
        return next(pane for pane in server.snapshot().panes if pane.pane_id == result.pane_id)

    return make
