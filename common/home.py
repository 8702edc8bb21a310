"""Where GAIA keeps its data: everything under `$GAIA_HOME`, directories 0700."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from common.errors import InvalidInput

DEFAULT_HOME = "~/.gaia"


@dataclass(frozen=True)
class Home:
    """The layout of one GAIA home (DESIGN §5)."""

    root: Path

    @property
    def config_file(self) -> Path:
        return self.root / "config.toml"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def database(self) -> Path:
        return self.data / "gaia.sqlite3"

    @property
    def run(self) -> Path:
        """Sockets, locks, the daemon's pid, the CLI's token."""
        return self.root / "run"

    @property
    def locks(self) -> Path:
        return self.run / "locks"

    @property
    def hubs(self) -> Path:
        return self.root / "hubs"

    @property
    def checkouts(self) -> Path:
        return self.root / "checkouts"

    @property
    def trash(self) -> Path:
        return self.root / "trash"

    @property
    def salvage(self) -> Path:
        return self.root / "salvage"

    @property
    def ca(self) -> Path:
        """The local certificate authority, made on demand."""
        return self.root / "ca"

    @property
    def processes(self) -> Path:
        return self.root / "processes"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def sessions(self) -> Path:
        return self.root / "sessions"

    @property
    def tmux_socket_name(self) -> str:
        """Name for `tmux -L`: `gaia` for the default home, else with a digest of its path: two homes never fight."""
        if self.root == Path(DEFAULT_HOME).expanduser().resolve():
            return "gaia"
        return "gaia-" + hashlib.sha256(str(self.root).encode()).hexdigest()[:10]

    def ensure(self) -> Home:
        """Make every directory that is missing, private to the user."""
        for directory in (
            self.root, self.data, self.data / "backups", self.run, self.run / "static",
            self.locks, self.hubs, self.checkouts, self.trash,
            self.salvage, self.processes, self.logs, self.sessions, self.sessions / "active", self.sessions / "history",
        ):  # fmt: skip
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = self.root.stat()
        if facts.st_uid == os.geteuid() and facts.st_mode & 0o077:  # made by hand: the settings may hold a password
            self.root.chmod(0o700)
        return self


def gaia_home() -> Home:
    """The home in force: `$GAIA_HOME`, else `~/.gaia`, resolved to a real path.

    Raises: InvalidInput when it begins with the home of somebody there is not.
    """
    wanted = os.environ.get("GAIA_HOME") or DEFAULT_HOME
    try:
        return Home(Path(wanted).expanduser().resolve())
    except (RuntimeError, OSError) as error:
        raise InvalidInput(
            f"GAIA's home {wanted} cannot be found", meaning=str(error), fix="Set GAIA_HOME to an absolute path."
        ) from error
