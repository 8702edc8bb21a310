"""Where the user's tmux servers are: the sockets in tmux's directories, and who listens on each."""

from __future__ import annotations

import os
import re
import socket
import stat
import struct
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from sessions.drivers.tmux_errors import TmuxError

_SOCKETS = "/tmp"  # noqa: S108  tmux(1), TMUX_TMPDIR
_GAIAS = re.compile(r"gaia(-[0-9a-f]{10})?")  # what `Home.tmux_socket_name` gives: this GAIA's server, or another's
_CONNECT_S = 0.5
_SKEW_S = 60.0  # a process may look a little younger or older than its server says when the clock was set


class Holder(NamedTuple):
    """The process that listens on a socket, as the kernel says."""

    pid: int
    uid: int


def default_directories(environ: Mapping[str, str]) -> list[Path]:
    """The directories in which tmux keeps this user's sockets: below `$TMUX_TMPDIR`, and below /tmp."""
    bases = dict.fromkeys(filter(None, (environ.get("TMUX_TMPDIR"), _SOCKETS)))
    return [Path(base) / f"tmux-{os.getuid()}" for base in bases]


def find_sockets(directories: Iterable[Path], more: Iterable[Path] = ()) -> list[Path]:
    """The sockets of tmux servers that may not be GAIA's.

    A directory or socket of another user in one of the directories is passed over: everybody may write in /tmp. So is
    a name that is no text, which nothing could be told about.

    Args:
        directories: where to look; one that is missing or somebody else's holds none.
        more: sockets that were named, whatever they are called.
    """
    found: dict[Path, None] = {}
    for directory in directories:
        for path in _entries(directory):
            if path.name.isprintable() and not _GAIAS.fullmatch(path.name) and _is_our_socket(path):
                found.setdefault(path)
    for path in more:
        with suppress(OSError):
            if stat.S_ISSOCK(path.stat().st_mode):
                found.setdefault(path)
    return list(found)


def distinct(paths: Iterable[Path], *, but: Path) -> list[Path]:
    """The paths without those that lead to the socket of an earlier one, or to `but`."""
    seen: dict[object, Path] = {_same(but): but}
    return [path for path in dict.fromkeys(paths) if seen.setdefault(_same(path), path) == path and path != but]


def _same(path: Path) -> object:
    """Equal for paths of one socket; a path that leads nowhere is only equal to itself."""
    try:
        facts = path.stat()
    except OSError:
        return path
    return facts.st_dev, facts.st_ino


def holder(path: Path) -> Holder | None:
    """Who listens on a socket; None when nobody does, or there is none.

    Raises: TmuxError when that cannot be told, such as of a server that does not take connections any more.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_CONNECT_S)
        try:
            client.connect(str(path))
            return _peer(client)
        except (ConnectionRefusedError, FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise TmuxError(f"the tmux server on {path} cannot be reached: {error}") from error


def server_lives(pid: int, started: int) -> bool:
    """Whether that tmux server still runs, though its socket may have been deleted.

    Args:
        pid: its process.
        started: when it began, in seconds since the epoch.
    """
    try:
        process = psutil.Process(pid)
        return (
            process.name().startswith("tmux")
            and process.status() != psutil.STATUS_ZOMBIE
            and abs(process.create_time() - started) < _SKEW_S
        )
    except psutil.Error:
        return False


def _peer(client: socket.socket) -> Holder:
    if sys.platform == "darwin":
        _, uid = struct.unpack_from("II", client.getsockopt(0, 1, 76))  # SOL_LOCAL, LOCAL_PEERCRED: struct xucred
        return Holder(int(client.getsockopt(0, 2)), int(uid))  # LOCAL_PEERPID
    pid, uid, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return Holder(int(pid), int(uid))


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir()) if directory.stat().st_uid == os.getuid() else []
    except OSError:
        return []


def _is_our_socket(path: Path) -> bool:
    try:
        facts = path.lstat()
    except OSError:
        return False
    return stat.S_ISSOCK(facts.st_mode) and facts.st_uid == os.getuid()
