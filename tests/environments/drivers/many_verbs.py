"""Does many verbs in checkouts that others work in at the same time; a process of `test_verbs_concurrent.py`."""

from __future__ import annotations

import functools
import os
import random
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

from common.errors import Conflict, GaiaError, InvalidInput
from environments.drivers import verbs
from environments.drivers.follow import follow_hub
from environments.drivers.git import GitError, bare
from environments.drivers.hub import create_or_update_hub
from environments.drivers.snapshots import (
    find_snapshot,
    list_snapshots,
    restore_snapshot,
    take_branch_snapshot,
    take_snapshot,
)
from tests.environments.drivers.checkouts import AUTHOR
from tests.environments.drivers.repositories import source_of

THREADS = 4
MIX = (
    "commit", "commit", "commit", "push", "push", "sync", "sync", "rebase", "pull", "feature", "back", "reset",
    "clean", "restore", "delete", "tidy", "fetch",
)  # fmt: skip


def fork_worker(number: int, source: Path, hub: Path, places: list[tuple[Path, int]], results: Path) -> int:
    """Begin a process that does so many verbs in each of the checkouts, from several threads. Returns: its pid."""
    pid = os.fork()
    if pid == 0:
        _become(number, source, hub, places, results)
    return pid


def _become(number: int, source: Path, hub: Path, places: list[tuple[Path, int]], results: Path) -> NoReturn:
    code = 1
    try:
        sys.stdout = sys.stderr = open(results, "w", encoding="utf-8")  # noqa: SIM115  # for as long as the process is
        todo = [(path, turn) for path, count in places for turn in range(count)]
        random.Random(number).shuffle(todo)
        with ThreadPoolExecutor(THREADS) as pool:
            for said in pool.map(lambda each: _one(number, source, hub, *each), todo):
                print(said)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
        finally:
            os._exit(code)


def written(number: int, path: Path, turn: int) -> str:
    """What is written into a file of its own before that verb; empty when nothing is."""
    wanted = _choice(number, path, turn) in ("commit", "reset", "restore")
    return f"{path.name} {number} {turn}\n" if wanted else ""


def _choice(number: int, path: Path, turn: int) -> str:
    return random.Random(f"{number} {path.name} {turn}").choice(MIX)


def _one(number: int, source: Path, hub: Path, path: Path, turn: int) -> str:
    """Write something and do a verb. Returns: what became of it, in one line."""
    verb = _choice(number, path, turn)
    if text := written(number, path, turn):
        (path / f"of-{number}-{turn}").write_text(text)
    try:
        _verbs(source, hub, path, f"{number}-{turn}")[verb]()
    except (Conflict, InvalidInput) as error:
        bad = any(word in error.what for word in ("another git", "already being worked on", "still writing"))
        return f"{'LOCKED' if bad else 'refused'} {verb} {path.name}: {error.what}"
    except GitError as error:
        return f"FAILED {verb} {path.name}: {error.what} {error.meaning!r}"
    except GaiaError as error:
        return f"refused {verb} {path.name}: {error.what}"
    return f"done {verb} {path.name}"


def _verbs(source: Path, hub: Path, path: Path, name: str) -> dict[str, Callable[[], Any]]:
    keep = functools.partial(_keep, path, hub)
    return {
        "commit": lambda: verbs.commit(path, f"of {name}", author=AUTHOR),
        "push": lambda: verbs.push(path, protected=("main",)),
        "sync": lambda: verbs.integrate(_fetched(source, hub, path), keep, author=AUTHOR, verb="sync"),
        "rebase": lambda: verbs.integrate(path, keep, author=AUTHOR, rebase=True, verb="rebase"),
        "pull": lambda: verbs.pull(_fetched(source, hub, path), keep, author=AUTHOR),
        "feature": lambda: verbs.feature(path, name, keep=keep),
        "back": lambda: verbs.feature(path, f"env/{path.name.rpartition('-')[2]}", keep=keep),
        "reset": lambda: verbs.reset(path, keep, to="origin/main", mode="hard"),
        "clean": lambda: verbs.clean(path, keep),
        "restore": lambda: _restore(path, hub, keep),
        "delete": lambda: _delete(path, hub),
        "tidy": lambda: verbs.clean_branches(path, hub, spare=("main",)),
        "fetch": lambda: _fetched(source, hub, path),
    }


def _keep(path: Path, hub: Path, reason: str) -> str:
    return take_snapshot(path, hub, name=path.name, reason=reason, actor="user:ada")


def _fetched(source: Path, hub: Path, path: Path) -> Path:
    state = create_or_update_hub(source_of(source), hub, timeout=60)
    follow_hub(path, hub, default_branch=state.default_branch, head=state.head_sha, always=True)
    return path


def _restore(path: Path, hub: Path, keep: verbs.Keep) -> None:
    taken = list_snapshots(hub, path.name)
    if taken:
        restore_snapshot(path, hub, find_snapshot(hub, taken[-1].name), keep)


def _delete(path: Path, hub: Path) -> None:
    listed = bare(path / ".git").text("for-each-ref", "--format=%(refname:short)", "refs/heads/feature").split()
    if listed:
        keep = functools.partial(_keep_branch, path, hub, listed[0])
        verbs.delete_branch(path, listed[0], keep)


def _keep_branch(path: Path, hub: Path, branch: str, reason: str) -> str:
    return take_branch_snapshot(path, hub, branch, name=path.name, reason=reason, actor="user:ada")
