"""tmux servers of somebody else's, on sockets of the test's own, spoken to by hand."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from tests.waiting import until

PLAIN = {"PATH": os.environ["PATH"], "HOME": "/", "LANG": "C.UTF-8", "TERM": "xterm", "SHELL": "/bin/sh"}


class Stranger:
    """A tmux server that GAIA did not start. Ended, with what runs in it, by `end`."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket

    def __call__(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            ["tmux", "-u", "-S", str(self.socket), "-f", "/dev/null", *words],
            env=PLAIN,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done.stdout.strip()

    def new(self, name: str, *argv: str, cwd: Path | str = "/") -> str:
        """A session with a program, else `cat`; the id of its pane. tmux hands a single word to a shell."""
        words = ["new-session", "-d", "-P", "-F", "#{pane_id}", "-s", name, "-x", "90", "-y", "30", "-c", str(cwd)]
        return self(*words, "--", *(argv or ("/bin/cat", "-u")))

    @property
    def pid(self) -> int:
        return int(self("display-message", "-p", "#{pid}"))

    def state(self) -> dict[str, str]:
        """All that adopting, letting go and looking must leave as it is: options of every kind, sizes, programs, …."""
        ids = self("list-panes", "-a", "-F", "#{pane_id}").split()
        panes = "#{session_id} #{window_id} #{pane_id} #{pane_pid} #{pane_width}x#{pane_height} #{pane_start_command}"
        return {
            "panes": self("list-panes", "-a", "-F", panes),
            "server": self("show-options", "-s"),
            "sessions": self("show-options", "-g"),
            "windows": self("show-options", "-g", "-w"),
            "hooks": self("show-hooks", "-g"),
            "buffers": self("list-buffers"),
            "clients": self("list-clients"),
            "environment": self("show-environment", "-g"),
            **{pane: self("show-options", "-p", "-t", pane) for pane in ids},
        }

    def end(self) -> None:
        """Nothing of it is left."""
        pids = self._pids()
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        subprocess.run(["tmux", "-S", str(self.socket), "kill-server"], env=PLAIN, capture_output=True, timeout=20)
        until(lambda: not self._pids())

    def _pids(self) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            except OSError:
                continue
            if words and words[0].startswith(b"tmux") and os.fsencode(self.socket) in words:
                found.append(int(entry.name))
        return found
