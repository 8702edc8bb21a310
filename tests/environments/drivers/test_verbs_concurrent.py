"""Eight environments, twenty mixed verbs in each at the same time, from several processes and threads."""

from __future__ import annotations

import hashlib
import itertools
import os
from pathlib import Path

from environments.drivers.build import build_all
from environments.drivers.git_locks import find_locks
from environments.drivers.status import status
from tests.environments.drivers.many_verbs import fork_worker, written
from tests.environments.drivers.repositories import commit, git, source_of, targets_in

ENVIRONMENTS = 8
VERBS = 20
PROCESSES = 4


def test_no_lock_error_and_nothing_lost(repository: Path, tmp_path: Path) -> None:
    commit(repository, {f"file{number}": f"{number}\n" for number in range(20)})
    hub = tmp_path / "hub.git"
    built = build_all(source_of(repository), hub, targets_in(tmp_path, ENVIRONMENTS))[1]
    assert [each.error for each in built] == [None] * ENVIRONMENTS
    paths = [each.target.path for each in built]
    commit(repository, {"new": "the source moves on\n"})

    # every process works in every environment, so that verbs of two meet in one
    places = [(path, VERBS // PROCESSES) for path in paths]
    results = [tmp_path / f"results{number}" for number in range(PROCESSES)]
    pids = [fork_worker(number, repository, hub, places, results[number]) for number in range(PROCESSES)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]

    said = [line for file in results for line in file.read_text().splitlines()]
    assert codes == [0] * PROCESSES, "\n".join(said)
    assert [line for line in said if not line.startswith(("done", "refused"))] == []
    assert len(said) == ENVIRONMENTS * VERBS
    assert sum(line.startswith("done") for line in said) > len(said) / 2, "\n".join(said)
    for path in paths:
        _check(path, hub)
    git(hub, "fsck", "--strict", "--no-dangling")
    assert find_locks(hub) == []


def _check(path: Path, hub: Path) -> None:
    """Every commit that was ever made here is in a branch, the hub or a snapshot, and so is every file."""
    git(path, "fsck", "--strict", "--no-dangling")
    assert find_locks(path / ".git") == []
    assert status(path).error is None
    made = git(path, "log", "-g", "--format=%H", "HEAD").split()
    kept = _objects(path, "--all", "HEAD") | _objects(hub, "--all")
    assert set(made) - kept == set()
    names = [path / name for name in git(path, "ls-files", "--others", "--exclude-standard").splitlines()]
    kept |= set(git(path, "hash-object", "--", *names).split()) if names else set()
    each = itertools.product(range(PROCESSES), range(VERBS // PROCESSES))
    texts = [text for number, turn in each if (text := written(number, path, turn))]
    assert [text for text in texts if _blob(text) not in kept] == []


def _objects(place: Path, *tips: str) -> set[str]:
    return {line.split(" ", 1)[0] for line in git(place, "rev-list", "--objects", *tips).splitlines()}


def _blob(text: str) -> str:
    """The id that git gives a file with this text."""
    return hashlib.sha1(b"blob %d\0%s" % (len(text), text.encode()), usedforsecurity=False).hexdigest()
