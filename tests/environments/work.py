"""Work that only a checkout has, and how to see whether it is there."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.environments.drivers.repositories import commit, git


def work_in(path: Path) -> dict[str, str]:
    """A commit that nobody has, a staged, an uncommitted and an untracked file; what `files_of` says of it."""
    commit(path, {"committed.txt": "in a commit\n"}, "unpushed")
    (path / "staged.txt").write_text("staged\n")
    git(path, "add", "staged.txt")
    (path / "README.md").write_text("changed\n")
    (path / "notes").mkdir()
    (path / "notes/untracked.txt").write_text("nobody knows it\n")
    return files_of(path)


def files_of(path: Path) -> dict[str, str]:
    """What git says of a checkout, and what its files hold."""
    names = git(path, "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    found = {name: (path / name).read_text() for name in names}
    return {**found, "HEAD": git(path, "log", "-1", "--format=%H %s"), "status": git(path, "status", "--porcelain")}


def run_in_sh(command: str, directory: Path) -> None:
    """Run what was printed in a plain shell."""
    done = subprocess.run(["sh", "-c", command], cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
