"""Repositories as careless and clever people leave them: odd names, odd settings, what only looks like ours."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from common.errors import Conflict, InvalidInput, NotFound, Unavailable
from environments.drivers import history, verbs
from environments.drivers.commit_diff import commit_diff
from environments.drivers.git import checkout
from environments.drivers.snapshots import list_snapshots
from environments.drivers.status import status
from environments.drivers.verbs import Conflicted
from environments.drivers.work import find_work
from tests.environments.drivers.checkouts import AUTHOR, TEXT, Pair
from tests.environments.drivers.repositories import commit, git

MINE, THEIRS = TEXT.replace("line 7\n", "mine\n"), TEXT.replace("line 7\n", "theirs\n")


@pytest.fixture
def pair(repository: Path, tmp_path: Path) -> Pair:
    commit(repository, {"text": TEXT})
    return Pair(repository, tmp_path)


# -- names


def test_a_branch_here_that_is_called_like_one_of_the_hub(pair: Pair) -> None:
    git(pair.two, "checkout", "-q", "--detach")
    commit(pair.two, {"pushed": "by somebody\n"})
    git(pair.two, "push", "-q", "origin", "HEAD:refs/heads/env/dev1")
    git(pair.one, "branch", "origin/env/dev1")
    pair.fetch(pair.one)
    commit(pair.source, {"new": "new\n"})
    pair.fetch(pair.one)
    assert verbs.pull(pair.one, pair.keep(pair.one), author=AUTHOR).changed
    assert (pair.one / "pushed").exists()


def test_a_branch_that_is_another_name_of_one(pair: Pair) -> None:
    git(pair.one, "symbolic-ref", "refs/heads/alias", "refs/heads/env/dev1")
    assert verbs.clean_branches(pair.one, pair.hub, spare=()).files == ("alias",)
    assert status(pair.one).branch == "env/dev1"
    assert git(pair.one, "rev-parse", "--verify", "env/dev1")
    assert git(pair.one, "for-each-ref", "--format=%(refname:short)", "refs/heads") == "env/dev1"


@pytest.mark.parametrize("name", ["topic~0", "topic^{tree}", "topic@{0}", "", "-D", "../heads/topic"])
def test_what_is_no_name_of_a_branch(pair: Pair, name: str) -> None:
    git(pair.one, "branch", "topic")
    with pytest.raises(NotFound):
        verbs.delete_branch(pair.one, name, pair.keep_branch(pair.one, name))
    assert list_snapshots(pair.hub) == []


def test_what_is_no_name_of_a_commit(pair: Pair) -> None:
    for ask in (
        lambda: verbs.reset(pair.one, pair.keep(pair.one), to="^HEAD", mode="hard"),
        lambda: history.log(pair.one, since="^HEAD"),
        lambda: history.diff(pair.one, against="^HEAD"),
    ):
        with pytest.raises(InvalidInput):
            ask()
    with pytest.raises(NotFound):
        commit_diff(checkout(pair.one), "^HEAD")
    assert list_snapshots(pair.hub) == []


def test_a_branch_before_its_first_commit(pair: Pair) -> None:
    git(pair.one, "checkout", "-q", "--orphan", "anew")
    before = git(pair.one, "status", "--porcelain", "--branch")
    for verb in (
        lambda: verbs.integrate(pair.one, pair.keep(pair.one), author=AUTHOR, verb="sync"),
        lambda: verbs.integrate(pair.one, pair.keep(pair.one), author=AUTHOR, rebase=True, verb="rebase"),
    ):
        with pytest.raises(Conflict, match="no commit yet"):
            verb()
    assert git(pair.one, "status", "--porcelain", "--branch") == before


def test_names_that_unicode_would_break(pair: Pair) -> None:
    commit(pair.one, {"a": "a\n"})
    git(pair.one, "branch", "a\u2028b\x85c")
    git(pair.one, "branch", "d\u2028e", "origin/main")
    assert find_work(pair.one, pair.hub).unpushed == {"heads/a\u2028b\x85c": 1, "heads/env/dev1": 1}
    assert verbs.clean_branches(pair.one, pair.hub, spare=()).files == ("d\u2028e",)


def test_a_branch_that_is_being_rebased_stays(pair: Pair, tmp_path: Path) -> None:
    git(pair.one, "branch", "side")
    git(pair.one, "worktree", "add", "-q", tmp_path / "beside", "side")
    commit(pair.one, {"text": MINE})
    commit(tmp_path / "beside", {"text": THEIRS})
    git(tmp_path / "beside", "rebase", "env/dev1", check=False)
    git(pair.one, "checkout", "-q", "-b", "own", "origin/main")
    commit(pair.one, {"text": THEIRS})
    git(pair.one, "rebase", "env/dev1", check=False)
    for branch in ("side", "own"):
        with pytest.raises(Conflict):
            verbs.delete_branch(pair.one, branch, pair.keep_branch(pair.one, branch))


# -- what only looks like ours


def test_nothing_is_pushed_to_another_repository(pair: Pair, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.git"
    git(tmp_path, "init", "-q", "--bare", elsewhere)
    commit(pair.one, {"a": "a\n"})
    git(pair.one, "remote", "set-url", "--push", "origin", elsewhere)
    with pytest.raises(Conflict, match="not the project's hub"):
        verbs.push(pair.one, protected=("main",), hub=pair.hub)
    assert git(elsewhere, "for-each-ref") == ""
    git(pair.one, "remote", "set-url", "--push", "origin", pair.hub)
    assert verbs.push(pair.one, protected=("main",), hub=pair.hub).changed


def test_what_is_no_snapshot_hides_none(pair: Pair) -> None:
    (pair.one / "text").write_text("changed\n")
    name = pair.keep(pair.one)("before something")
    odd = git(pair.one, "commit-tree", "HEAD^{tree}", "-m", "x\n\nFiles: many\n")
    for number, what in enumerate((odd, git(pair.one, "rev-parse", "HEAD:text"))):
        git(pair.one, "push", "-q", "origin", f"{what}:refs/snapshots/demo-dev1/2099010{number}T000000Z")
    assert [each.name for each in list_snapshots(pair.hub)] == [name]


def test_a_place_where_nothing_can_be_written(pair: Pair) -> None:
    (pair.one / ".git/gaia.lock").unlink(missing_ok=True)
    (pair.one / ".git/gaia.lock").mkdir()
    with pytest.raises(Unavailable, match="cannot be written"):
        verbs.commit(pair.one, "x", author=AUTHOR)


# -- somebody works at the same time


def test_files_that_vanish_while_a_snapshot_is_taken(pair: Pair) -> None:
    over = threading.Event()

    def build() -> None:
        number = 0
        while not over.is_set():
            (pair.one / f"temporary{number % 7}").write_text(str(number))
            (pair.one / f"temporary{(number + 3) % 7}").unlink(missing_ok=True)
            (pair.one / "text").unlink(missing_ok=True)
            (pair.one / "text").write_text(str(number))
            number += 1

    thread = threading.Thread(target=build)
    thread.start()
    try:
        for _ in range(8):
            assert pair.keep(pair.one)("before something")
    finally:
        over.set()
        thread.join()


def test_an_ignored_file_in_the_way_of_giving_up(pair: Pair) -> None:
    commit(pair.source, {"conf.env": "of everybody\n"})
    pair.fetch(pair.one)
    verbs.integrate(pair.one, pair.keep(pair.one), author=AUTHOR, verb="sync")
    commit(pair.one, {"text": MINE})
    git(pair.source, "rm", "-q", "conf.env")
    commit(pair.source, {".gitignore": "conf.env\n", "text": THEIRS})
    pair.fetch(pair.one)
    for rebase in (True, False):
        with pytest.raises(Conflicted):
            verbs.integrate(pair.one, pair.keep(pair.one), author=AUTHOR, rebase=rebase, verb="sync")
        (pair.one / "conf.env").write_text("my own\n")
        with pytest.raises(Conflict, match=r"conf\.env"):
            verbs.abort(pair.one, pair.keep(pair.one))
        assert (pair.one / "conf.env").read_text() == "my own\n"
        (pair.one / "conf.env").unlink()
        assert verbs.abort(pair.one, pair.keep(pair.one)).changed
        assert (pair.one / "conf.env").read_text() == "of everybody\n"


def test_a_pipe_in_the_place_of_a_file_in_conflict(pair: Pair) -> None:
    commit(pair.one, {"text": MINE})
    commit(pair.source, {"text": THEIRS})
    pair.fetch(pair.one)
    with pytest.raises(Conflicted):
        verbs.integrate(pair.one, pair.keep(pair.one), author=AUTHOR, verb="sync")
    (pair.one / "text").unlink()
    os.mkfifo(pair.one / "text")
    with pytest.raises(Unavailable):  # git takes no pipes
        verbs.proceed(pair.one, author=AUTHOR)


def test_a_hook_that_leaves_something_running(pair: Pair, tmp_path: Path) -> None:
    hook = pair.one / ".git/hooks/post-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\nmkfifo {tmp_path}/end\ncat {tmp_path}/end &\n")
    hook.chmod(0o755)
    (pair.one / "text").write_text("changed\n")
    done = verbs.commit(pair.one, "Say it", author=AUTHOR)
    assert done.after == git(pair.one, "rev-parse", "HEAD")
    # it is still there; what it waits for lets it end
    os.close(os.open(tmp_path / "end", os.O_WRONLY | os.O_NONBLOCK))


# -- settings of people


@pytest.mark.parametrize("rebase", [False, True])
def test_settings_that_would_stop_it(pair: Pair, rebase: bool) -> None:
    for key, value in (("merge.ff", "only"), ("commit.gpgSign", "true"), ("gpg.program", "false")):
        git(pair.one, "config", key, value)
    git(pair.one, "commit", "-q", "--no-gpg-sign", "--allow-empty", "-m", "mine")
    (pair.one / "text").write_text(MINE)
    verbs.commit(pair.one, "Mine", author=AUTHOR)
    commit(pair.source, {"new": "new\n"})
    pair.fetch(pair.one)
    assert verbs.integrate(pair.one, pair.keep(pair.one), author=AUTHOR, rebase=rebase, verb="sync").changed
    commit(pair.source, {"text": THEIRS})
    pair.fetch(pair.one)
    with pytest.raises(Conflicted):
        verbs.integrate(pair.one, pair.keep(pair.one), author=AUTHOR, rebase=rebase, verb="sync")
    (pair.one / "text").write_text("both\n")
    assert verbs.proceed(pair.one, author=AUTHOR).changed


def test_a_message_is_taken_as_it_is(pair: Pair) -> None:
    (pair.one / "text").write_text("changed\n")
    verbs.commit(pair.one, "#12 mended\n\n# How\nSo", author=AUTHOR)
    assert git(pair.one, "log", "-1", "--format=%B") == "#12 mended\n\n# How\nSo"


# -- looking


def test_names_of_files_that_git_quotes(pair: Pair) -> None:
    git(pair.one, "config", "core.quotePath", "false")
    names = ['q" x', 'ü"y', "back\\slash", 'z" "z']
    for name in names:
        (pair.one / name).write_text("1\n")
    (pair.one / 'q" empty').touch()
    git(pair.one, "add", "-A")
    assert sorted(file.path for file in history.diff(pair.one).files) == sorted([*names, 'q" empty'])


@pytest.mark.parametrize(
    "author", ["Ada <a@b> 99999999999999 +0000", "Ada <a@b> 1 +9999", "A\x1fda <a@b> 1 +0000", "Ada"]
)
def test_commits_by_odd_authors_at_odd_times(pair: Pair, author: str) -> None:
    raw = re.sub(r"(?m)^author .*", f"author {author}", git(pair.one, "cat-file", "commit", "HEAD"), count=1)
    made = subprocess.run(
        ["git", "-C", pair.one, "hash-object", "-t", "commit", "-w", "--stdin", "--literally"],
        input=f"{raw}\n", capture_output=True, text=True, check=True,
    )  # fmt: skip
    git(pair.one, "update-ref", "HEAD", made.stdout.strip())
    found = history.log(pair.one)
    assert found[0].id == made.stdout.strip()
    assert found[0].at <= datetime.now(UTC)
