"""Snapshots: how a checkout was comes back exactly, and nothing is lost on the way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from common.errors import Conflict, NotFound
from environments.drivers import verbs
from environments.drivers.git import GitError
from environments.drivers.snapshots import (
    drop_snapshots,
    find_snapshot,
    list_snapshots,
    restore_snapshot,
    take_branch_snapshot,
    take_snapshot,
)
from environments.drivers.status import status
from tests.environments.drivers.checkouts import AUTHOR, TEXT, Pair
from tests.environments.drivers.repositories import commit, git
from tests.environments.drivers.salvages import picture

NOON = datetime(2025, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def pair(repository: Path, tmp_path: Path) -> Pair:
    commit(
        repository, {"text": TEXT, "kept": "kept\n", "gone": "gone\n", "run": "#!/bin/sh\n", ".gitignore": "*.log\n"}
    )
    return Pair(repository, tmp_path)


def mess(path: Path) -> None:
    """Uncommitted work of every kind."""
    (path / "text").write_text("first\n")
    git(path, "add", "text")
    (path / "text").write_text("second\n")
    git(path, "rm", "-q", "gone")
    (path / "run").chmod(0o755)
    git(path, "mv", "kept", "moved")
    (path / "README.md").unlink()
    (path / "README.md").symlink_to("app/main.py")
    (path / "tracked.log").write_text("ignored, and tracked all the same\n")
    git(path, "add", "-f", "tracked.log")
    (path / "intended").write_text("intended\n")
    git(path, "add", "-N", "intended")
    (path / "new dir/ü").mkdir(parents=True)
    (path / "new dir/ü/run me").write_text("#!/bin/sh\n")
    (path / "new dir/ü/run me").chmod(0o755)
    (path / "link").symlink_to("../outside")
    (path / "broken\nname").write_text("x")
    (path / "large.bin").write_bytes(bytes(range(256)) * 20_000)
    (path / "crlf").write_bytes(b"one\r\ntwo\n")


def test_everything_comes_back_as_it_was(pair: Pair) -> None:
    mess(pair.one)
    before = picture(pair.one)
    done = verbs.reset(pair.one, pair.keep(pair.one), mode="hard")
    verbs.clean(pair.one, pair.keep(pair.one))
    assert status(pair.one).dirty == 0
    assert not (pair.one / "large.bin").exists()
    pair.restore(pair.one, done.snapshot)
    after = picture(pair.one)
    # what was only intended to be added is added now: git's own stash cannot hold the difference
    for each in (before, after):
        each.pop("status"), each.pop("staged"), each.pop("unstaged")
    assert after == before
    assert git(pair.one, "show", ":text") == "first"
    pair.check()


def test_taking_one_changes_nothing(pair: Pair) -> None:
    mess(pair.one)
    before = picture(pair.one)
    index = (pair.one / ".git/index").stat().st_mtime_ns
    pair.keep(pair.one)("only looking")
    assert (pair.one / ".git/index").stat().st_mtime_ns == index
    assert picture(pair.one) == before
    assert git(pair.one, "stash", "list") == ""


def test_what_is_told_of_one(pair: Pair) -> None:
    (pair.one / "text").write_text("changed\n")
    head = git(pair.one, "rev-parse", "HEAD")
    name = take_snapshot(pair.one, pair.hub, name="demo-dev1", reason="before a test", actor="user:ada", now=NOON)
    again = take_snapshot(pair.one, pair.hub, name="demo-dev1", reason="and again", actor="user:ada", now=NOON)
    other = take_snapshot(pair.two, pair.hub, name="demo-dev2", reason="another", actor="user:ada", now=NOON)
    assert (name, again) == ("demo-dev1/20250131T120000Z", "demo-dev1/20250131T120000Z-2")
    found = find_snapshot(pair.hub, name)
    assert (found.head, found.branch, found.reason, found.actor, found.files) == (
        head, "env/dev1", "before a test", "user:ada", 1,
    )  # fmt: skip
    assert [each.name for each in list_snapshots(pair.hub, "demo-dev1")] == [again, name]
    assert {each.name for each in list_snapshots(pair.hub)} == {name, again, other}
    for wrong in ("demo-dev1", "demo-dev1/", "../../heads/main", "demo-dev1/20250131T120000Z-3", ""):
        with pytest.raises(NotFound):
            find_snapshot(pair.hub, wrong)


def test_restoring_onto_a_branch_that_has_gone_on_keeps_both(pair: Pair) -> None:
    verbs.feature(pair.one, "x")
    (pair.one / "text").write_text("then\n")
    name = pair.keep(pair.one)("then")
    newer = commit(pair.one, {"newer": "newer\n"})
    git(pair.one, "checkout", "-q", "-f", "env/dev1")
    pair.restore(pair.one, name)
    assert status(pair.one).branch == "feature/x"
    assert (pair.one / "text").read_text() == "then\n"
    assert newer in git(pair.hub, "rev-list", "--glob=refs/snapshots")


def test_restoring_keeps_how_it_is_now(pair: Pair) -> None:
    name = pair.keep(pair.one)("then")
    tip = commit(pair.one, {"mine": "mine\n"})
    (pair.one / "text").write_text("now\n")
    (pair.one / "stays").write_text("stays\n")
    kept = restore_snapshot(pair.one, pair.hub, find_snapshot(pair.hub, name), pair.keep(pair.one))
    assert (pair.one / "text").read_text() == TEXT
    assert (pair.one / "stays").exists(), "untracked files that were not there then stay"
    pair.restore(pair.one, kept)
    assert git(pair.one, "rev-parse", "HEAD") == tip
    assert (pair.one / "text").read_text() == "now\n"


def test_restoring_in_the_middle_of_a_rebase(pair: Pair) -> None:
    (pair.one / "text").write_text("then\n")
    name = pair.keep(pair.one)("then")
    git(pair.one, "checkout", "-q", "text")
    mine = commit(pair.one, {"text": "mine\n"})
    commit(pair.source, {"text": "theirs\n"})
    pair.fetch(pair.one)
    git(pair.one, "rebase", "-q", "origin/main", check=False)  # by the agent itself: no snapshot of it
    assert status(pair.one).in_progress == "rebase"
    restore_snapshot(pair.one, pair.hub, find_snapshot(pair.hub, name), pair.keep(pair.one))
    assert (status(pair.one).in_progress, status(pair.one).branch) == (None, "env/dev1")
    assert (pair.one / "text").read_text() == "then\n"
    assert mine in git(pair.hub, "rev-list", "--glob=refs/snapshots")
    pair.check()


def test_what_lies_in_the_place_of_what_comes_back(pair: Pair) -> None:
    """A directory for a file, a file for a directory, an untracked file for one that was staged."""
    (pair.one / "one").write_text("a file\n")
    (pair.one / "two").mkdir()
    (pair.one / "two/inside").write_text("in a directory\n")
    (pair.one / "staged").write_text("staged\n")
    git(pair.one, "add", "staged")
    (pair.one / "text").write_text("then\n")
    before = picture(pair.one)
    name = pair.keep(pair.one)("before something")
    git(pair.one, "reset", "-q", "--hard")
    (pair.one / "one").unlink()
    (pair.one / "one/deep").mkdir(parents=True)
    (pair.one / "one/deep/inside").write_text("now\n")
    (pair.one / "two/inside").unlink()
    (pair.one / "two").rmdir()
    (pair.one / "two").write_text("now\n")
    (pair.one / "staged").write_text("now\n")
    (pair.one / "other").write_text("stays\n")
    now = picture(pair.one)

    kept = restore_snapshot(pair.one, pair.hub, find_snapshot(pair.hub, name), pair.keep(pair.one))

    assert (pair.one / "other").read_text() == "stays\n"
    (pair.one / "other").unlink()
    assert picture(pair.one) == before
    pair.restore(pair.one, kept)
    assert picture(pair.one) == now


def test_a_restoring_that_fails_says_how_it_was_before(pair: Pair, tmp_path: Path) -> None:
    name = pair.keep(pair.one)("before something")
    (pair.one / "text").write_text("now\n")

    def keep(reason: str) -> str:
        kept = pair.keep(pair.one)(reason)
        (pair.one / ".git/objects").rename(tmp_path / "objects")
        return kept

    with pytest.raises(GitError) as caught:
        restore_snapshot(pair.one, pair.hub, find_snapshot(pair.hub, name), keep)
    assert f"gaia env snapshots restore {caught.value.detail['snapshot']}" in caught.value.fix


def test_a_branch_that_is_checked_out_elsewhere_is_left_alone(pair: Pair, tmp_path: Path) -> None:
    verbs.feature(pair.one, "x")
    (pair.one / "text").write_text("then\n")
    name = pair.keep(pair.one)("then")
    git(pair.one, "checkout", "-q", "-f", "env/dev1")
    git(pair.one, "worktree", "add", "-q", str(tmp_path / "beside"), "feature/x")
    with pytest.raises(Conflict, match="another work tree"):
        pair.restore(pair.one, name)
    assert status(pair.one).branch == "env/dev1"
    with pytest.raises(Conflict):
        verbs.delete_branch(pair.one, "feature/x", pair.keep_branch(pair.one, "feature/x"))


def test_one_of_another_environment(pair: Pair) -> None:
    tip = commit(pair.one, {"mine": "mine\n"})
    (pair.one / "text").write_text("of one\n")
    name = pair.keep(pair.one)("to go on beside")
    pair.restore(pair.two, name)
    assert (pair.two / "text").read_text() == "of one\n"
    assert git(pair.two, "rev-parse", "HEAD") == tip


def test_before_the_first_commit(pair: Pair) -> None:
    git(pair.one, "checkout", "-q", "--orphan", "fresh")
    git(pair.one, "rm", "-q", "-r", "--cached", ".")
    (pair.one / "only").write_text("only here\n")
    name = pair.keep(pair.one)("before anything")
    assert git(pair.hub, "show", f"{find_snapshot(pair.hub, name).commit}^3:only") == "only here"


def test_commits_without_a_branch_are_kept_when_left(pair: Pair) -> None:
    git(pair.one, "checkout", "-q", "--detach")
    tip = commit(pair.one, {"mine": "mine\n"})
    done = verbs.feature(pair.one, "x", keep=pair.keep(pair.one))
    assert find_snapshot(pair.hub, done.snapshot).head == tip
    git(pair.one, "checkout", "-q", "--detach")
    assert verbs.feature(pair.one, "y", keep=pair.keep(pair.one)).snapshot == ""


def test_only_old_ones_that_are_not_among_the_newest_are_dropped(pair: Pair) -> None:
    names = [
        take_snapshot(pair.one, pair.hub, name="demo-dev1", reason=f"{day}", actor="", now=NOON + timedelta(days=day))
        for day in range(5)
    ]
    lone = take_snapshot(pair.two, pair.hub, name="demo-dev2", reason="lone", actor="", now=NOON)
    now = datetime.now(UTC)
    assert drop_snapshots(pair.hub, keep=2, older_than=timedelta(days=30), now=now) == []
    later = now + timedelta(days=31)
    assert drop_snapshots(pair.hub, keep=2, older_than=timedelta(days=30), now=later) == names[2::-1]
    assert {each.name for each in list_snapshots(pair.hub)} == {names[4], names[3], lone}
    assert take_branch_snapshot(pair.one, pair.hub, "env/dev1", name="demo-dev1", reason="x", actor="", now=NOON)


def test_without_a_hub_nothing_is_done_and_nothing_is_made(pair: Pair) -> None:
    (pair.one / "text").write_text("changed\n")
    away = pair.hub.rename(pair.hub.with_name("away.git"))
    with pytest.raises(GitError):
        verbs.reset(pair.one, pair.keep(pair.one), mode="hard")
    with pytest.raises(GitError):
        verbs.push(pair.one, protected=("main",))
    assert (pair.one / "text").read_text() == "changed\n"
    assert not pair.hub.exists(), "a directory there would keep set-up from making the hub again"
    away.rename(pair.hub)
    assert verbs.reset(pair.one, pair.keep(pair.one), mode="hard").changed
    assert not verbs.integrate(pair.one, pair.keep(pair.one), author=AUTHOR, verb="sync").changed
