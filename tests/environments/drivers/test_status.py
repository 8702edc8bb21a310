"""The git state of checkouts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from environments.drivers.build import build_all
from environments.drivers.status import GitStatus, fill_untracked_cache, parse_status, status, status_many
from tests.environments.drivers.repositories import commit, git, slow_git, snapshot_of, source_of, targets_in


@pytest.fixture
def path(repository: Path, tmp_path: Path) -> Path:
    """An environment."""
    build_all(source_of(repository), tmp_path / "root/hub.git", targets_in(tmp_path / "root", 1))
    return tmp_path / "root/demo-dev1"


def test_a_clean_checkout(path: Path) -> None:
    assert status(path) == GitStatus(branch="env/dev1", head=git(path, "rev-parse", "HEAD"), upstream="origin/main")
    assert status(path).dirty == 0


def test_every_kind_of_change_is_counted(path: Path) -> None:
    commit(path, {name: name for name in ("staged", "both", "unstaged", "removed", "deleted", "renamed with space")})
    (path / "staged").write_text("1")
    (path / "both").write_text("1")
    git(path, "add", "staged", "both")
    (path / "both").write_text("2")
    (path / "unstaged").write_text("1")
    git(path, "rm", "-q", "removed")
    (path / "deleted").unlink()
    git(path, "mv", "renamed with space", "new name")
    for name in ("untracked", "with\nnewline", "directory/one", "directory/two"):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text("")
    found = status(path)
    assert (found.staged, found.unstaged, found.untracked, found.conflicts) == (4, 3, 3, 0)
    assert found.dirty == 10


def test_ahead_and_behind(path: Path, repository: Path) -> None:
    commit(path, {"a": "1"})
    commit(path, {"b": "1"})
    commit(repository, {"c": "1"})
    git(path, "fetch", "-q", repository, "main:refs/remotes/origin/main")
    found = status(path)
    assert (found.ahead, found.behind, found.upstream) == (2, 1, "origin/main")


def test_the_default_branch_counts_even_with_another_upstream(path: Path) -> None:
    commit(path, {"a": "1"})
    git(path, "push", "-q")
    git(path, "branch", "--set-upstream-to=origin/env/dev1")
    found = status(path)
    assert (found.ahead, found.behind, found.upstream) == (1, 0, "origin/main")


def test_a_branch_without_upstream_and_no_branch_at_all(path: Path) -> None:
    git(path, "checkout", "-q", "-b", "topic")
    commit(path, {"a": "1"})
    assert (status(path).branch, status(path).ahead, status(path).upstream) == ("topic", 1, "origin/main")
    git(path, "checkout", "-q", "--detach")
    found = status(path)
    assert (found.branch, found.detached, found.ahead) == ("", True, 1)


def test_a_repository_without_hub(repository: Path) -> None:
    found = status(repository)
    assert (found.branch, found.upstream, found.ahead, found.error) == ("main", "", 0, None)


def test_before_the_first_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "x").write_text("")
    found = status(tmp_path)
    assert (found.branch, found.head, found.untracked) == ("main", "", 2)


@pytest.mark.parametrize("operation", ["merge", "rebase", "cherry-pick", "revert"])
def test_conflicts_and_the_operation_in_progress(path: Path, operation: str) -> None:
    base = git(path, "rev-parse", "HEAD")
    commit(path, {"fä ile": "one\n"})
    commit(path, {"fä ile": "two\n"})
    git(path, "checkout", "-q", "-b", "side", base)
    commit(path, {"fä ile": "three\n"})
    target = {"revert": "env/dev1~1"}.get(operation, "env/dev1")
    git(path, operation, target, check=False)
    found = status(path)
    assert found.in_progress == operation
    assert (found.conflicts, found.conflict_paths) == (1, ("fä ile",))
    assert found.detached == (operation == "rebase")


def test_a_bisect_in_progress(path: Path) -> None:
    git(path, "bisect", "start")
    assert status(path).in_progress == "bisect"


def test_looking_writes_nothing(path: Path) -> None:
    (path / "README.md").touch()
    before = snapshot_of(path)
    assert status(path).dirty == 0
    assert snapshot_of(path) == before


def test_a_lock_that_somebody_holds_does_not_matter(path: Path) -> None:
    (path / ".git/index.lock").write_text("")
    assert status(path).error is None


def test_commands_of_the_checkout_do_not_run(path: Path, tmp_path: Path) -> None:
    git(path, "config", "core.fsmonitor", f"touch '{tmp_path}/touched'; true")
    assert status(path).error is None
    assert not (tmp_path / "touched").exists()


def test_trouble_is_told_and_not_raised(path: Path, tmp_path: Path) -> None:
    assert status(tmp_path / "gone").error == "missing"
    (tmp_path / "plain").mkdir()
    assert status(tmp_path / "plain").error == "not a checkout"
    (path / ".git/HEAD").write_text("nonsense")
    broken = status(path).error
    assert broken is not None
    assert "not a git repository" in broken


def test_a_status_that_takes_too_long(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", slow_git(tmp_path / "bin", "status"))
    error = status(path, timeout=0.2).error
    assert error is not None
    assert "did not finish" in error


def test_many_at_once_in_their_order(path: Path, repository: Path, tmp_path: Path) -> None:
    (repository / "x").write_text("")
    wanted = [tmp_path / "gone", path, repository, path]
    found = status_many(wanted)
    assert list(found) == [tmp_path / "gone", path, repository]
    assert [found[each].untracked for each in found] == [0, 0, 1]
    assert status_many([]) == {}


def test_the_untracked_cache_is_filled_and_true(path: Path) -> None:
    fill_untracked_cache(path)
    listed = subprocess.run(["git", "-C", path, "ls-files", "--debug"], capture_output=True, check=True)
    assert listed.stdout
    assert b"UNTR" in (path / ".git/index").read_bytes()
    (path / "app/new").write_text("")
    assert status(path).untracked == 1
    os.unlink(path / "app/new")
    assert status(path).untracked == 0


def test_parsing_needs_no_repository() -> None:
    assert parse_status("") == GitStatus()
    assert parse_status("# branch.oid (initial)\0# branch.head main\0") == GitStatus(branch="main")
    gone = "# branch.oid 1\0# branch.head main\0# branch.upstream origin/gone\0"
    assert parse_status(gone).upstream == "", "an upstream that is gone counts nothing"
