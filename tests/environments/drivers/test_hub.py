"""The hub: made once, brought up to date without losing anything."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import Conflict, Refused, Unavailable
from environments.drivers.git import GitError
from environments.drivers.hub import HubState, create_or_update_hub
from environments.drivers.source import Source
from tests.environments.drivers.repositories import commit, git, make_repository, source_of

TIMEOUT_S = 60.0


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    return tmp_path / "hubs/demo.git"


def update(repository: Path, hub: Path) -> HubState:
    return create_or_update_hub(source_of(repository), hub, timeout=TIMEOUT_S)


def heads(hub: Path) -> dict[str, str]:
    listed = git(hub, "for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/heads")
    return dict(line.split(" ") for line in listed.splitlines())


def test_a_new_hub_has_everything_of_its_source(repository: Path, hub: Path) -> None:
    git(repository, "branch", "topic")
    git(repository, "tag", "-a", "v1", "-m", "one")
    state = update(repository, hub)
    head = git(repository, "rev-parse", "HEAD")
    assert state == HubState("main", head, ("main", "topic"), (), (), True)
    assert git(hub, "rev-parse", "v1") == git(repository, "rev-parse", "v1")
    assert git(hub, "rev-parse", "refs/remotes/source/topic") == head
    assert git(hub, "fsck", "--full") == ""
    assert git(hub, "config", "gc.auto") == "0"
    assert git(hub, "config", "--get", "remote.origin.url", check=False) == ""


def test_objects_are_linked_and_the_hub_lives_without_its_source(repository: Path, hub: Path) -> None:
    git(repository, "gc", "-q")
    update(repository, hub)
    pack = next((hub / "objects/pack").glob("*.pack"))
    assert pack.stat().st_nlink == 2
    git(repository, "commit", "-q", "--amend", "-m", "again")
    git(repository, "reflog", "expire", "--expire=all", "--all")
    git(repository, "gc", "-q", "--prune=now")
    assert git(hub, "fsck", "--full") == ""
    assert git(hub, "log", "-1", "--format=%s") == "work"


def test_running_again_changes_nothing(repository: Path, hub: Path) -> None:
    first = update(repository, hub)
    again = update(repository, hub)
    assert again == replace(first, created=False)


def test_new_commits_branches_and_tags_arrive(repository: Path, hub: Path) -> None:
    update(repository, hub)
    sha = commit(repository, {"new.txt": "1"})
    git(repository, "branch", "topic/deep")
    git(repository, "tag", "v2")
    state = update(repository, hub)
    assert (state.head_sha, state.branches) == (sha, ("main", "topic/deep"))
    assert git(hub, "rev-parse", "v2") == sha


def test_tags_that_only_the_hub_has_stay(repository: Path, hub: Path, tmp_path: Path) -> None:
    git(repository, "tag", "v1")
    old = update(repository, hub).head_sha
    git(hub, "tag", "-a", "v2", "-m", "a release", old)
    git(repository, "tag", "-d", "v1")
    (tmp_path / "gitconfig").write_text("[fetch]\n\tprune = true\n\tpruneTags = true\n")
    update(repository, hub)
    assert git(hub, "tag").split() == ["v1", "v2"]


def test_names_that_unicode_would_break(repository: Path, hub: Path) -> None:
    git(repository, "branch", "a\u2028b\x85c")
    assert update(repository, hub).branches == ("a\u2028b\x85c", "main")
    assert update(repository, hub).diverged == ()


def test_a_rewritten_branch_is_reported_and_the_hubs_kept(repository: Path, hub: Path) -> None:
    old = update(repository, hub).head_sha
    git(repository, "commit", "-q", "--amend", "-m", "rewritten")
    state = update(repository, hub)
    assert state.diverged == ("main",)
    assert heads(hub)["main"] == old
    assert git(hub, "rev-parse", "refs/remotes/source/main") == git(repository, "rev-parse", "HEAD")


def test_what_was_pushed_to_the_hub_stays(repository: Path, hub: Path, tmp_path: Path) -> None:
    update(repository, hub)
    git(tmp_path, "clone", "-q", hub, tmp_path / "work")
    pushed = commit(tmp_path / "work", {"pushed.txt": "1"})
    git(tmp_path / "work", "push", "-q", "origin", "main", "main:env/dev1")
    state = update(repository, hub)
    assert state.diverged == ()
    assert heads(hub) == {"main": pushed, "env/dev1": pushed}
    commit(repository, {"elsewhere.txt": "1"})
    assert update(repository, hub).diverged == ("main",)
    assert heads(hub)["main"] == pushed


def test_environment_branches_belong_to_the_hub(repository: Path, hub: Path) -> None:
    git(repository, "branch", "env/dev1")
    assert update(repository, hub).branches == ("main",)
    assert git(hub, "rev-parse", "refs/remotes/source/env/dev1") == git(repository, "rev-parse", "HEAD")
    git(hub, "branch", "env/dev1", "main")
    own = heads(hub)["env/dev1"]
    git(repository, "checkout", "-q", "env/dev1")
    commit(repository, {"x": "1"})
    update(repository, hub)
    assert heads(hub)["env/dev1"] == own


def test_a_branch_that_is_called_env_is_not_in_the_way(repository: Path, hub: Path) -> None:
    git(repository, "branch", "env")
    assert update(repository, hub).branches == ("main",)
    assert update(repository, hub).branches == ("main",)
    git(hub, "branch", "env/dev1", "main")
    assert git(hub, "rev-parse", "refs/remotes/source/env") == git(repository, "rev-parse", "HEAD")


def test_a_branch_gone_from_the_source_stays_in_the_hub(repository: Path, hub: Path) -> None:
    git(repository, "branch", "old")
    update(repository, hub)
    git(repository, "branch", "-D", "old")
    assert "old" in update(repository, hub).branches
    assert git(hub, "for-each-ref", "refs/remotes/source/old") == ""


def test_a_branch_whose_name_became_a_directory_is_reported(repository: Path, hub: Path) -> None:
    git(repository, "branch", "topic")
    update(repository, hub)
    git(repository, "branch", "-D", "topic")
    git(repository, "branch", "topic/one")
    state = update(repository, hub)
    assert state.diverged == ("topic/one",)
    assert "topic" in state.branches


def test_a_moved_tag_is_reported_and_not_followed(repository: Path, hub: Path) -> None:
    git(repository, "tag", "v1")
    old = update(repository, hub).head_sha
    commit(repository, {"x": "1"})
    git(repository, "tag", "-f", "v1")
    state = update(repository, hub)
    assert state.moved_tags == ("v1",)
    assert git(hub, "rev-parse", "v1") == old
    assert state.head_sha == git(repository, "rev-parse", "HEAD")


@pytest.mark.parametrize(
    ("branches", "expected"),
    [(("alpha", "main", "master"), "main"), (("alpha", "master"), "master"), (("beta", "alpha"), "alpha")],
)
def test_default_branch_of_a_source_with_detached_head(
    tmp_path: Path, hub: Path, branches: tuple[str, ...], expected: str
) -> None:
    repository = make_repository(tmp_path / "source", branch=branches[0])
    for branch in branches[1:]:
        git(repository, "branch", branch)
    git(repository, "checkout", "-q", "--detach")
    assert update(repository, hub).default_branch == expected
    assert git(hub, "symbolic-ref", "HEAD") == f"refs/heads/{expected}"


def test_default_branch_follows_the_source(repository: Path, hub: Path) -> None:
    update(repository, hub)
    git(repository, "checkout", "-q", "-b", "trunk")
    assert update(repository, hub).default_branch == "trunk"
    git(repository, "checkout", "-q", "--detach")
    assert update(repository, hub).default_branch == "main"


def test_head_on_an_unborn_branch(repository: Path, hub: Path) -> None:
    git(repository, "checkout", "-q", "--orphan", "unborn")
    assert update(repository, hub).default_branch == "main"


def test_a_source_that_is_an_environment_itself(repository: Path, hub: Path) -> None:
    git(repository, "checkout", "-q", "-b", "env/dev1")
    commit(repository, {"x": "1"})
    state = update(repository, hub)
    assert (state.default_branch, state.branches) == ("main", ("main",))


def test_a_source_that_borrows_objects_is_not_borrowed_from(repository: Path, hub: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--shared", repository, tmp_path / "borrower")
    update(tmp_path / "borrower", hub)
    assert not (hub / "objects/info/alternates").exists()
    git(hub, "fsck", "--full")
    os.rename(repository, tmp_path / "away")
    assert git(hub, "cat-file", "-p", "main:README.md") == "hello"


def test_a_source_with_links_among_its_objects(repository: Path, hub: Path, tmp_path: Path) -> None:
    git(repository, "gc", "-q")
    os.rename(repository / ".git/objects/pack", tmp_path / "pack")
    os.symlink(tmp_path / "pack", repository / ".git/objects/pack")
    state = update(repository, hub)
    assert state.created
    assert git(hub, "fsck", "--full") == ""


def test_a_source_by_address(repository: Path, hub: Path) -> None:
    told: list[tuple[str, float]] = []
    source = Source(f"file://{repository}", None, "demo")
    state = create_or_update_hub(source, hub, timeout=TIMEOUT_S, progress=lambda *step: told.append(step))
    assert state.created
    assert told
    assert str(repository) not in (hub / "config").read_text()


def test_a_shallow_source(repository: Path, hub: Path, tmp_path: Path) -> None:
    commit(repository, {"x": "1"})
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{repository}", tmp_path / "shallow")
    assert update(tmp_path / "shallow", hub).head_sha == git(repository, "rev-parse", "HEAD")


def test_something_else_at_the_place_is_not_touched(repository: Path, hub: Path) -> None:
    hub.mkdir(parents=True)
    (hub / "mine").write_text("x")
    with pytest.raises(Conflict):
        update(repository, hub)
    assert os.listdir(hub) == ["mine"]


def test_a_place_that_cannot_be_written(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((Unavailable, Refused)):
        update(repository, tmp_path / "file/hub.git")


def test_a_source_that_went_away(repository: Path, hub: Path, tmp_path: Path) -> None:
    before = update(repository, hub)
    os.rename(repository, tmp_path / "away")
    with pytest.raises(GitError, match="could not be fetched"):
        update(repository, hub)
    assert heads(hub) == {"main": before.head_sha}


def test_pushes_may_not_delete_branches_and_a_forced_one_can_be_undone(
    repository: Path, hub: Path, tmp_path: Path
) -> None:
    update(repository, hub)
    git(tmp_path, "clone", "-q", hub, tmp_path / "work")
    lost = commit(tmp_path / "work", {"x": "1"})
    git(tmp_path / "work", "push", "-q", "origin", "main:env/dev1")
    git(tmp_path / "work", "push", "-q", "origin", ":env/dev1", check=False)
    assert heads(hub)["env/dev1"] == lost
    git(tmp_path / "work", "reset", "-q", "--hard", "HEAD~1")
    git(tmp_path / "work", "push", "-q", "-f", "origin", "main:env/dev1")
    assert lost in git(hub, "reflog", "show", "--format=%H", "env/dev1")


def test_a_sha256_repository(tmp_path: Path, hub: Path) -> None:
    (tmp_path / "source").mkdir()
    git(tmp_path / "source", "init", "-q", "-b", "main", "--object-format=sha256")
    commit(tmp_path / "source", {"x": "1"})
    assert len(update(tmp_path / "source", hub).head_sha) == 64
