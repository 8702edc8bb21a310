"""The runner of git."""

from __future__ import annotations

import os
import shlex
import threading
from pathlib import Path

import pytest

from common.errors import Conflict
from environments.drivers.git import (
    GitError,
    GitMissing,
    GitTimedOut,
    Repository,
    bare,
    check_git,
    checkout,
    run_git,
)
from tests.environments.drivers.repositories import commit, eventually, git, make_repository


def fake_git(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    directory.mkdir()
    (directory / "git").write_text(f"#!/bin/sh\n{script}\n")
    (directory / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


def test_version_is_returned() -> None:
    assert check_git() == git(Path.cwd(), "version").split()[2]


def test_too_old_git_is_refused_with_the_version_that_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_git(tmp_path / "bin", "echo git version 2.30.9", monkeypatch)
    with pytest.raises(GitMissing) as raised:
        check_git()
    assert "2.30.9" in raised.value.what
    assert "2.31" in raised.value.fix


def test_missing_git_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitMissing) as raised:
        check_git()
    assert "not installed" in raised.value.what
    assert "apt-get install git" in raised.value.fix


def test_error_names_the_subcommand_and_has_gits_words(repository: Path) -> None:
    with pytest.raises(GitError) as raised:
        checkout(repository).run("rev-parse", "--verify", "nowhere")
    assert raised.value.subcommand == "rev-parse"
    assert "Needed a single revision" in raised.value.meaning


def test_credentials_do_not_get_into_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_git(tmp_path / "bin", "echo fatal: https://me:sesame@host/x.git is gone >&2; exit 128", monkeypatch)
    with pytest.raises(GitError) as raised:
        run_git("fetch", timeout=10)
    assert "sesame" not in str(raised.value.as_dict())
    assert "https://me:***@host/x.git" in raised.value.meaning


def test_timeout_kills_git_and_what_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pids = tmp_path / "pids"
    fake_git(tmp_path / "bin", f"echo $$ >>{shlex.quote(str(pids))}; sleep 300 & echo $! >>{pids}; wait", monkeypatch)
    with pytest.raises(GitTimedOut) as raised:
        run_git("fetch", timeout=1)
    assert raised.value.detail["timeout"] == 1
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 2
    eventually(lambda: not any(is_alive(pid) for pid in started), "something git started is still running")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("ends", [True, False])
def test_nobody_waits_for_somebody_outside_the_group_who_holds_the_pipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    pid = tmp_path / "pid"
    holder = f"setsid sh -c 'echo $$ >{pid}; exec sleep 300' & while [ ! -s {pid} ]; do sleep 0.01; done"
    fake_git(tmp_path / "bin", f"{holder}; echo said; {'exit 0' if ends else 'exec sleep 300'}", monkeypatch)
    try:
        if ends:
            assert run_git("fetch", timeout=60).stdout == "said\n"
        else:
            with pytest.raises(GitTimedOut):
                run_git("fetch", timeout=1)
    finally:
        os.kill(int(pid.read_text()), 9)


def test_variables_of_a_surrounding_git_do_not_lead_it_elsewhere(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_repository(tmp_path / "other", {"other.txt": "x"})
    for name, value in {
        "GIT_DIR": str(other / ".git"),
        "GIT_WORK_TREE": str(other),
        "GIT_INDEX_FILE": str(other / ".git/index"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.bare",
        "GIT_CONFIG_VALUE_0": "true",
    }.items():
        monkeypatch.setenv(name, value)
    assert checkout(repository).text("ls-files").split() == ["README.md", "app/main.py"]
    assert run_git("rev-parse", "--show-toplevel", place=["-C", str(repository)], timeout=10).stdout.strip() == str(
        repository
    )


def test_a_missing_directory_is_an_error_and_never_the_directory_gaia_runs_in(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    with pytest.raises(GitError):
        checkout(tmp_path / "gone").run("status")


def test_a_directory_without_git_is_not_taken_for_the_repository_above_it(repository: Path) -> None:
    (repository / "inside").mkdir()
    with pytest.raises(GitError):
        checkout(repository / "inside").run("status")


def test_hooks_do_not_run(repository: Path) -> None:
    hook = repository / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {shlex.quote(str(repository / 'hooked'))}\n")
    hook.chmod(0o755)
    checkout(repository).run("checkout", "-q", "-b", "side")
    assert not (repository / "hooked").exists()
    git(repository, "checkout", "-q", "main")
    assert (repository / "hooked").exists()


def test_remote_helper_addresses_are_refused(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    with pytest.raises(GitError) as raised:
        run_git("ls-remote", "--", f"ext::sh -c touch% {touched}", timeout=10)
    assert "not allowed" in raised.value.meaning
    assert not touched.exists()


def test_paths_that_are_not_utf8_survive(repository: Path) -> None:
    name = b"caf\xe9.txt"
    (repository / os.fsdecode(name)).write_bytes(b"x")
    listed = checkout(repository).run("ls-files", "-o", "-z").stdout
    assert os.fsencode(listed.rstrip("\0")) == name


def test_progress_is_passed_on_and_a_broken_bar_does_not_matter(repository: Path, tmp_path: Path) -> None:
    for number in range(30):
        (repository / f"f{number}").write_text(str(number))
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "many")
    seen: list[tuple[str, float]] = []
    url = f"file://{repository}"
    run_git("clone", "--progress", "--", url, tmp_path / "one", timeout=60, progress=lambda *told: seen.append(told))
    assert seen
    assert all(0 <= fraction <= 1 for _, fraction in seen)

    def broken(_: str, __: float) -> None:
        raise RuntimeError

    run_git("clone", "--progress", "--", url, tmp_path / "two", timeout=60, progress=broken)
    assert (tmp_path / "two/f29").exists()


def test_lock_keeps_a_second_writer_out(repository: Path, tmp_path: Path) -> None:
    hub = tmp_path / "hub.git"
    git(tmp_path, "clone", "-q", "--bare", repository, hub)
    refused: list[Conflict] = []

    def second() -> None:
        try:
            with bare(hub).lock(timeout=0.1):
                pass
        except Conflict as error:
            refused.append(error)

    with bare(hub).lock():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert str(os.getpid()) in refused[0].what
    with bare(hub).lock(timeout=0):
        pass


def test_stdin_and_environment_reach_git(repository: Path) -> None:
    tree = checkout(repository).text("mktree", stdin="")
    made = checkout(repository).text("commit-tree", tree, "-m", "x", env={"GIT_AUTHOR_NAME": "Somebody"})
    assert "Somebody" in git(repository, "show", made)


def test_the_repository_is_found_through_a_gitfile(repository: Path, tmp_path: Path) -> None:
    git(repository, "worktree", "add", "-q", tmp_path / "worktree")
    commit(tmp_path / "worktree", {"x": "1"})
    assert Repository(tmp_path / "worktree/.git", tmp_path / "worktree").text("log", "-1", "--format=%s") == "work"
