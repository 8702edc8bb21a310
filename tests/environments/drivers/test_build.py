"""Environments are made side by side, whole and independent; made again, nothing changes."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from common.errors import Cancelled, Conflict
from environments.drivers.build import Target, build_all
from environments.drivers.salvage import salvage
from environments.drivers.status import status_many
from tests.environments.drivers.builds import COUNT, check_whole, leftovers, set_up
from tests.environments.drivers.repositories import (
    commit,
    git,
    layout_of,
    make_repository,
    snapshot_of,
    source_of,
    targets_in,
)


def test_five_environments_are_whole_and_independent(repository: Path, tmp_path: Path) -> None:
    os.symlink("README.md", repository / "link")
    (repository / "run").write_text("#!/bin/sh\n")
    (repository / "run").chmod(0o755)
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "kinds of files")
    built = set_up(repository, tmp_path / "root")
    assert [each.error for each in built] == [None] * COUNT
    assert all(each.created and each.sha == git(repository, "rev-parse", "HEAD") for each in built)
    check_whole(tmp_path / "root")
    assert leftovers(tmp_path / "root") == []
    paths = [tmp_path / "root" / f"demo-dev{number}" for number in range(1, COUNT + 1)]
    for path in paths:
        assert os.readlink(path / "link") == "README.md"
        assert os.access(path / "run", os.X_OK)
        for name in git(path, "ls-files").splitlines():
            assert (path / name).lstat().st_nlink == 1, "a file shared with another environment"
    inodes = {(path / "README.md").stat().st_ino for path in paths}
    assert len(inodes) == COUNT
    (paths[0] / "README.md").write_text("mine\n")
    assert {(path / "README.md").read_text() for path in paths[1:]} == {"hello\n"}


def test_the_second_run_changes_nothing_and_says_so(repository: Path, tmp_path: Path) -> None:
    set_up(repository, tmp_path / "root")
    paths = [tmp_path / "root" / f"demo-dev{number}" for number in range(1, COUNT + 1)]
    before = [snapshot_of(path) for path in paths]
    built = set_up(repository, tmp_path / "root")
    assert [snapshot_of(path) for path in paths] == before
    assert not any(each.created or each.report is None or each.report.changed for each in built)


def test_only_what_is_missing_comes_back(repository: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    set_up(repository, root)
    (root / "demo-dev2/launch.sh").unlink()
    (root / "demo-dev3/data/qa/demo.db").unlink()
    subprocess.run(["rm", "-rf", root / "demo-dev4"], check=True)
    built = set_up(repository, root)
    assert [each.created for each in built] == [False, False, False, True, False]
    reports = [each.report for each in built]
    assert [report.repaired if report else None for report in reports] == [
        (), ("launch.sh",), ("data/qa/demo.db",), (), (),
    ]  # fmt: skip
    check_whole(root)


def test_more_environments_are_added_to_those_that_are_there(repository: Path, tmp_path: Path) -> None:
    set_up(repository, tmp_path / "root", 2)
    commit(repository, {"later": "1"})
    built = set_up(repository, tmp_path / "root", 3)
    assert [each.created for each in built] == [False, False, True]
    assert (tmp_path / "root/demo-dev3/later").exists()
    statuses = status_many([each.target.path for each in built])
    assert [status.behind for status in statuses.values()] == [0, 0, 0], "nobody has fetched yet"


def test_pushed_work_of_one_environment_comes_back_to_it(repository: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    set_up(repository, root, 3)
    sha = commit(root / "demo-dev2", {"work": "1"})
    git(root / "demo-dev2", "push", "-q")
    for number in (1, 2, 3):
        subprocess.run(["rm", "-rf", root / f"demo-dev{number}"], check=True)
    built = set_up(repository, root, 3)
    assert [each.sha == sha for each in built] == [False, True, False]
    assert (root / "demo-dev2/work").exists()
    assert not (root / "demo-dev1/work").exists()


def test_something_foreign_at_one_place_does_not_keep_the_others_from_being_made(
    repository: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    (root / "demo-dev1").mkdir(parents=True)
    (root / "demo-dev1/mine").write_text("x")
    built = set_up(repository, root, 3)
    assert isinstance(built[0].error, Conflict)
    assert [each.created for each in built] == [False, True, True]
    assert os.listdir(root / "demo-dev1") == ["mine"]


def test_a_place_that_cannot_be_written_does_not_keep_the_others_from_being_made(
    repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    blocked = Target(tmp_path / "file/dev1", "env/dev1", layout_of(tmp_path / "file/dev1"))
    targets = [blocked, *targets_in(tmp_path / "root", 2)[1:]]
    _, built = build_all(source_of(repository), tmp_path / "hub.git", targets)
    assert built[0].error is not None
    assert built[0].error.exit_code == 6
    assert built[1].created


def test_directories_with_awkward_names(tmp_path: Path) -> None:
    root = tmp_path / "it's a [root] with..dots:and $(things)"
    repository = make_repository(root / "the source", {"a b.txt": "1", "-dash": "2", "ü": "3"})
    built = build_all(source_of(repository), root / "the hub.git", targets_in(root, 2))[1]
    assert [each.error for each in built] == [None, None]
    assert (root / "demo-dev2/-dash").read_text() == "2"
    assert git(root / "demo-dev2", "status", "--porcelain") == ""


def test_progress_ends_at_one(repository: Path, tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    lock = threading.Lock()

    def note(text: str, fraction: float) -> None:
        with lock:
            told.append((text, fraction))

    build_all(source_of(repository), tmp_path / "hub.git", targets_in(tmp_path, 3), note)
    ready = [(text, fraction) for text, fraction in told if text.endswith("ready")]
    assert sorted(fraction for _, fraction in ready) == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0]


def test_cancelled_at_the_first_finished_environment(repository: Path, tmp_path: Path) -> None:
    def progress(text: str, _: float) -> None:
        if text.endswith("ready"):
            raise Cancelled("enough")

    targets = targets_in(tmp_path / "root", 12)
    _, built = build_all(source_of(repository), tmp_path / "root/hub.git", targets, progress)
    made = len(list((tmp_path / "root").glob("demo-dev*")))
    assert 1 <= made < 12
    assert [each for each in built if each.error and not isinstance(each.error, Cancelled)] == []
    assert len([each for each in built if each.error is None]) == made
    assert leftovers(tmp_path / "root") == []
    assert [each.error for each in set_up(repository, tmp_path / "root", 3)] == [None] * 3


def test_a_broken_progress_bar_does_not_matter(repository: Path, tmp_path: Path) -> None:
    def progress(_: str, __: float) -> None:
        raise RuntimeError

    _, built = build_all(source_of(repository), tmp_path / "hub.git", targets_in(tmp_path, 2), progress)
    assert [each.error for each in built] == [None, None]


def test_a_repository_with_submodules_says_which(repository: Path, tmp_path: Path) -> None:
    make_repository(tmp_path / "library")
    git(repository, "submodule", "--quiet", "add", tmp_path / "library", "vendor")
    git(repository, "commit", "-qm", "library")
    built = set_up(repository, tmp_path / "root", 2)
    assert [each.submodules for each in built] == [("vendor",), ("vendor",)]
    assert git(tmp_path / "root/demo-dev2", "status", "--porcelain") == ""


_ODD_CONFIGURATION = """
[clone]
	defaultRemoteName = upstream
[submodule]
	recurse = true
[fetch]
	recurseSubmodules = true
	prune = false
[status]
	showUntrackedFiles = no
	relativePaths = false
	showStash = true
[diff]
	noprefix = true
	external = false
[core]
	quotePath = false
	autocrlf = input
	pager = false
[commit]
	gpgSign = true
[push]
	default = nothing
[feature]
	manyFiles = true
[init]
	defaultBranch = odd
[color]
	ui = always
[advice]
	detachedHead = true
[log]
	showSignature = true
[branch]
	autoSetupMerge = always
	autoSetupRebase = always
[transfer]
	fsckObjects = true
"""


def test_a_users_own_configuration_does_not_get_in_the_way(repository: Path, tmp_path: Path) -> None:
    make_repository(tmp_path / "library")
    git(repository, "submodule", "--quiet", "add", tmp_path / "library", "vendor")
    git(repository, "commit", "-qm", "library")
    with open(tmp_path / "gitconfig", "a") as configuration:
        configuration.write(_ODD_CONFIGURATION)
    root = tmp_path / "root"
    assert [each.error for each in set_up(repository, root, 2)] == [None, None]
    assert [each.created for each in set_up(repository, root, 2)] == [False, False]
    path = root / "demo-dev2"
    (path / "new").write_text("x")
    found = status_many([path])[path]
    assert (found.branch, found.upstream, found.untracked, found.error) == ("env/dev2", "origin/main", 1, None)
    saved = salvage(path, root / "hub.git", name="demo-dev2", directory=tmp_path / "salvage")
    assert saved is not None
    assert saved.patch is not None
    assert "b/new" in saved.patch.read_text()


def test_large_files_are_mentioned(repository: Path, tmp_path: Path) -> None:
    assert not set_up(repository, tmp_path / "root", 1)[0].large_files
    commit(repository, {".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n"})
    assert set_up(repository, tmp_path / "other", 1)[0].large_files


def test_checkouts_whose_hub_is_gone_are_adopted_and_those_of_another_gaia_are_not(
    repository: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    set_up(repository, root, 2)
    second = tmp_path / "second/hub.git"
    _, built = build_all(source_of(repository), second, targets_in(root, 2))
    assert [type(each.error) for each in built] == [Conflict, Conflict]
    os.rename(root / "hub.git", tmp_path / "away.git")
    _, built = build_all(source_of(repository), second, targets_in(root, 2))
    assert [each.report.repaired if each.report else None for each in built] == [(".git/config",)] * 2
    assert git(root / "demo-dev1", "fetch", "-v", "origin") == ""
    _, built = build_all(source_of(repository), second, targets_in(root, 2))
    assert not any(each.report is None or each.report.changed for each in built)


def test_an_odd_index_is_made_anew_by_git(repository: Path, tmp_path: Path) -> None:
    with open(tmp_path / "gitconfig", "a") as configuration:
        configuration.write("[core]\n\tsplitIndex = true\n")
    set_up(repository, tmp_path / "root", 3)
    check_whole(tmp_path / "root", 3)
