"""Each verb on real checkouts: what it does, what it refuses, and that nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import Conflict, InvalidInput, NotFound
from environments.drivers import verbs
from environments.drivers.git import GitError
from environments.drivers.snapshots import list_snapshots
from environments.drivers.status import status
from tests.environments.drivers.checkouts import AUTHOR, TEXT, Pair
from tests.environments.drivers.repositories import commit, git
from tests.environments.drivers.test_salvage import picture
from tests.environments.work import files_of, work_in

PROTECTED = ("main", "qa", "prod")


@pytest.fixture
def pair(repository: Path, tmp_path: Path) -> Pair:
    commit(repository, {"text": TEXT})
    return Pair(repository, tmp_path)


# -- commit


def test_commit_takes_all_that_changed(pair: Pair) -> None:
    (pair.one / "text").write_text("changed\n")
    (pair.one / "new file").write_text("new\n")
    (pair.one / "README.md").unlink()
    done = verbs.commit(pair.one, "  Say it\n\nat length\n", author=AUTHOR)
    assert (done.changed, done.files) == (True, ("README.md", "new file", "text"))
    assert status(pair.one).dirty == 0
    assert git(pair.one, "log", "-1", "--format=%an %s") == "Ada Say it"
    assert not verbs.commit(pair.one, "again", author=AUTHOR).changed


def test_commit_of_what_is_staged(pair: Pair) -> None:
    (pair.one / "text").write_text("changed\n")
    git(pair.one, "add", "text")
    (pair.one / "README.md").write_text("later\n")
    assert verbs.commit(pair.one, "first", author=AUTHOR, only_staged=True).files == ("text",)
    assert status(pair.one).unstaged == 1


def test_a_commit_by_somebody_git_does_not_know(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    (pair.one / "text").write_text("changed\n")
    verbs.commit(pair.one, "by the operator", author=AUTHOR)
    assert git(pair.one, "log", "-1", "--format=%an <%ae>") == "Operator <operator@localhost>"


def test_a_commit_needs_a_message_and_the_consent_of_hooks(pair: Pair) -> None:
    (pair.one / "text").write_text("changed\n")
    with pytest.raises(InvalidInput):
        verbs.commit(pair.one, " \n", author=AUTHOR)
    hook = pair.one / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'the linter says no' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(GitError) as caught:
        verbs.commit(pair.one, "no", author=AUTHOR)
    assert "the linter says no" in caught.value.meaning
    assert (pair.one / "text").read_text() == "changed\n"


# -- branches


def test_feature_starts_from_the_default_branch_and_takes_changes_along(pair: Pair) -> None:
    commit(pair.one, {"mine": "mine\n"})
    (pair.one / "README.md").write_text("changed\n")
    done = verbs.feature(pair.one, "caching")
    assert (done.branch, status(pair.one).branch) == ("feature/caching", "feature/caching")
    assert git(pair.one, "rev-parse", "HEAD") == git(pair.one, "rev-parse", "origin/main")
    assert (pair.one / "README.md").read_text() == "changed\n"
    assert not verbs.feature(pair.one, "caching").changed
    verbs.feature(pair.one, "env/dev1")
    assert (pair.one / "mine").exists()


def test_feature_refuses(pair: Pair) -> None:
    for name in ("two words", "-x/y", "a..b", ""):
        with pytest.raises(InvalidInput):
            verbs.feature(pair.one, name)
    with pytest.raises(InvalidInput):
        verbs.feature(pair.one, "x", base="no-such")
    commit(pair.one, {"text": "mine\n"})
    (pair.one / "text").write_text("and more\n")
    before = files_of(pair.one)
    with pytest.raises(Conflict) as caught:
        verbs.feature(pair.one, "y")
    assert "stash -u" in caught.value.fix
    assert files_of(pair.one) == before


def test_a_deleted_branch_comes_back(pair: Pair) -> None:
    verbs.feature(pair.one, "gone")
    tip = commit(pair.one, {"mine": "mine\n"})
    with pytest.raises(Conflict):
        verbs.delete_branch(pair.one, "feature/gone", pair.keep_branch(pair.one, "feature/gone"))
    verbs.feature(pair.one, "env/dev1")
    done = verbs.delete_branch(pair.one, "feature/gone", pair.keep_branch(pair.one, "feature/gone"))
    assert git(pair.one, "branch", "--list", "feature/gone") == ""
    pair.restore(pair.one, done.snapshot)
    assert (git(pair.one, "rev-parse", "HEAD"), status(pair.one).branch) == (tip, "feature/gone")
    with pytest.raises(NotFound):
        verbs.delete_branch(pair.one, "nothing", pair.keep_branch(pair.one, "nothing"))
    pair.check()


def test_merged_branches_go_and_nothing_else(pair: Pair, tmp_path: Path) -> None:
    merged = {"feature/done": "done\n", "feature/elsewhere": "x\n", "qa": "qa\n", "env/dev7": "of another\n"}
    for name, text in merged.items():
        git(pair.one, "checkout", "-q", "-B", name, "origin/main")
        commit(pair.one, {name.replace("/", "-"): text})
        git(pair.one, "push", "-q", "origin", f"{name}:refs/heads/offered")
        git(pair.source, "fetch", "-q", str(pair.hub), "offered")
        git(pair.source, "merge", "-q", "--no-edit", "FETCH_HEAD")
        pair.fetch(pair.one)
        git(pair.hub, "update-ref", "-d", "refs/heads/offered")
    verbs.feature(pair.one, "mine")
    commit(pair.one, {"mine": "mine\n"})
    git(pair.one, "checkout", "-q", "env/dev1")
    git(pair.one, "worktree", "add", "-q", str(tmp_path / "beside"), "feature/elsewhere")
    # merged into what the checkout takes for the hub's branch, and not into the hub's
    git(pair.one, "branch", "feature/only-here", "feature/mine")
    git(pair.one, "update-ref", "refs/remotes/origin/main", "feature/mine")

    done = verbs.clean_branches(pair.one, pair.hub, spare=PROTECTED)

    assert done.files == ("feature/done",)
    left = git(pair.one, "for-each-ref", "--format=%(refname:short)", "refs/heads").splitlines()
    assert set(left) == {"env/dev1", "env/dev7", "feature/elsewhere", "feature/mine", "feature/only-here", "qa"}
    assert not verbs.clean_branches(pair.one, pair.hub, spare=PROTECTED).changed


# -- bringing changes in


@pytest.mark.parametrize("rebase", [False, True])
def test_sync_brings_in_what_is_new_and_keeps_what_is_not_committed(pair: Pair, rebase: bool) -> None:
    mine = commit(pair.one, {"mine": "mine\n"})
    (pair.one / "README.md").write_text("not committed\n")
    (pair.one / "untracked").write_text("nobody knows it\n")
    theirs = commit(pair.source, {"theirs": "theirs\n"})
    pair.fetch(pair.one)
    done = verbs.integrate(pair.one, pair.keep(pair.one), author=AUTHOR, rebase=rebase, verb="sync")
    assert done.changed
    assert done.snapshot
    assert git(pair.one, "merge-base", "HEAD", theirs) == theirs
    assert (git(pair.one, "merge-base", "HEAD", mine) == mine) is not rebase
    assert (pair.one / "mine").read_text() == "mine\n"
    assert (pair.one / "README.md").read_text() == "not committed\n"
    assert (pair.one / "untracked").exists()
    assert not verbs.integrate(pair.one, pair.keep(pair.one), author=AUTHOR, rebase=rebase, verb="sync").changed
    pair.check()


@pytest.mark.parametrize("rebase", [False, True])
def test_conflicts_are_told_and_wait(pair: Pair, rebase: bool) -> None:
    mine = commit(pair.one, {"text": TEXT.replace("line 5\n", "line five of mine\n")})
    before = files_of(pair.one)
    commit(pair.source, {"text": TEXT.replace("line 5\n", "line five of theirs\n")})
    pair.fetch(pair.one)
    act = lambda: verbs.integrate(pair.one, pair.keep(pair.one), author=AUTHOR, rebase=rebase, verb="sync")  # noqa: E731
    with pytest.raises(verbs.Conflicted) as caught:
        act()
    under_way = "rebase" if rebase else "merge"
    assert caught.value.detail["files"] == ["text"]
    assert caught.value.detail["in_progress"] == under_way
    assert "git continue" in caught.value.fix
    assert "git abort" in caught.value.fix

    # nothing goes on before somebody decided
    for verb in (
        act,
        lambda: verbs.commit(pair.one, "x", author=AUTHOR),
        lambda: verbs.proceed(pair.one, author=AUTHOR),
        lambda: verbs.feature(pair.one, "x"),
    ):
        with pytest.raises(Conflict):
            verb()

    verbs.abort(pair.one, pair.keep(pair.one))
    assert files_of(pair.one) == before
    with pytest.raises(verbs.Conflicted):
        act()
    (pair.one / "text").write_text(TEXT.replace("line 5\n", "line five of both\n"))
    done = verbs.proceed(pair.one, author=AUTHOR)
    assert done.changed
    assert status(pair.one).in_progress is None
    assert "line five of both" in git(pair.one, "show", "HEAD:text")
    assert git(pair.one, "merge-base", "HEAD", "origin/main") == git(pair.one, "rev-parse", "origin/main")
    assert mine in git(pair.one, "reflog", "--format=%H")
    pair.check()


@pytest.mark.parametrize("rebase", [False, True])
def test_conflicts_in_a_pull(pair: Pair, rebase: bool) -> None:
    verbs.push(pair.one, protected=PROTECTED)
    git(pair.two, "fetch", "-q", "origin")
    git(pair.two, "checkout", "-q", "--no-track", "-b", "theirs", "origin/env/dev1")
    theirs = commit(pair.two, {"two words": "theirs\n"})
    git(pair.two, "push", "-q", "origin", "HEAD:env/dev1")
    mine = commit(pair.one, {"two words": "mine\n"})
    (pair.one / "README.md").write_text("not committed\n")
    git(pair.one, "fetch", "-q", "origin")
    with pytest.raises(verbs.Conflicted) as caught:
        verbs.pull(pair.one, pair.keep(pair.one), author=AUTHOR, rebase=rebase)
    assert caught.value.detail["files"] == ["two words"]
    assert caught.value.detail["snapshot"]
    verbs.abort(pair.one, pair.keep(pair.one))
    assert git(pair.one, "rev-parse", "HEAD") == mine
    assert (pair.one / "README.md").read_text() == "not committed\n"
    with pytest.raises(verbs.Conflicted):
        verbs.pull(pair.one, pair.keep(pair.one), author=AUTHOR, rebase=rebase)
    (pair.one / "two words").write_text("both\n")
    verbs.proceed(pair.one, author=AUTHOR)
    assert git(pair.one, "merge-base", "HEAD", theirs) == theirs
    assert (pair.one / "README.md").read_text() == "not committed\n"
    verbs.push(pair.one, protected=PROTECTED)
    pair.check()


@pytest.mark.parametrize("decided", ["edited", "added", "removed"])
def test_what_has_no_markers_has_to_be_decided(pair: Pair, decided: str) -> None:
    commit(pair.source, {"binary": "\0base", "gone": TEXT, "changed": TEXT})
    pair.fetch(pair.one)
    verbs.integrate(pair.one, pair.keep(pair.one), author=AUTHOR, verb="sync")
    (pair.one / "gone").unlink()
    git(pair.one, "add", "-A")
    commit(pair.one, {"binary": "\0mine"})
    (pair.source / "changed").unlink()
    commit(pair.one, {"changed": TEXT + "mine\n"})
    git(pair.source, "add", "-A")
    commit(pair.source, {"binary": "\0theirs", "gone": TEXT + "theirs\n"})
    pair.fetch(pair.one)
    with pytest.raises(verbs.Conflicted) as caught:
        verbs.integrate(pair.one, pair.keep(pair.one), author=AUTHOR, verb="sync")
    names = ["binary", "changed", "gone"]
    assert caught.value.detail["files"] == names
    with pytest.raises(verbs.Conflicted) as caught:
        verbs.proceed(pair.one, author=AUTHOR)
    assert caught.value.detail["files"] == names
    assert "git rm" in caught.value.fix
    for name in names:
        if decided == "edited":
            (pair.one / name).write_text("\0both")
        else:
            git(pair.one, *(("add",) if decided == "added" else ("rm", "-q", "-f")), name)
    verbs.proceed(pair.one, author=AUTHOR)
    assert status(pair.one).in_progress is None
    assert git(pair.one, "ls-tree", "--name-only", "HEAD", *names).splitlines() == (
        [] if decided == "removed" else names
    )


def test_half_resolved_conflicts_are_in_the_snapshot_of_abort(pair: Pair) -> None:
    commit(pair.one, {"text": TEXT.replace("line 5\n", "mine\n")})
    commit(pair.source, {"text": TEXT.replace("line 5\n", "theirs\n")})
    pair.fetch(pair.one)
    with pytest.raises(verbs.Conflicted):
        verbs.integrate(pair.one, pair.keep(pair.one), author=AUTHOR, verb="sync")
    (pair.one / "text").write_text("an hour's work\n")
    done = verbs.abort(pair.one, pair.keep(pair.one))
    assert git(pair.hub, "show", f"refs/snapshots/{done.snapshot}:text") == "an hour's work"


@pytest.mark.parametrize("rebase", [False, True])
def test_uncommitted_changes_that_do_not_fit(pair: Pair, rebase: bool) -> None:
    (pair.one / "text").write_text(TEXT.replace("line 5\n", "mine\n"))
    commit(pair.source, {"text": TEXT.replace("line 5\n", "theirs\n")})
    commit(pair.one, {"other": "x\n"})
    pair.fetch(pair.one)
    with pytest.raises(verbs.Conflicted) as caught:
        verbs.integrate(pair.one, pair.keep(pair.one), author=AUTHOR, rebase=rebase, verb="sync")
    assert caught.value.detail["files"] == ["text"]
    pair.restore(pair.one, caught.value.detail["snapshot"])
    assert "mine\n" in (pair.one / "text").read_text()
    assert git(pair.one, "log", "-1", "--format=%s") == "work"
    pair.check()


@pytest.mark.parametrize("rebase", [False, True])
def test_untracked_files_in_the_way(pair: Pair, rebase: bool) -> None:
    (pair.one / "theirs").write_text("mine, untracked\n")
    (pair.one / "text").write_text("changed\n")
    commit(pair.source, {"theirs": "theirs\n"})
    pair.fetch(pair.one)
    before = files_of(pair.one)
    with pytest.raises(Conflict, match="untracked files are in the way") as caught:
        verbs.integrate(pair.one, pair.keep(pair.one), author=AUTHOR, rebase=rebase, verb="sync")
    assert "theirs" in caught.value.meaning
    assert files_of(pair.one) == before


def test_pull_and_push_between_two(pair: Pair) -> None:
    verbs.feature(pair.one, "shared")
    assert not verbs.pull(pair.one, pair.keep(pair.one), author=AUTHOR).changed
    first = commit(pair.one, {"a": "a\n"})
    assert verbs.push(pair.one, protected=PROTECTED).after == first
    assert not verbs.push(pair.one, protected=PROTECTED).changed
    pair.fetch(pair.two)
    git(pair.two, "fetch", "-q", "origin")
    verbs.feature(pair.two, "shared", base="origin/feature/shared")
    second = commit(pair.two, {"b": "b\n"})
    verbs.push(pair.two, protected=PROTECTED)
    commit(pair.one, {"c": "c\n"})
    with pytest.raises(Conflict) as caught:
        verbs.push(pair.one, protected=PROTECTED)
    assert "Pull first" in caught.value.fix
    git(pair.one, "fetch", "-q", "origin")
    verbs.pull(pair.one, pair.keep(pair.one), author=AUTHOR, rebase=True)
    verbs.push(pair.one, protected=PROTECTED)
    assert git(pair.hub, "merge-base", "feature/shared", second) == second
    pair.check()


def test_push_never_moves_a_protected_branch_and_forces_only_over_what_it_saw(pair: Pair) -> None:
    git(pair.one, "checkout", "-q", "-b", "qa")
    commit(pair.one, {"a": "a\n"})
    with pytest.raises(Conflict, match="protected"):
        verbs.push(pair.one, protected=PROTECTED)
    verbs.feature(pair.one, "own", base="HEAD")
    verbs.push(pair.one, protected=PROTECTED)
    git(pair.one, "commit", "-q", "--amend", "-m", "another word")
    with pytest.raises(Conflict):
        verbs.push(pair.one, protected=PROTECTED)
    git(pair.two, "fetch", "-q", "origin")
    verbs.feature(pair.two, "own", base="origin/feature/own")
    theirs = commit(pair.two, {"b": "b\n"})
    verbs.push(pair.two, protected=PROTECTED)
    with pytest.raises(Conflict):
        verbs.push(pair.one, protected=PROTECTED, force=True)
    assert git(pair.hub, "rev-parse", "feature/own") == theirs


# -- taking back


def test_reset_and_back(pair: Pair) -> None:
    work_in(pair.one)
    (pair.one / "-dash").write_text("x\n")
    before = picture(pair.one)
    head = git(pair.one, "rev-parse", "HEAD")
    done = verbs.reset(pair.one, pair.keep(pair.one), to="origin/main", mode="hard")
    assert (done.changed, status(pair.one).ahead) == (True, 0)
    assert (pair.one / "README.md").read_text() == "hello\n"
    pair.restore(pair.one, done.snapshot)
    assert git(pair.one, "rev-parse", "HEAD") == head
    assert picture(pair.one) == before
    pair.check()


def test_a_commit_made_while_the_snapshot_was_taken_is_kept(pair: Pair) -> None:
    def keep(reason: str) -> str:
        name = pair.keep(pair.one)(reason)
        commit(pair.one, {"late": "made by an agent meanwhile\n"})
        return name

    commit(pair.one, {"mine": "mine\n"})
    done = verbs.reset(pair.one, keep, to="origin/main", mode="hard")
    assert "meanwhile is on branch kept/" in done.message
    assert git(pair.one, "show", f"{done.message.rpartition(' ')[2]}:late") == "made by an agent meanwhile"


@pytest.mark.parametrize("mode", ["soft", "mixed"])
def test_gentle_resets_keep_the_files(pair: Pair, mode: str) -> None:
    commit(pair.one, {"text": "mine\n"})
    verbs.reset(pair.one, pair.keep(pair.one), to="HEAD~1", mode=mode)
    assert (pair.one / "text").read_text() == "mine\n"
    assert status(pair.one).staged == (mode == "soft")


def test_reset_refuses(pair: Pair) -> None:
    for options in ({"to": "no-such"}, {"to": "--hard"}, {"mode": "keep"}):
        with pytest.raises(InvalidInput):
            verbs.reset(pair.one, pair.keep(pair.one), **options)
    assert not verbs.reset(pair.one, pair.keep(pair.one), mode="hard").changed
    assert list_snapshots(pair.hub) == []


def test_clean_leaves_what_is_ignored_and_repositories_of_others(pair: Pair) -> None:
    (pair.one / ".gitignore").write_text("*.log\n")
    (pair.one / "a.log").write_text("kept\n")
    (pair.one / "deep/er").mkdir(parents=True)
    (pair.one / "deep/er/x").write_text("x\n")
    (pair.one / "nested").mkdir()
    git(pair.one / "nested", "init", "-q")
    done = verbs.clean(pair.one, pair.keep(pair.one))
    assert done.files == (".gitignore", "deep/er/x")
    assert (pair.one / "a.log").exists()
    assert (pair.one / "nested/.git").is_dir()
    assert not (pair.one / "deep").exists()
    pair.restore(pair.one, done.snapshot)
    assert (pair.one / "deep/er/x").read_text() == "x\n"
    assert not verbs.clean(pair.two, pair.keep(pair.two)).changed


# -- unusual places


def test_a_detached_head(pair: Pair) -> None:
    git(pair.one, "checkout", "-q", "--detach")
    tip = commit(pair.one, {"mine": "mine\n"})
    for verb in (
        lambda: verbs.pull(pair.one, pair.keep(pair.one), author=AUTHOR),
        lambda: verbs.push(pair.one, protected=PROTECTED),
        lambda: verbs.integrate(pair.one, pair.keep(pair.one), author=AUTHOR, verb="sync"),
    ):
        with pytest.raises(Conflict) as caught:
            verb()
        assert "feature" in caught.value.fix
    (pair.one / "text").write_text("changed\n")
    verbs.commit(pair.one, "goes on", author=AUTHOR)
    done = verbs.reset(pair.one, pair.keep(pair.one), to="origin/main", mode="hard")
    pair.restore(pair.one, done.snapshot)
    assert status(pair.one).detached
    assert git(pair.one, "rev-parse", "HEAD~1") == tip
    assert verbs.feature(pair.one, "kept", base="HEAD").branch == "feature/kept"


def test_a_submodule_keeps_its_work(pair: Pair, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    git(inner, "init", "-q", "-b", "main")
    commit(inner, {"x": "x\n"})
    git(pair.one, "submodule", "add", "-q", str(inner), "sub")
    verbs.commit(pair.one, "a submodule", author=AUTHOR)
    commit(pair.one / "sub", {"y": "only here\n"})
    (pair.one / "sub/z").write_text("untracked in it\n")
    (pair.one / "sub/x").write_text("changed in it\n")
    commit(pair.source, {"theirs": "theirs\n"})
    pair.fetch(pair.one)
    verbs.integrate(pair.one, pair.keep(pair.one), author=AUTHOR, verb="sync")
    verbs.reset(pair.one, pair.keep(pair.one), to="HEAD", mode="hard")
    verbs.clean(pair.one, pair.keep(pair.one))
    verbs.feature(pair.one, "x")  # starts where there is no submodule
    pair.restore(pair.one, pair.keep(pair.one)("now"))
    assert (pair.one / "sub/y").read_text() == "only here\n"
    assert (pair.one / "sub/z").exists()
    assert (pair.one / "sub/x").read_text() == "changed in it\n"


def test_a_branch_that_is_gone_upstream(pair: Pair) -> None:
    git(pair.source, "branch", "feature/short")
    pair.fetch(pair.one)
    git(pair.one, "fetch", "-q", "origin")
    verbs.feature(pair.one, "short", base="origin/feature/short")
    tip = commit(pair.one, {"mine": "mine\n"})
    verbs.push(pair.one, protected=PROTECTED)
    git(pair.source, "branch", "-D", "feature/short")
    pair.fetch(pair.one)
    assert not verbs.pull(pair.one, pair.keep(pair.one), author=AUTHOR).changed
    assert git(pair.hub, "rev-parse", "feature/short") == tip


def test_a_branch_that_is_gone_from_the_hub_is_pushed_again(pair: Pair) -> None:
    tip = commit(pair.one, {"mine": "mine\n"})
    verbs.push(pair.one, protected=PROTECTED)
    git(pair.hub, "update-ref", "-d", "refs/heads/env/dev1")
    assert not verbs.pull(pair.one, pair.keep(pair.one), author=AUTHOR).changed
    assert verbs.push(pair.one, protected=PROTECTED).changed
    git(pair.hub, "update-ref", "-d", "refs/heads/env/dev1")
    assert verbs.push(pair.one, protected=PROTECTED, force=True).changed
    assert git(pair.hub, "rev-parse", "env/dev1") == tip


def test_a_hub_that_cannot_be_reached(pair: Pair) -> None:
    work_in(pair.one)
    before = files_of(pair.one)
    pair.hub.rename(pair.hub.with_name("away.git"))
    for verb in (
        lambda: verbs.push(pair.one, protected=PROTECTED),
        lambda: verbs.reset(pair.one, pair.keep(pair.one), mode="hard"),
        lambda: verbs.clean(pair.one, pair.keep(pair.one)),
    ):
        with pytest.raises(GitError):
            verb()
    assert files_of(pair.one) == before
    assert not pair.hub.exists()


def test_what_is_not_a_checkout(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        verbs.commit(tmp_path / "nothing", "x", author=AUTHOR)
