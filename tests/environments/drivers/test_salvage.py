"""Work that is nowhere else is saved whole when a checkout goes, and its owner notices nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from environments.drivers.git import GitError
from environments.drivers.salvage import Work, restore
from tests.environments.drivers.repositories import (
    commit,
    git,
    make_repository,
    snapshot_of,
)
from tests.environments.drivers.salvages import NAME, Environment, picture, run_command


def test_a_clean_checkout_has_nothing_to_lose(environment: Environment) -> None:
    assert environment.work() == Work()
    assert not environment.work().anything
    assert environment.salvage() is None
    assert not environment.directory.exists()


def test_pushed_commits_are_safe_already(environment: Environment) -> None:
    commit(environment.path, {"x": "1"})
    assert environment.work().unpushed == {"heads/env/dev1": 1}
    git(environment.path, "push", "-q")
    assert environment.work() == Work()


def test_work_is_counted(environment: Environment) -> None:
    environment.make_a_mess()
    commit_count = 2
    for number in range(commit_count):
        git(environment.path, "commit", "-q", "--allow-empty", "--only", "-m", str(number))
    work = environment.work()
    assert work.unpushed == {"heads/env/dev1": commit_count}
    assert work.untracked == 6
    assert work.uncommitted == len(git(environment.path, "status", "--porcelain", "-uno", "--no-renames").splitlines())


def test_the_owner_notices_nothing_of_a_salvage(environment: Environment) -> None:
    environment.make_a_mess()
    before = {name: facts for name, facts in snapshot_of(environment.path).items() if ".git/objects" not in name}
    assert environment.salvage() is not None
    after = {name: facts for name, facts in snapshot_of(environment.path).items() if ".git/objects" not in name}
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} <= {".git"}


def test_refs_patch_and_description(environment: Environment) -> None:
    sha = commit(environment.path, {"x": "1"})
    (environment.path / "y").write_text("2")
    found = environment.clean()
    prefix = f"refs/salvage/{NAME}"
    assert found.name == NAME
    listed = git(environment.hub, "for-each-ref", "--format=%(refname) %(objectname)", prefix).splitlines()
    assert listed == [f"{prefix}/{ref} {found.refs[ref]}" for ref in ("heads/env/dev1", "worktree")]
    assert found.refs["heads/env/dev1"] == sha
    assert found.patch == environment.directory / f"{NAME}.patch"
    assert found.patch.stat().st_mode & 0o777 == 0o600
    assert (found.work.unpushed, found.work.untracked) == ({"heads/env/dev1": 1}, 1)


def test_the_patch_alone_has_all_files(environment: Environment, tmp_path: Path) -> None:
    environment.make_a_mess()
    before = picture(environment.path)["files"]
    found = environment.clean()
    git(tmp_path, "clone", "-q", environment.repository, tmp_path / "patched")
    assert found.patch is not None
    git(tmp_path / "patched", "apply", found.patch)
    scripts = {"launch.sh", "stop.sh", "status.sh", "sync.sh", ".env.local"}
    assert isinstance(before, dict)
    assert picture(tmp_path / "patched")["files"] == {k: v for k, v in before.items() if k not in scripts}


def test_two_salvages_in_one_second(environment: Environment) -> None:
    (environment.path / "x").write_text("1")
    first = environment.salvage()
    second = environment.salvage()
    assert first is not None
    assert second is not None
    assert (first.name, second.name) == (NAME, f"{NAME}-2")


def test_branches_tags_stashes_and_a_detached_head(environment: Environment) -> None:
    path = environment.path
    git(path, "checkout", "-q", "-b", "topic/deep")
    topic = commit(path, {"topic": "1"})
    git(path, "tag", "-a", "mine", "-m", "mine")
    for number in range(11):
        (path / "staged").write_text(f"stash {number}\n")
        (path / f"untracked{number}").write_text("x")
        git(path, "stash", "push", "-q", "-u", "-m", f"number {number}")
    stashes = git(path, "stash", "list", "--format=%H").split()
    git(path, "checkout", "-q", "--detach")
    detached = commit(path, {"detached": "1"})
    found = environment.clean()
    assert found.refs["heads/topic/deep"] == topic
    assert found.refs["detached"] == detached
    assert [found.refs[f"stash/{number}"] for number in range(11)] == stashes
    assert "tags/mine" in found.refs
    assert "worktree" not in found.refs
    run_command(found.restore_command)
    assert git(path, "rev-parse", "HEAD") == detached
    assert git(path, "rev-parse", "topic/deep") == topic
    assert git(path, "rev-parse", "mine^{commit}") == topic
    assert git(path, "stash", "list", "--format=%H").split() == stashes
    shutil.rmtree(path)
    environment.make()
    restored = restore(path, environment.hub, found.name)
    assert (restored.stashes, restored.files) == (11, False)
    assert git(path, "stash", "list", "--format=%H").split() == stashes
    assert git(path, "rev-parse", "topic/deep") == topic


def test_an_unfinished_merge_with_conflicts(environment: Environment) -> None:
    path = environment.path
    git(path, "checkout", "-q", "-b", "side")
    side = commit(path, {"both": "side\n"})
    git(path, "checkout", "-q", "env/dev1")
    commit(path, {"both": "own\n"})
    git(path, "merge", "side", check=False)
    assert environment.work().uncommitted == 1
    text = (path / "both").read_text()
    assert "<<<<<<<" in text
    found = environment.clean()
    assert found.refs["other/MERGE_HEAD"] == side
    run_command(found.restore_command)
    assert (path / "both").read_text() == text


def test_commits_that_only_another_worktree_has(environment: Environment) -> None:
    git(environment.path, "worktree", "add", "-q", "--detach", environment.root / "worktree")
    sha = commit(environment.root / "worktree", {"x": "1"})
    found = environment.salvage()
    assert found is not None
    assert sha in found.refs.values()


def test_hidden_changes_are_found(environment: Environment) -> None:
    path = environment.path
    for flag, name in (("--assume-unchanged", "staged"), ("--skip-worktree", "both")):
        git(path, "update-index", flag, name)
        (path / name).write_text("hidden change\n")
    assert git(path, "status", "--porcelain") == ""
    assert environment.work().uncommitted == 2
    found = environment.clean()
    run_command(found.restore_command)
    assert (path / "staged").read_text() == (path / "both").read_text() == "hidden change\n"


def test_a_sparse_checkout_has_not_deleted_what_it_left_out(environment: Environment) -> None:
    git(environment.path, "sparse-checkout", "set", "--no-cone", "/README.md")
    assert not (environment.path / "staged").exists()
    assert environment.work() == Work()


def test_ignored_files_are_left_to_the_trash(environment: Environment) -> None:
    commit(environment.path, {".gitignore": "*.log\n"})
    git(environment.path, "push", "-q")
    (environment.path / "big.log").write_text("x")
    assert environment.work() == Work()


def test_files_added_with_intent(environment: Environment) -> None:
    (environment.path / "later").write_text("content\n")
    git(environment.path, "add", "-N", "later")
    assert environment.work().uncommitted == 1
    found = environment.clean()
    run_command(found.restore_command)
    assert (environment.path / "later").read_text() == "content\n"


def test_a_repository_inside_is_archived_whole(environment: Environment) -> None:
    inner = make_repository(environment.path / "inner one")
    sha = commit(inner, {"x": "1"})
    (inner / "untracked").write_text("mine")
    found = environment.clean()
    assert found.work.nested == ("inner one",)
    assert found.archive is not None
    assert found.archive.stat().st_mode & 0o777 == 0o600
    run_command(found.restore_command)
    assert git(inner, "rev-parse", "HEAD") == sha
    assert (inner / "untracked").read_text() == "mine"
    shutil.rmtree(environment.path)
    environment.make()
    restore(environment.path, environment.hub, found.name, archive=found.archive)
    assert (inner / "untracked").read_text() == "mine"


def test_work_in_a_submodule_is_archived(environment: Environment, tmp_path: Path) -> None:
    make_repository(tmp_path / "library")
    git(environment.repository, "submodule", "--quiet", "add", tmp_path / "library", "vendor")
    git(environment.repository, "commit", "-qm", "library")
    shutil.rmtree(environment.path)
    environment.make()
    assert environment.work() == Work()
    git(environment.path, "submodule", "--quiet", "update", "--init")
    assert environment.work() == Work()
    sha = commit(environment.path / "vendor", {"x": "1"})
    assert environment.work().nested == ("vendor",)
    found = environment.clean()
    run_command(found.restore_command)
    assert git(environment.path / "vendor", "rev-parse", "HEAD") == sha


def test_large_files_are_stored_as_they_are_and_their_objects_kept(environment: Environment) -> None:
    """git-lfs is not needed: its clean filter must not put a pointer in place of the only copy."""
    path = environment.path
    commit(path, {".gitattributes": "*.bin filter=lfs\n"})
    git(path, "config", "filter.lfs.clean", "echo pointer")
    (path / "big.bin").write_bytes(b"\0large\0")
    (path / ".git/lfs/objects/aa/bb").mkdir(parents=True)
    (path / ".git/lfs/objects/aa/bb/aabb").write_bytes(b"object")
    found = environment.clean()
    assert (environment.hub / "lfs/objects/aa/bb/aabb").read_bytes() == b"object"
    run_command(found.restore_command)
    assert (path / "big.bin").read_bytes() == b"\0large\0"


def test_line_endings_survive(environment: Environment) -> None:
    git(environment.path, "config", "core.autocrlf", "input")
    git(environment.path, "config", "core.safecrlf", "true")
    (environment.path / "new").write_bytes(b"a\nb\n")
    (environment.path / "unstaged").write_bytes(b"c\nd\n")
    run_command(environment.clean().restore_command)
    assert (environment.path / "unstaged").read_bytes() == b"c\nd\n"


def test_a_hook_of_the_checkout_or_the_hub_cannot_prevent_it(environment: Environment) -> None:
    for hooks, name in ((environment.path / ".git/hooks", "pre-push"), (environment.hub / "hooks", "pre-receive")):
        hooks.mkdir(exist_ok=True)
        (hooks / name).write_text("#!/bin/sh\nexit 1\n")
        (hooks / name).chmod(0o755)
    commit(environment.path, {"x": "1"})
    assert environment.salvage() is not None


def test_nothing_counts_as_saved_when_the_hub_is_gone(environment: Environment) -> None:
    (environment.path / "x").write_text("1")
    shutil.rmtree(environment.hub)
    with pytest.raises(GitError):
        environment.salvage()


def test_nothing_counts_as_saved_when_a_file_cannot_be_read(environment: Environment) -> None:
    """Root may read everything, so a child gives its rights up first."""
    (environment.path / "secret").write_text("1")
    (environment.path / "secret").chmod(0)
    if os.geteuid() == 0:
        subprocess.run(["chmod", "a+rx", *map(str, [environment.root, *environment.root.parents][:-1])], check=True)
        subprocess.run(["chown", "-R", "65534:65534", environment.root], check=True)
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            environment.salvage()
            code = 0
        except GitError:
            code = 7
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_a_lost_object_is_noticed(environment: Environment) -> None:
    sha = commit(environment.path, {"x": "only here"})
    blob = git(environment.path, "rev-parse", f"{sha}:x")
    (environment.path / ".git/objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(GitError):
        environment.salvage()
