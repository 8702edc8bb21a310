"""The tmux server as a process: who listens on the socket, a server whose socket was deleted, and its certain end."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from processes.drivers.table import table
from sessions.drivers.tmux_errors import TmuxError

_STEP = 0.02


def listening_pid(path: Path) -> int | None:
    """The process that listens on a tmux socket, asked of the kernel: a server that hangs is found, too."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(path))
            if sys.platform == "darwin":
                return int(client.getsockopt(0, 2))  # SOL_LOCAL, LOCAL_PEERPID
            return int(struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
        except OSError:
            return None


def is_server(pid: int, socket_name: str, tmpdir: str) -> bool:
    """Whether a process is a tmux server of this user that was started for this socket."""
    try:
        process = psutil.Process(pid)
        words = process.cmdline()
        return (
            process.name().startswith("tmux")
            and not process.name().startswith("tmux: client")
            and process.uids().real == os.getuid()
            and any(pair == ("-L", socket_name) for pair in itertools.pairwise(words))
            and (process.environ().get("TMUX_TMPDIR") or "/tmp") == tmpdir  # noqa: S108
        )
    except psutil.Error:
        return False


def find_servers(socket_name: str, tmpdir: str) -> list[int]:
    """The living servers for this socket name, found among the processes; for when a socket was deleted."""
    named, processes = os.fsencode(f"-L\0{socket_name}\0"), table()
    return [
        pid
        for pid in processes.pids()  # every process of the machine: only those that may be one are looked at closely
        if named in processes.command_line(pid) and is_server(pid, socket_name, tmpdir)
    ]


def revive(pid: int, path: Path, *, timeout: float) -> bool:
    """Have a server make its deleted socket again (tmux(1): SIGUSR1).

    Args:
        pid: a process for which `is_server` holds.
        path: the socket.
        timeout: seconds to wait for it.

    Returns: True when that server listens on the socket again; False when another one has taken it.
    """
    holder = listening_pid(path)
    if holder is not None:
        return holder == pid
    with suppress(OSError):  # tmux makes the socket, not the directory
        path.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        os.kill(pid, signal.SIGUSR1)
    except ProcessLookupError:
        return False
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if listening_pid(path) == pid:
            return True
        time.sleep(_STEP)
    return False


def remind_of_children(pid: int) -> None:
    """Have a server collect its ended children.

    Before 3.5 tmux can miss the signal of one that ends at once, about one in fifty here, and would never learn its
    exit code (tmux issue 2679). The signal means nothing to any other process.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGCHLD)


def end(process: psutil.Process, *, grace: float) -> None:
    """Wait for a server that was told to go, then kill it.

    Args:
        process: taken before it was told, so that a reused pid is not mistaken for it.
        grace: seconds before SIGKILL; as many again before giving up.

    Raises: TmuxError when it is still there.
    """
    if _gone_within(process, grace):
        return
    with suppress(psutil.Error):
        process.kill()
    if not _gone_within(process, grace):
        raise TmuxError(
            f"the tmux server (pid {process.pid}) does not end", fix=f"Look at it with: ps -fp {process.pid}"
        )


def _gone_within(process: psutil.Process, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        # A zombie has ended; that nobody has collected it (a container without init) is not the server's doing.
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(_STEP)
                continue
        return True
