"""GAIA's own daemon as seen from outside: does it run, start it, end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from django.conf import settings

from common.errors import Unavailable
from common.home import gaia_home
from processes.drivers.liveness import identify, lock_held
from processes.drivers.logs import tail

_DROPPED = ("TMUX", "TMUX_PANE", "GAIA_CALLED_FROM")


def daemon_pid() -> int | None:
    """The running daemon's pid, None when none runs; the lock decides, the pid in the file only names."""
    path = gaia_home().run / "node.lock"
    if not lock_held(path):
        return None
    word = path.read_text(encoding="utf-8").rpartition(" ")[2]
    return int(word) if word.isdigit() else None


def daemon_runs() -> bool:
    """Whether this home's daemon is alive."""
    return lock_held(gaia_home().run / "node.lock")


def start_daemon(port: int, *, timeout: float = 30.0) -> None:
    """Start the daemon, detached, and wait until it holds its lock.

    Args:
        port: where it shall run the console.
        timeout: seconds to wait.

    Raises: Unavailable with the end of its log.
    """
    home = gaia_home()
    log = home.logs / "node.log"
    environ = {name: value for name, value in os.environ.items() if name not in _DROPPED}
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [sys.executable, str(settings.BASE_DIR / "manage.py"), "node"],
            cwd=settings.BASE_DIR,
            env={**environ, "GAIA_SERVER_PORT": str(port), "GAIA_ROLE": "node"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if daemon_runs():
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise Unavailable("the daemon did not start", meaning=_end_of(log), fix=f"Its whole log is {log}.")


def stop_daemon(*, grace: float = 10.0) -> bool:
    """End the daemon, by force after the grace period; what it started goes on. False when none ran."""
    pid = daemon_pid()
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
            time.sleep(0.05)
    raise Unavailable(f"the daemon (pid {pid}) does not end", meaning="It hangs in the kernel, often on a disk.")


def _end_of(log: Path) -> str:
    return tail(log, 12) if log.exists() else ""
