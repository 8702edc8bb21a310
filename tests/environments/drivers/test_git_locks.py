"""Locks of git: those that somebody holds are waited for, those of a killed git are removed."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.errors import Conflict
from environments.drivers import verbs
from environments.drivers.git import GitError, bare, checkout
from environments.drivers.git_locks import find_locks, is_locked, left_behind, wait_for_git, workers_in, writing
from tests.environments.drivers.checkouts import AUTHOR, Pair
from tests.environments.drivers.repositories import commit, eventually, git

_LONG_AGO_S = 60
Started = subprocess.Popen[bytes]


@pytest.fixture
def pair(repository: Path, tmp_path: Path) -> Pair:
    return Pair(repository, tmp_path)


@pytest.fixture
def start() -> Iterator[Callable[..., Started]]:
    """Starts programs in sessions of their own; none outlives the test."""
    started: list[Started] = []

    def begin(*words: str | Path, cwd: Path) -> Started:
        started.append(subprocess.Popen(words, cwd=cwd, start_new_session=True, stdout=-3, stderr=-3))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def hook(path: Path, name: str, script: str) -> None:
    place = path / ".git/hooks" / name
    place.parent.mkdir(exist_ok=True)
    place.write_text(f"#!/bin/sh\n{script}\n")
    place.chmod(0o755)


def age(lock: Path) -> Path:
    """A lock that nobody has touched for a minute."""
    then = time.time() - _LONG_AGO_S
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    os.utime(lock, (then, then))
    return lock


@pytest.fixture
def waiting_commit(pair: Pair, start: Callable[..., Started]) -> Started:
    """`git commit -a` in whose hook somebody waits: it holds index.lock and has it not open."""
    hook(pair.one, "pre-commit", "while [ ! -e go ]; do sleep 0.05; done")
    (pair.one / "README.md").write_text("of the agent\n")
    process = start("git", "commit", "-q", "-a", "-m", "of the agent", cwd=pair.one)
    lock = pair.one / ".git/index.lock"
    eventually(lock.exists, "the agent's commit holds the index")
    # as if it had waited for long; this is how it looked left behind
    eventually(lambda: lock.stat().st_size > 0, "the lock is written")
    then = time.time() - 1.5
    os.utime(lock, (then, then))
    return process


def test_a_commit_that_waits_in_its_hook_is_waited_for(pair: Pair, waiting_commit: Started) -> None:
    (pair.one / "mine").write_text("mine\n")
    assert left_behind(pair.one / ".git") == []
    done: list[verbs.Done] = []
    verb = threading.Thread(target=lambda: done.append(verbs.commit(pair.one, "of gaia", author=AUTHOR)))
    verb.start()
    verb.join(0.3)
    assert verb.is_alive(), "the verb has not waited"
    (pair.one / "go").touch()
    assert waiting_commit.wait(20) == 0
    verb.join(20)
    assert git(pair.one, "log", "-2", "--format=%s").splitlines() == ["of gaia", "of the agent"]
    assert done[0].files == ("go", "mine")
    pair.check()


def test_who_holds_it_is_named(pair: Pair, waiting_commit: Started) -> None:
    with pytest.raises(Conflict) as caught:
        wait_for_git(pair.one / ".git", timeout=0.1)
    assert f"Git commit (pid {waiting_commit.pid}) holds index.lock" in caught.value.meaning
    assert caught.value.detail["pids"] == [waiting_commit.pid]
    assert (pair.one / ".git/index.lock").exists()


def test_the_lock_of_a_killed_commit_is_removed(pair: Pair, waiting_commit: Started) -> None:
    os.killpg(waiting_commit.pid, signal.SIGKILL)
    waiting_commit.wait()
    (pair.one / "go").touch()
    assert verbs.commit(pair.one, "of gaia", author=AUTHOR).changed
    assert git(pair.one, "show", "HEAD:README.md") == "of the agent"
    pair.check()


def test_a_git_that_came_later_does_not_hold_it(pair: Pair) -> None:
    lock = age(pair.one / ".git/index.lock")
    later = subprocess.Popen(["git", "hash-object", "--stdin"], cwd=pair.one, stdin=subprocess.PIPE)
    try:
        eventually(lambda: any(each.pid == later.pid for each in workers_in(pair.one / ".git")), "it runs")
        assert left_behind(pair.one / ".git") == [lock]
    finally:
        later.communicate()


@pytest.mark.parametrize("named", ["-C", "--git-dir", "variable"])
def test_a_git_that_stands_elsewhere_is_seen(pair: Pair, tmp_path: Path, named: str) -> None:
    words = {"-C": ["-C", str(pair.one)], "--git-dir": [f"--git-dir={pair.one}/.git"], "variable": []}[named]
    env = {**os.environ, "GIT_DIR": str(pair.one / ".git")} if named == "variable" else None
    process = subprocess.Popen(["git", *words, "hash-object", "--stdin"], cwd=tmp_path, stdin=subprocess.PIPE, env=env)
    try:
        eventually(lambda: any(each.pid == process.pid for each in workers_in(pair.one / ".git")), "it runs")
        assert workers_in(pair.two / ".git") == []
        lock = pair.one / ".git/index.lock"
        lock.touch()
        then = time.time() - 1.5
        os.utime(lock, (then, then))
        assert left_behind(pair.one / ".git") == []
    finally:
        process.communicate()


def test_one_that_only_reads_for_hours_holds_nothing(pair: Pair) -> None:
    process = subprocess.Popen(["git", "cat-file", "--batch"], cwd=pair.one, stdin=subprocess.PIPE)
    try:
        eventually(lambda: any(each.pid == process.pid for each in workers_in(pair.one / ".git")), "it runs")
        lock = pair.one / ".git/HEAD.lock"
        lock.touch()
        os.utime(lock, (time.time() - 1.5,) * 2)
        assert left_behind(pair.one / ".git") == [lock]
    finally:
        process.communicate()


def test_an_open_lock_is_held(pair: Pair) -> None:
    lock = age(pair.one / ".git/index.lock")
    with lock.open():
        assert left_behind(pair.one / ".git") == []
    assert left_behind(pair.one / ".git") == [lock]


def test_locks_of_every_kind_are_found_and_our_own_are_not(pair: Pair) -> None:
    names = ("index.lock", "HEAD.lock", "packed-refs.lock", "config.lock", "refs/heads/env/dev1.lock")
    locks = {age(pair.one / ".git" / name) for name in names}
    age(pair.one / ".git/gaia.lock")
    assert set(find_locks(pair.one / ".git")) == locks
    with writing(checkout(pair.one)):
        assert find_locks(pair.one / ".git") == []


def test_a_stale_lock_in_the_hub_does_not_keep_a_push(pair: Pair) -> None:
    tip = commit(pair.one, {"mine": "mine\n"})
    age(pair.hub / "refs/heads/env/dev1.lock")
    assert verbs.push(pair.one, protected=("main",)).changed
    assert git(pair.hub, "rev-parse", "env/dev1") == tip


def test_what_a_killed_gaia_left_at_work_is_waited_for(pair: Pair, start: Callable[..., Started]) -> None:
    hook(pair.one, "pre-commit", "touch began; while [ ! -e go ]; do sleep 0.05; done")
    (pair.one / "README.md").write_text("changed\n")
    repository = checkout(pair.one)
    orphan = start(
        "git", "-C", pair.one, f"--git-dir={repository.git_dir}", f"--work-tree={pair.one}", "commit", "-q", "-a",
        "-m", "of the killed one", cwd=pair.one.parent,
    )  # fmt: skip
    eventually((pair.one / "began").exists, "git has not begun")
    (repository.git_dir / "gaia.writing").touch()  # as a killed verb leaves it
    with pytest.raises(Conflict, match="is still writing") as caught, writing(repository, timeout=0.2):
        raise AssertionError("it has not waited")
    assert caught.value.detail["pid"] == orphan.pid
    (pair.one / "go").touch()
    with writing(repository):
        assert git(pair.one, "log", "-1", "--format=%s") == "of the killed one"
    assert not (repository.git_dir / "gaia.writing").exists()


def test_copies_of_the_index_that_a_killed_snapshot_left_are_removed(pair: Pair) -> None:
    git_dir = pair.one / ".git"
    for name in ("old", "young"):
        (git_dir / f"gaia-index-{name}").mkdir()
        (git_dir / f"gaia-index-{name}/index").write_text("x")
    os.utime(git_dir / "gaia-index-old", (1, 1))
    (git_dir / "gaia.writing").touch()
    with writing(checkout(pair.one)):
        assert [each.name for each in git_dir.glob("gaia-index-*")] == ["gaia-index-young"]


def test_a_lock_is_never_made_where_there_is_no_repository(tmp_path: Path) -> None:
    with pytest.raises(GitError, match="no repository"), bare(tmp_path / "gone.git").lock():
        raise AssertionError("there is nothing to lock")
    assert not (tmp_path / "gone.git").exists()


def test_what_git_says_of_locks(pair: Pair) -> None:
    age(pair.one / ".git/index.lock")
    (pair.one / "README.md").write_text("changed\n")
    for words in (("add", "-A"), ("commit", "--allow-empty", "-m", "x"), ("reset", "--hard")):
        with pytest.raises(GitError) as caught:
            checkout(pair.one).run(*words)
        assert is_locked(caught.value.stderr), caught.value.stderr
    with pytest.raises(GitError) as caught:
        checkout(pair.one).run("rev-parse", "no-such")
    assert not is_locked(caught.value.stderr)
