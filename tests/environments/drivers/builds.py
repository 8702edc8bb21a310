"""Sets of environments, made without GAIA, and what they have to be like."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from environments.drivers.build import Built, build_all
from tests.environments.drivers.repositories import (
    git,
    source_of,
    targets_in,
)

COUNT = 5


def set_up(repository: Path, root: Path, count: int = COUNT) -> list[Built]:
    return build_all(source_of(repository), root / "hub.git", targets_in(root, count))[1]


def check_whole(root: Path, count: int = COUNT) -> None:
    """Everything is as a set-up promises."""
    for number in range(1, count + 1):
        path = root / f"demo-dev{number}"
        assert git(path, "status", "--porcelain=v2", "--branch").splitlines()[1:] == [
            f"# branch.head env/dev{number}",
            "# branch.upstream origin/main",
            "# branch.ab +0 -0",
        ]
        assert git(path, "fsck", "--full") == ""
        assert not (path / ".git/objects/info/alternates").exists()
        assert not (path / ".git/index.lock").exists()
        for stage in ("dev", "qa", "staging"):
            with closing(sqlite3.connect(path / f"data/{stage}/demo.db")) as database:
                assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
                assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        for script in ("launch.sh", "stop.sh", "status.sh", "sync.sh"):
            assert os.access(path / script, os.X_OK)
    assert git(root / "hub.git", "fsck", "--full") == ""


def leftovers(root: Path) -> list[str]:
    return sorted(name for name in os.listdir(root) if "partial" in name)
