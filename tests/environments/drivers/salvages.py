"""An environment whose work is salvaged and brought back, and what a person sees of that work."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from environments.drivers.build import build_all
from environments.drivers.salvage import Salvage, Work, find_work, move_to_trash, salvage
from tests.environments.drivers.repositories import (
    commit,
    git,
    snapshot_of,
    source_of,
    targets_in,
)

NOON = datetime(2025, 1, 31, 12, tzinfo=UTC)
NAME = "demo-dev1-20250131T120000Z"


class Environment:
    """An environment with GAIA's files in it."""

    def __init__(self, repository: Path, root: Path) -> None:
        files = {
            name: f"{name}\n" * 5 for name in ("staged", "both", "unstaged", "deleted", "removed", "mode", "old name")
        }
        commit(repository, files)
        self.repository, self.root = repository, root
        self.hub = root / "hub.git"
        self.path = root / "demo-dev1"
        self.directory = root / "salvage"
        self.make()

    def make(self) -> None:
        built = build_all(source_of(self.repository), self.hub, targets_in(self.root, 1))[1]
        assert built[0].error is None

    def salvage(self) -> Salvage | None:
        return salvage(self.path, self.hub, name="demo-dev1", directory=self.directory, now=NOON)

    def clean(self) -> Salvage:
        """Salvage and remove."""
        found = self.salvage()
        assert found is not None
        move_to_trash(self.path, self.root / "trash", now=NOON)
        return found

    def work(self) -> Work:
        return find_work(self.path, self.hub)

    def make_a_mess(self) -> None:
        """Every kind of uncommitted work there is."""
        path = self.path
        (path / "staged").write_text("staged\n")
        (path / "both").write_text("first\n")
        git(path, "add", "staged", "both")
        (path / "both").write_text("second\n")
        (path / "unstaged").write_text("unstaged\n")
        (path / "deleted").unlink()
        git(path, "rm", "-q", "removed")
        (path / "mode").chmod(0o755)
        git(path, "mv", "old name", "new name")
        (path / "added").write_text("added\n")
        git(path, "add", "added")
        (path / "untracked.bin").write_bytes(bytes(range(256)) * 20)
        (path / "run me").write_text("#!/bin/sh\n")
        (path / "run me").chmod(0o755)
        (path / "link").symlink_to("../elsewhere")
        (path / "dir with space/ü").mkdir(parents=True)
        (path / "dir with space/ü/with\nnewline").write_text("x")
        (path / "-dash").write_text("x")
        (path / "empty").write_text("")


def picture(path: Path) -> dict[str, object]:
    """What a person sees of the uncommitted work: status, staged and unstaged differences, files with their kind."""
    files = {
        name: (mode & 0o100111, content)
        for name, (_, mode, _, content) in snapshot_of(path).items()
        if not name.startswith((".git/", ".gaia", "data", "logs")) and not (path / name).is_dir()
    }
    return {
        "status": git(path, "status", "--porcelain=v2", "--untracked-files=all", "-z"),
        "staged": git(path, "diff", "--cached", "--binary"),
        "unstaged": git(path, "diff", "--binary"),
        "files": files,
    }


def run_command(command: str) -> None:
    """What a person does with the lines that were printed: paste them into a shell, anywhere."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GAIA")}
    done = subprocess.run(["sh"], input=command, cwd="/", env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def same_work(path: Path, before: dict[str, object]) -> bool:
    """As `picture`, without GAIA's own files, which plain git does not make."""
    after = picture(path)
    scripts = {"launch.sh", "stop.sh", "status.sh", "sync.sh", ".env.local"}
    kept = {name: facts for name, facts in dict(before["files"]).items() if name not in scripts}  # type: ignore[call-overload]
    assert after == {**before, "files": kept}
    return True
