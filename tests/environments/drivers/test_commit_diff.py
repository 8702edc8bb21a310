"""What one commit did: also the first of all, a merge, and a commit in a repository with a will of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import NotFound
from environments.drivers.commit_diff import commit_diff, snapshot_diff
from environments.drivers.git import bare, checkout
from environments.drivers.snapshots import find_snapshot
from tests.environments.drivers.checkouts import Pair
from tests.environments.drivers.repositories import commit, git


def names(path: Path, name: str) -> list[str]:
    return [file.path for file in commit_diff(checkout(path), name).files]


def test_the_first_commit_adds_everything(repository: Path) -> None:
    first = git(repository, "rev-list", "--max-parents=0", "HEAD")
    found = commit_diff(checkout(repository), first)
    assert {file.kind for file in found.files} == {"added"}
    assert (found.added > 0, found.removed, found.untracked) == (True, 0, ())


def test_a_merge_shows_what_it_brought_in(repository: Path) -> None:
    git(repository, "checkout", "-q", "-b", "side")
    commit(repository, {"side.txt": "side\n"})
    git(repository, "checkout", "-q", "main")
    commit(repository, {"main.txt": "main\n"})
    git(repository, "merge", "-q", "-m", "Merge", "side")
    assert names(repository, "HEAD") == ["side.txt"]
    assert names(repository, "HEAD~1") == ["main.txt"]


def test_settings_of_the_repository_do_not_disturb(repository: Path) -> None:
    for name, value in (("diff.noprefix", "true"), ("diff.external", "/bin/false"), ("log.showSignature", "true")):
        git(repository, "config", name, value)
    git(repository, "mv", "README.md", "LIESMICH.md")
    git(repository, "commit", "-q", "-m", "German")
    [file] = commit_diff(checkout(repository), "HEAD").files
    assert (file.kind, file.old_path, file.path) == ("renamed", "README.md", "LIESMICH.md")


@pytest.mark.parametrize("name", ["nowhere", "--output=/tmp/x", "HEAD:README.md", ""])
def test_what_is_no_commit(repository: Path, name: str) -> None:
    with pytest.raises(NotFound):
        commit_diff(checkout(repository), name)


def test_a_snapshot_names_its_untracked_files(repository: Path, tmp_path: Path) -> None:
    pair = Pair(repository, tmp_path)
    (pair.one / "README.md").write_text("changed\n")
    (pair.one / "ümlaut.txt").write_text("new\n")
    snapshot = find_snapshot(pair.hub, pair.keep(pair.one)("before a test"))
    found = snapshot_diff(bare(pair.hub), snapshot.commit)
    assert [(file.path, file.kind) for file in found.files] == [("README.md", "modified")]
    assert found.untracked == ("ümlaut.txt",)
