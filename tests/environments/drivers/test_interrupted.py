"""What a merge or rebase that was killed had put aside comes back; git itself is killed where it matters."""

from __future__ import annotations

from pathlib import Path

import pytest

from environments.drivers import verbs
from environments.drivers.snapshots import list_snapshots
from environments.drivers.status import status
from tests.environments.drivers.checkouts import AUTHOR, TEXT, Pair
from tests.environments.drivers.repositories import commit, git

WORK = "an hour's work\n"


@pytest.fixture
def pair(repository: Path, tmp_path: Path) -> Pair:
    commit(repository, {"text": TEXT})
    made = Pair(repository, tmp_path)
    commit(made.source, {"theirs": "theirs\n"})
    made.fetch(made.one)
    (made.one / "text").write_text(WORK)
    (made.one / "README.md").write_text("staged\n")
    git(made.one, "add", "README.md")
    return made


def killed(pair: Pair, *words: str, when: str) -> None:
    """Run git, which kills itself as soon as it is about to move a ref."""
    hooks = pair.one.parent / "hooks"
    hooks.mkdir()
    script = (
        f'#!/bin/sh\n[ "$1" = prepared ] || exit 0\nread old new ref\ncase "$ref" in {when}) kill -9 $PPID;; esac\n'
    )
    (hooks / "reference-transaction").write_text(script)
    (hooks / "reference-transaction").chmod(0o755)
    git(pair.one, "-c", f"core.hooksPath={hooks}", *words, check=False)


def all_back(pair: Pair) -> bool:
    found = status(pair.one)
    texts = [(pair.one / name).read_text() for name in ("text", "README.md")]
    # git's own bringing back forgets what of it was staged
    return (found.in_progress, found.staged + found.unstaged, texts) == (None, 2, [WORK, "staged\n"])


def test_a_rebase_killed_before_it_began(pair: Pair) -> None:
    place = pair.one / ".git/rebase-merge"
    place.mkdir()
    (place / "autostash").write_text(git(pair.one, "stash", "create") + "\n")
    git(pair.one, "reset", "-q", "--hard")
    assert status(pair.one).in_progress == "rebase"

    done = verbs.feature(pair.one, "x")

    assert "an interrupted rebase had put aside is back" in done.message
    assert all_back(pair)
    assert git(pair.one, "stash", "list") == ""
    pair.check()


def test_a_merge_that_goes_forward_killed_before_it_moved_the_branch(pair: Pair) -> None:
    killed(pair, "merge", "-q", "--autostash", "origin/main", when="HEAD|refs/heads/*")
    assert (pair.one / ".git/MERGE_AUTOSTASH").exists(), "it was not killed where it should be"
    assert (pair.one / "text").read_text() == TEXT

    done = verbs.feature(pair.one, "x", base="HEAD")

    # the files of the merge lie there already, so that these do not go on top by themselves
    assert "interrupted merge had put aside is on the stash" in done.message
    assert not (pair.one / ".git/MERGE_AUTOSTASH").exists()
    assert git(pair.one, "show", "stash@{0}:text") + "\n" == WORK
    pair.check()


@pytest.mark.parametrize("verb", ["abort", "continue"])
def test_a_merge_killed_before_it_moved_the_branch(pair: Pair, verb: str) -> None:
    git(pair.one, "commit", "-q", "--allow-empty", "-m", "mine", "--only")
    tip = git(pair.one, "rev-parse", "HEAD")
    killed(pair, "merge", "-q", "--no-edit", "--autostash", "origin/main", when="HEAD|refs/heads/*")
    assert (pair.one / ".git/MERGE_AUTOSTASH").exists(), "it was not killed where it should be"
    if verb == "abort":
        assert verbs.abort(pair.one, pair.keep(pair.one)).after == tip
    else:
        verbs.proceed(pair.one, author=AUTHOR)
        assert git(pair.one, "rev-parse", "HEAD^1") == tip
    assert all_back(pair)
    pair.check()


def test_what_does_not_fit_stays_on_the_stash(pair: Pair) -> None:
    aside = git(pair.one, "stash", "create")
    git(pair.one, "reset", "-q", "--hard")
    (pair.one / ".git/MERGE_AUTOSTASH").write_text(f"{aside}\n")
    (pair.one / "text").write_text("somebody went on\n")

    done = verbs.integrate(pair.one, pair.keep(pair.one), author=AUTHOR, verb="sync")

    assert "on the stash" in done.message
    assert (pair.one / "text").read_text() == "somebody went on\n"
    assert git(pair.one, "show", "stash@{0}:text") + "\n" == WORK


def test_a_rebase_killed_in_the_middle_waits_for_a_decision(pair: Pair) -> None:
    git(pair.one, "commit", "-q", "--allow-empty", "-m", "mine", "--only")
    tip = git(pair.one, "rev-parse", "HEAD")
    killed(pair, "rebase", "-q", "--autostash", "origin/main", when="refs/heads/env/*")
    assert status(pair.one).in_progress == "rebase"

    done = verbs.abort(pair.one, pair.keep(pair.one))

    assert done.after == tip
    assert status(pair.one).branch == "env/dev1"
    assert (pair.one / "text").read_text() == WORK
    aside = next(each for each in list_snapshots(pair.hub) if each.reason.startswith("put aside"))
    assert git(pair.hub, "show", f"{aside.commit}:text") + "\n" == WORK
    pair.check()


def test_files_with_changes_are_not_touched_by_a_merge_that_does_not_need_them(pair: Pair) -> None:
    git(pair.one, "reset", "-q")
    before = (pair.one / "text").stat()
    verbs.integrate(pair.one, pair.keep(pair.one), author=AUTHOR, verb="sync")
    after = (pair.one / "text").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert (pair.one / "theirs").exists()


def test_a_merge_under_way_keeps_what_it_put_aside(pair: Pair) -> None:
    git(pair.one, "commit", "-q", "-m", "mine")  # README.md
    commit(pair.source, {"README.md": "theirs\n"})
    pair.fetch(pair.one)
    git(pair.one, "merge", "-q", "--autostash", "origin/main", check=False)
    assert (pair.one / "text").read_text() == TEXT
    (pair.one / "README.md").write_text("both\n")
    verbs.proceed(pair.one, author=AUTHOR)
    assert (pair.one / "text").read_text() == WORK
    assert git(pair.one, "show", "HEAD:README.md") == "both"
