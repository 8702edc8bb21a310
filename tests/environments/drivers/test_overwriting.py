"""Files that no snapshot holds are never replaced: what git ignores, and repositories inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import Conflict
from environments.drivers import verbs
from environments.drivers.snapshots import list_snapshots
from tests.environments.drivers.checkouts import AUTHOR, TEXT, Pair
from tests.environments.drivers.repositories import commit, git

SECRET = "nobody else has it\n"
Verb = Callable[[Pair], object]


@pytest.fixture
def pair(repository: Path, tmp_path: Path) -> Pair:
    commit(repository, {"text": TEXT, ".gitignore": "*.env\nbuild\n"})
    return Pair(repository, tmp_path)


def sync(pair: Pair) -> object:
    return verbs.integrate(pair.one, pair.keep(pair.one), author=AUTHOR, verb="sync")


def rebase(pair: Pair) -> object:
    return verbs.integrate(pair.one, pair.keep(pair.one), author=AUTHOR, rebase=True, verb="rebase")


def reset(pair: Pair) -> object:
    return verbs.reset(pair.one, pair.keep(pair.one), to="origin/main", mode="hard")


def feature(pair: Pair) -> object:
    return verbs.feature(pair.one, "x")


def refused(pair: Pair, verb: Verb, name: str) -> None:
    """The verb says which file is in the way, and has done nothing."""
    before = git(pair.one, "log", "-1", "--format=%H"), git(pair.one, "status", "--porcelain")
    with pytest.raises(Conflict) as caught:
        verb(pair)
    assert name in f"{caught.value.what} {caught.value.meaning}"
    assert (git(pair.one, "log", "-1", "--format=%H"), git(pair.one, "status", "--porcelain")) == before
    assert list_snapshots(pair.hub) == []


@pytest.mark.parametrize("verb", [sync, rebase, reset, feature])
def test_an_ignored_file_that_a_commit_brings(pair: Pair, verb: Verb) -> None:
    commit(pair.one, {"mine": "mine\n"})
    (pair.one / "local.env").write_text(SECRET)
    commit(pair.source, {"local.env": "theirs\n"})
    pair.fetch(pair.one)
    refused(pair, verb, "local.env")
    assert (pair.one / "local.env").read_text() == SECRET
    (pair.one / "local.env").rename(pair.one / "kept.env")
    verb(pair)
    assert (pair.one / "local.env").read_text() == "theirs\n"


@pytest.mark.parametrize("verb", [sync, rebase, reset, feature])
def test_an_ignored_directory_where_a_commit_has_a_file(pair: Pair, verb: Verb) -> None:
    (pair.one / "build/deep").mkdir(parents=True)
    (pair.one / "build/deep/result").write_text(SECRET)
    commit(pair.source, {"build": "a file\n"})
    pair.fetch(pair.one)
    refused(pair, verb, "build")
    assert (pair.one / "build/deep/result").read_text() == SECRET


@pytest.mark.parametrize("verb", [sync, rebase, reset])
def test_a_file_that_was_taken_from_git_and_is_ignored_since(pair: Pair, verb: Verb) -> None:
    commit(pair.one, {"app.env": "in a commit\n"})
    git(pair.one, "push", "-q", "origin", "HEAD:main")
    git(pair.one, "rm", "-q", "--cached", "app.env")
    (pair.one / "app.env").write_text(SECRET)
    commit(pair.source, {"theirs": "theirs\n"})
    git(pair.source, "pull", "-q", "--no-rebase", "--no-edit", str(pair.hub), "main")
    pair.fetch(pair.one)
    refused(pair, verb, "app.env")
    assert (pair.one / "app.env").read_text() == SECRET


def test_a_merge_may_go_on_where_it_writes_nothing(pair: Pair) -> None:
    commit(pair.source, {"app.env": "in a commit\n"})
    pair.fetch(pair.one)
    sync(pair)
    git(pair.one, "rm", "-q", "--cached", "app.env")
    git(pair.one, "commit", "-q", "-m", "not tracked any more")
    (pair.one / "app.env").write_text(SECRET)
    commit(pair.source, {"theirs": "theirs\n"})
    pair.fetch(pair.one)
    sync(pair)
    assert (pair.one / "theirs").exists()
    assert (pair.one / "app.env").read_text() == SECRET
    commit(pair.source, {"more": "more\n"})
    pair.fetch(pair.one)
    refused(pair, rebase, "app.env")


def test_restoring_overwrites_nothing_ignored(pair: Pair) -> None:
    (pair.one / ".gitignore").write_text("")
    (pair.one / "local.env").write_text("of the snapshot\n")
    done = verbs.reset(pair.one, pair.keep(pair.one), mode="hard")
    (pair.one / "local.env").write_text(SECRET)
    with pytest.raises(Conflict, match=r"local\.env"):
        pair.restore(pair.one, done.snapshot)
    assert (pair.one / "local.env").read_text() == SECRET
    assert (pair.one / ".gitignore").read_text() == "*.env\nbuild\n"


def submodule(pair: Pair, tmp_path: Path) -> Path:
    """A submodule of the checkout with work of its own, and its remote."""
    inner = tmp_path / "inner"
    inner.mkdir()
    git(inner, "init", "-q", "-b", "main")
    commit(inner, {"x": "x\n"})
    git(pair.one, "submodule", "add", "-q", str(inner), "sub")
    verbs.commit(pair.one, "a submodule", author=AUTHOR)
    (pair.one / "sub/z").write_text(SECRET)
    return pair.one / "sub"


@pytest.mark.parametrize("verb", [reset, sync, rebase])
def test_a_submodule_where_a_commit_has_a_file(pair: Pair, tmp_path: Path, verb: Verb) -> None:
    sub = submodule(pair, tmp_path)
    git(pair.one, "push", "-q", "origin", "HEAD:refs/heads/old")
    git(pair.source, "fetch", "-q", str(pair.hub), "old")
    git(pair.source, "merge", "-q", "FETCH_HEAD")
    git(pair.source, "rm", "-q", "-r", "--cached", "sub")
    git(pair.source, "config", "-f", ".gitmodules", "--remove-section", "submodule.sub")
    (pair.source / "sub").rmdir()
    commit(pair.source, {"sub": "a file now\n"})
    pair.fetch(pair.one)
    refused(pair, verb, "sub")
    assert (sub / "z").read_text() == SECRET


@pytest.mark.parametrize("verb", [reset, sync, feature])
def test_a_repository_inside_where_a_commit_has_files(pair: Pair, verb: Verb) -> None:
    inner = pair.one / "vendor/lib"
    inner.mkdir(parents=True)
    git(inner, "init", "-q", "-b", "main")
    commit(inner, {"x": SECRET})
    commit(pair.source, {"vendor": "a file\n"})
    pair.fetch(pair.one)
    with pytest.raises(Conflict, match=r"vendor|in the way"):
        verb(pair)
    assert git(inner, "show", "HEAD:x") + "\n" == SECRET
    assert (inner / "x").read_text() == SECRET


def test_a_commit_leaves_repositories_inside_out(pair: Pair) -> None:
    inner = pair.one / "nested [1]"
    inner.mkdir()
    git(inner, "init", "-q", "-b", "main")
    commit(inner, {"x": SECRET})
    (pair.one / "new").write_text("new\n")
    assert verbs.commit(pair.one, "only the file", author=AUTHOR).files == ("new",)
    assert git(pair.one, "ls-files", "-s").count("160000") == 0
    assert not verbs.commit(pair.one, "nothing", author=AUTHOR).changed
    assert (inner / "x").read_text() == SECRET
