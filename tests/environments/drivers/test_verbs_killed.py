"""kill -9 in the middle of each verb, of GAIA and of git: the repository is sound, no work is lost, it goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from environments.drivers.git_locks import find_locks, workers_in
from environments.drivers.status import status
from tests.environments.drivers.checkouts import TEXT, Pair
from tests.environments.drivers.one_verb import fork_verb
from tests.environments.drivers.repositories import commit, eventually, git

MANY = {f"many/{number}": f"{number}\n" * 50 for number in range(400)}
ROUNDS = 3  # in the last one only GAIA is killed, and its git goes on
VERBS = (
    "commit", "feature", "delete", "clean-branches", "sync", "rebase", "pull", "push", "reset", "clean", "abort",
    "continue", "restore",
)  # fmt: skip


@pytest.fixture
def pair(repository: Path, tmp_path: Path) -> Pair:
    for name, text in MANY.items():
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text(text)
    git(repository, "add", ".")
    commit(repository, {"text": TEXT})
    return Pair(repository, tmp_path)


def prepare(pair: Pair, verb: str, turn: int) -> set[str]:
    """Work of every kind, and what the verb needs; the blobs that must never be lost."""
    path = pair.one
    commit(path, {"committed": "only in a commit\n"})
    if verb in ("pull", "sync", "rebase", "abort", "continue"):
        _others_have_worked(pair, verb, turn)
    if verb in ("delete", "clean-branches"):
        git(path, "branch", "feature/x", "HEAD" if verb == "delete" else "origin/main")
    if verb == "delete":
        git(path, "reset", "-q", "--hard", "HEAD~1")
    if verb == "restore":
        (path / "README.md").write_text("of the snapshot\n")
        pair.keep(path)("before the test")
    for number in range(60):
        (path / f"many/{number}").write_text(f"changed {number}\n")
    (path / "untracked").write_text("untracked\n")
    if verb == "restore":
        pair.keep(path)("before restore")
    contents = [f"changed {number}\n" for number in range(60)] + ["only in a commit\n", "untracked\n"]
    return {blob_id(path, text) for text in contents}


def _others_have_worked(pair: Pair, verb: str, turn: int) -> None:
    path = pair.one
    conflict = verb in ("abort", "continue")
    theirs = TEXT.replace("line 5\n", f"theirs {turn}\n") if conflict else TEXT + f"theirs {turn}\n"
    if conflict:
        commit(path, {"text": TEXT.replace("line 5\n", "mine\n")})
    if verb == "pull":
        git(path, "push", "-q", "origin", "HEAD:env/dev1")
        git(pair.two, "fetch", "-q", "origin")
        git(pair.two, "checkout", "-q", "--detach", "origin/env/dev1")
        commit(pair.two, {"text": theirs})
        git(pair.two, "push", "-q", "origin", "HEAD:env/dev1")
        git(path, "fetch", "-q", "origin")
    else:
        # where a file with changes is in the way of the merge, git puts it aside
        commit(pair.source, {"text": theirs, **({} if conflict else {"many/1": f"1\n{turn}\n"})})
        pair.fetch(path)
    if conflict:
        git(path, "merge", "-q", "origin/main", check=False)
        (path / "text").write_text(TEXT.replace("line 5\n", "both\n"))


def blob_id(path: Path, text: str) -> str:
    done = subprocess.run(
        ["git", "-C", path, "hash-object", "--stdin"], input=text, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def reachable(pair: Pair) -> set[str]:
    """Every blob in a file, an index, a branch, the stash or a snapshot; a reflog is no place to keep work in."""
    found = set()
    for place in (pair.one, pair.hub):
        listed = git(place, "rev-list", "--objects", "--all", "HEAD")
        found |= {line.split(" ", 1)[0] for line in listed.splitlines()}
    names = git(pair.one, "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    there = [name for name in dict.fromkeys(names) if (pair.one / name).is_file()]
    found |= set(git(pair.one, "hash-object", "--", *there).splitlines())
    for line in git(pair.one, "ls-files", "-s").splitlines():
        found.add(line.split()[1])
    for name in ("rebase-merge/autostash", "MERGE_AUTOSTASH"):  # git or the next verb brings these back
        with suppress(FileNotFoundError):
            stash = (pair.one / ".git" / name).read_text().strip()
            found |= {line.split()[2] for line in git(pair.one, "ls-tree", "-r", stash).splitlines()}
    with suppress(FileNotFoundError):  # the branch of a rebase under way
        tip = (pair.one / ".git/rebase-merge/orig-head").read_text().strip()
        found |= {line.split(" ", 1)[0] for line in git(pair.one, "rev-list", "--objects", tip).splitlines()}
    return found


def run_verb(
    pair: Pair, verb: str, kill_after: float | None = None, *, only_gaia: bool = False
) -> tuple[int, str, float]:
    """Run it; with `kill_after` everything of it is killed that many seconds after it began, or only GAIA."""
    begun = time.monotonic()
    pid, reading = fork_verb(verb, pair.one, pair.hub)
    with open(reading, encoding="utf-8") as output:
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(pid, signal.SIGKILL) if only_gaia else kill_session(pid)
        said = output.read()
    _, status_of = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status_of), said, time.monotonic() - begun


def kill_session(leader: int) -> None:
    """kill -9 of all that runs in a session, git in its own process groups too, until none is left."""
    while True:
        members = []
        for pid in psutil.pids():
            with suppress(ProcessLookupError, PermissionError, psutil.Error):
                if os.getsid(pid) == leader and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                    members.append(pid)
        if not members:
            return
        for pid in members:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("verb", VERBS)
def test_killed_in_the_middle(pair: Pair, verb: str) -> None:
    git(pair.one, "tag", "begin")
    chance = random.Random(verb)
    lasts = 0.25  # seconds; as it turns out, it is measured
    for turn in range(ROUNDS):
        only_gaia = turn == ROUNDS - 1
        blobs = prepare(pair, verb, turn)
        run_verb(pair, verb, kill_after=chance.random() * lasts, only_gaia=only_gaia)
        if not only_gaia:
            pair.check()
            assert blobs <= reachable(pair)
        code, said, lasted = run_verb(pair, verb)
        assert code in (0, 3, 4), said  # done, or there is nothing left to do, or it says what waits for a decision
        assert find_locks(pair.one / ".git") == []
        assert not only_gaia or not workers_in(pair.one / ".git")
        pair.check()
        assert blobs <= reachable(pair)
        lasts = lasted
        start_over(pair)


def start_over(pair: Pair) -> None:
    if status(pair.one).in_progress:
        git(pair.one, "rebase" if status(pair.one).in_progress == "rebase" else "merge", "--abort", check=False)
        git(pair.one, "merge", "--quit", check=False)
    git(pair.one, "checkout", "-q", "-f", "-B", "env/dev1", "begin")
    git(pair.one, "clean", "-q", "-f", "-d")
    git(pair.one, "stash", "clear")
    git(pair.source, "reset", "-q", "--hard", "HEAD")
    git(pair.one, "update-ref", "-d", "refs/heads/feature/x")
    for ref in git(pair.hub, "for-each-ref", "--format=%(refname)", "refs/snapshots", "refs/heads/env").splitlines():
        git(pair.hub, "update-ref", "-d", ref)
    eventually(lambda: not workers_in(pair.one / ".git"), "nothing of the killed verb is at work")
