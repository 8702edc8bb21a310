"""GAIA's own daemon as seen from outside: does it run, start it, end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import NoReturn

from django.conf import settings

from common.errors import Unavailable
from common.home import gaia_home
from processes.actions import nodes
from processes.drivers.liveness import identify
from processes.drivers.logs import tail
from processes.drivers.shim import TOKEN_VARIABLE

# Of where `gaia up` was typed; a token would make the daemon part of the process that it came from.
_DROPPED = ("TMUX", "TMUX_PANE", TOKEN_VARIABLE)
_LOOK_S = 0.02


def check_programs() -> None:
    """Raise with the way to install it when a program that GAIA stands on is missing or too old."""
    from environments.drivers.git import check_git  # GitPython takes long to import, and most verbs need none
    from sessions.drivers.tmux import check_tmux

    check_tmux()
    check_git()


def daemon_runs() -> bool:
    """Whether this home's daemon is alive."""
    return nodes.daemon_runs()


def daemon_pid() -> int | None:
    """The running daemon's pid, None when none runs; the lock decides, the pid in the file only names."""
    if not daemon_runs():
        return None
    word = (gaia_home().run / "node.lock").read_text(encoding="utf-8").rpartition(" ")[2]
    return int(word) if word.isdigit() else None


def start_daemon(port: int, *, timeout: float = 30.0) -> None:
    """Start the daemon, detached, and wait until it holds its lock.

    Args:
        port: where it shall run the console.
        timeout: seconds to wait.

    Raises: Unavailable with the end of its log.
    """
    log = gaia_home().logs / "node.log"
    try:
        with open(log, "ab", opener=_private) as output:
            process = subprocess.Popen(
                _daemon_words(),
                cwd=settings.BASE_DIR,
                env=_daemon_environment(port),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
    except OSError as error:
        raise Unavailable(
            f"the daemon cannot be started: {error}", fix="Is the disk full, or the home not yours?"
        ) from error
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if daemon_runs():
            return
        if process.poll() is not None:
            break
        time.sleep(_LOOK_S)
    raise Unavailable("the daemon did not start", meaning=log_end(), fix=f"Its whole log is {log}.")


def become_daemon(port: int) -> NoReturn:
    """Go on as the daemon, in this same process: what a supervisor such as systemd watches.

    Args:
        port: where it shall run the console.
    """
    os.chdir(settings.BASE_DIR)
    sys.stdout.flush()
    sys.stderr.flush()
    words = _daemon_words()
    os.execve(words[0], words, _daemon_environment(port))  # noqa: S606  our own program, without a shell


def _daemon_words() -> list[str]:
    return [sys.executable, str(settings.BASE_DIR / "manage.py"), "node"]


def _daemon_environment(port: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _DROPPED}
    return {**kept, "GAIA_SERVER_PORT": str(port), "GAIA_ROLE": "node"}


def stop_daemon(*, grace: float = 10.0) -> bool:
    """End the daemon, by force after the grace period; what it started goes on. False when none ran."""
    pid = _certain_pid()
    identity = identify(pid) if pid else None
    if pid is None or identity is None:
        return False
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        if identify(pid) != identity:
            return True
        os.kill(pid, number)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if not daemon_runs() and identify(pid) != identity:
                return True
            time.sleep(_LOOK_S)
    raise Unavailable(f"the daemon (pid {pid}) does not end", meaning="It hangs in the kernel, often on a disk.")


def _certain_pid() -> int | None:
    """The daemon's pid; one that has just taken its lock is about to write it down."""
    deadline = time.monotonic() + 1.0
    while daemon_runs():
        pid = daemon_pid()
        if pid is not None:
            return pid
        if time.monotonic() >= deadline:
            raise Unavailable(
                "a daemon runs, but its lock file does not say as which process",
                fix=f"Find who has {gaia_home().run / 'node.lock'} open (fuser, lsof) and end that process.",
            )
        time.sleep(_LOOK_S)
    return None


def log_end() -> str:
    """The last lines of the daemon's log."""
    return tail(gaia_home().logs / "node.log", 12)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
