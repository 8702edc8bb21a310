"""What a person would do: speak to GAIA's tmux server, install an agent."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from sessions.drivers.tmux import TmuxServer
from tests.waiting import until


@dataclass(frozen=True)
class Tmux:
    """The tmux server of GAIA's sessions, spoken to by hand."""

    server: TmuxServer

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            self.server.passthrough_argv(words),
            env={**self.server.environment, "TERM": "xterm"},
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        return done.stdout

    def names(self) -> list[str]:
        """Names of its sessions, in order."""
        return sorted(self("list-sessions", "-F", "#{session_name}").split())


def install(directory: Path, name: str, script: str = 'while read -r line; do echo "got: $line"; done') -> Path:
    """An agent that says what it is told."""
    program = directory / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def stands_in(pid: int | None) -> Path:
    """The directory a pane's program works in; tmux answers before the program has gone there."""
    link = Path(f"/proc/{pid}/cwd")
    until(lambda: str(link.readlink()) != "/")
    return link.readlink()
