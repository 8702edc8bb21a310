"""Starting a process: lock, fork, shim. What it returns identifies the process for good.

The lock is taken before the fork and inherited by the shim, so at no moment is there a process without a lock, and
two spawns of the same lock can never both succeed. We flock one file per process (not byte ranges with OFD locks):
a flock, too, belongs to the open file description, and sh scripts with flock(1) and macOS can use it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import resource
import signal
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import Conflict, InvalidInput, Unavailable
from processes.drivers.account import Account, account
from processes.drivers.liveness import Identity, boot_id, start_ticks
from processes.drivers.shim import TOKEN_VARIABLE, shim_path

SHELL = "/bin/sh"
LOCK_FD = 9  # dash knows single-digit descriptors only
_TOKEN = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")
# Python ignores SIGPIPE, and a shell cannot trap what was ignored when it started.
_TO_DEFAULT = sorted(int(number) for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
_LOCK_PATIENCE = 0.25  # seconds; `lock_held` takes a shared lock for some microseconds, which is not a holder


class LockHeld(Conflict):
    """The process that this lock stands for is running."""

    code = "lock_held"


class SpawnFailed(Unavailable):
    """The process could not be started; nothing of it runs."""

    code = "spawn_failed"


@dataclass(frozen=True)
class Spec:
    """What to run and where its traces go.

    Args:
        argv: program (absolute, or found on `env`'s PATH) and arguments.
        cwd: directory to run in; if it cannot be entered, the process ends with 126 and says so in the log.
        env: the complete environment; `GAIA_ATTEMPT_TOKEN` is added.
        log: file that stdout and stderr are appended to; made 0600.
        lock: file whose flock means "running"; it is made when missing and must never be removed.
        journal: file the shim notes start and end in.
        token: names this attempt; letters, digits and `._:@/+=-`.
        user: account the command runs as, where we are root; empty: our own.
        open_files: how many each of its processes may have open.
        cgroup: directory of the cgroup it runs in, the shim excepted.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    log: Path
    lock: Path
    journal: Path
    token: str
    user: str = ""
    open_files: int | None = None
    cgroup: Path | None = None


@dataclass(frozen=True)
class Spawned:
    """The shim of a started process: leader of a session and a process group of its own."""

    pid: int
    start_ticks: int
    boot_id: str

    @property
    def identity(self) -> Identity:
        return Identity(boot_id=self.boot_id, pid=self.pid, start_ticks=self.start_ticks)


def spawn(spec: Spec) -> Spawned:
    """Start a process under the shim, detached, with the lock held by it and by nobody else.

    Returns: pid, start time and boot of the shim. It is a child of the caller, who reaps it (`ExitWatcher`).
    Raises: LockHeld when it runs already, SpawnFailed when the system refuses, InvalidInput for a malformed spec;
        what `account` raises.
    """
    _check(spec)
    other = account(spec.user) if spec.user else None
    for folder in {path.parent for path in (spec.log, spec.lock, spec.journal)}:
        _make_folder(folder)
    lock = _take_lock(spec.lock)
    try:
        log = _open(spec.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            if other is not None:
                _hand_over(log, spec.log, other.uid)
            pid = _spawn_shim(spec, lock, log, other)
        finally:
            os.close(log)
    finally:
        os.close(lock)  # the shim has its own copy of the descriptor, or there is no shim
    # The child stays in the process table until we reap it, so this reads its entry and nobody else's.
    return Spawned(pid=pid, start_ticks=start_ticks(pid) or 0, boot_id=boot_id())


def _check(spec: Spec) -> None:
    if not spec.argv or not spec.argv[0]:
        raise InvalidInput("there is no command to run")
    if not _TOKEN.fullmatch(spec.token):
        raise InvalidInput(f"{spec.token!r} is no attempt token", fix="Use letters, digits and ._:@/+=- only.")
    words = (*spec.argv, str(spec.cwd), *spec.env.keys(), *spec.env.values())
    if any("\0" in word for word in words):
        raise InvalidInput("a command, directory or environment variable contains a NUL character")

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = hard if os.geteuid() != 0 and hard != resource.RLIM_INFINITY else None  # root may raise it
    if most is not None and spec.open_files is not None and spec.open_files > most:
        raise InvalidInput(
            f"{spec.open_files} open files are more than the {most} that this account may give",
            fix="Lower the limit, or raise the account's (ulimit -Hn, /etc/security/limits.conf).",
            limit=most,
        )


def _hand_over(log: int, path: Path, uid: int) -> None:
    """Let the account open its own log anew, as /dev/stderr is: by descriptor it could write in any case.

    Only a plain file under one name: what lies in a directory of others may be a link to anything.
    """
    facts = os.fstat(log)
    if facts.st_uid == uid:
        return
    if path.is_symlink() or not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
        raise SpawnFailed(f"{path} is a link and is not given to another account", meaning="Nothing was started.")
    try:
        os.fchown(log, uid, -1)
    except OSError as error:
        raise _failure(f"{path} cannot be given to the account", error) from error


def _make_folder(folder: Path) -> None:
    """Make a directory and those missing above it, each of them 0700 (`mkdir(parents=True)` gives that to the last)."""
    try:
        if not folder.exists():
            for directory in reversed([parent for parent in (folder, *folder.parents) if not parent.exists()]):
                directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _failure(f"the directory {folder} cannot be made", error) from error


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _failure(f"{path} cannot be opened", error) from error


def _take_lock(path: Path) -> int:
    """The descriptor that holds the lock on the file that is at `path` now."""
    deadline = time.monotonic() + _LOCK_PATIENCE
    while True:
        fd = _open(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(fd, path):
                return fd
            os.close(fd)  # somebody replaced the file: a lock on the old one would exclude nobody
        except BlockingIOError:
            os.close(fd)
            if time.monotonic() >= deadline:
                raise LockHeld(
                    f"the process of {path.name} is running already",
                    meaning="Its lock is held, so it was not started a second time.",
                    fix="Stop it first, or leave it running.",
                    path=str(path),
                ) from None
            time.sleep(0.005)
        except OSError as error:  # a file system without locks
            os.close(fd)
            raise _failure(f"{path} cannot be locked", error) from error


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _spawn_shim(spec: Spec, lock: int, log: int, other: Account | None) -> int:
    options: list[str] = []
    if spec.open_files is not None:
        options += ["-n", str(spec.open_files)]
    if spec.cgroup is not None:
        options += ["-g", str(spec.cgroup)]
    traces = (str(spec.journal.absolute()), spec.token, str(spec.cwd.absolute()))
    argv = (SHELL, str(shim_path()), *options, *traces, *(other.prefix if other is not None else ()), *spec.argv)
    env = {**spec.env, TOKEN_VARIABLE: spec.token}
    actions: list[tuple[Any, ...]] = [
        (os.POSIX_SPAWN_DUP2, lock, LOCK_FD),
        (os.POSIX_SPAWN_DUP2, log, 1),
        (os.POSIX_SPAWN_DUP2, 1, 2),
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        *((os.POSIX_SPAWN_CLOSE, fd) for fd in _inheritable()),
    ]
    try:
        return os.posix_spawn(
            SHELL,
            argv,
            env,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=_TO_DEFAULT,
        )
    except OSError as error:
        raise _failure(f"{spec.argv[0]} cannot be started", error) from error


def _inheritable() -> list[int]:
    """Descriptors that would leak into the child: those somebody handed to us, or opened without CLOEXEC."""
    leaks = []
    for name in os.listdir("/dev/fd"):
        fd = int(name)
        if fd > 2 and fd != LOCK_FD:
            try:
                inheritable = os.get_inheritable(fd)
            except OSError:  # the descriptor of the listing itself
                continue
            if inheritable:
                leaks.append(fd)
    return leaks


_FIXES = {
    errno.EAGAIN: "Stop some processes, or raise the limit of processes (ulimit -u).",
    errno.ENOMEM: "Free some memory and try again.",
    errno.ENOSPC: "Free some disk space and try again.",
    errno.EDQUOT: "Free some disk space and try again.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
    errno.ENFILE: "Raise the system's limit of open files.",
    errno.EACCES: "Check owner and permissions of that path.",
    errno.EPERM: "Check owner and permissions of that path.",
    errno.EROFS: "GAIA's home must be on a file system that can be written.",
    errno.E2BIG: "Shorten the arguments or the environment of the command.",
    errno.ENOLCK: "Put GAIA's home on a local file system.",
}


def _failure(what: str, error: OSError) -> SpawnFailed:
    return SpawnFailed(
        f"{what}: {error.strerror}", meaning="Nothing was started.", fix=_FIXES.get(error.errno or 0, "")
    )
