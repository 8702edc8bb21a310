"""`sync.sh` brings a branch up to date, and leaves one's work alone."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from environments.drivers.build import build_all
from tests.environments.drivers.repositories import (
    commit,
    git,
    source_of,
    targets_in,
)


@pytest.fixture
def synced(repository: Path, tmp_path: Path) -> Path:
    """An environment whose hub is one commit ahead."""
    root = tmp_path / "root"
    build_all(source_of(repository), root / "hub.git", targets_in(root, 1))
    commit(repository, {"shared.txt": "theirs\n"})
    build_all(source_of(repository), root / "hub.git", targets_in(root, 1))
    return root / "demo-dev1"


def sync(path: Path, code: int) -> str:
    done = subprocess.run([path / "sync.sh"], cwd="/", capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_sync_follows_and_then_has_nothing_to_do(synced: Path) -> None:
    assert "has followed origin/main" in sync(synced, 0)
    assert (synced / "shared.txt").read_text() == "theirs\n"
    assert "has everything of origin/main" in sync(synced, 0)


def test_sync_merges_own_commits(synced: Path) -> None:
    commit(synced, {"mine.txt": "mine\n"})
    assert "has merged origin/main" in sync(synced, 0)
    assert (synced / "shared.txt").exists()
    assert (synced / "mine.txt").exists()


def test_sync_leaves_uncommitted_changes_alone(synced: Path) -> None:
    (synced / "README.md").write_text("mine")
    before = git(synced, "rev-parse", "HEAD")
    assert "uncommitted changes" in sync(synced, 4)
    assert (git(synced, "rev-parse", "HEAD"), (synced / "README.md").read_text()) == (before, "mine")


def test_sync_does_not_mind_untracked_files_unless_they_are_in_the_way(synced: Path) -> None:
    (synced / "shared.txt").write_text("mine")
    sync(synced, 1)
    assert (synced / "shared.txt").read_text() == "mine"
    os.rename(synced / "shared.txt", synced / "other.txt")
    sync(synced, 0)
    assert (synced / "other.txt").read_text() == "mine"


def test_sync_names_the_files_in_conflict_and_changes_nothing(synced: Path) -> None:
    sha = commit(synced, {"shared.txt": "mine\n"})
    told = sync(synced, 4)
    assert "shared.txt" in told
    assert "git merge origin/main" in told
    assert git(synced, "status", "--porcelain") == ""
    assert git(synced, "rev-parse", "HEAD") == sha


def test_sync_stays_away_from_an_unfinished_merge_and_from_no_branch(synced: Path) -> None:
    commit(synced, {"shared.txt": "mine\n"})
    git(synced, "fetch", "-q")
    git(synced, "merge", "origin/main", check=False)
    assert "waits to be ended" in sync(synced, 4)
    git(synced, "merge", "--abort")
    git(synced, "checkout", "-q", "--detach")
    assert "No branch" in sync(synced, 4)


def test_sync_without_its_hub(synced: Path) -> None:
    shutil.rmtree(synced.parent / "hub.git")
    assert "could not be fetched" in sync(synced, 1)
