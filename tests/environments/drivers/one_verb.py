"""Does one verb in a process of its own, which the tests kill."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from common.errors import GaiaError
from environments.drivers import verbs
from environments.drivers.snapshots import list_snapshots, restore_snapshot, take_branch_snapshot, take_snapshot
from tests.environments.drivers.checkouts import AUTHOR

DEFECT = 70
"""Exit code for what no verb may raise."""


def fork_verb(name: str, path: Path, hub: Path) -> tuple[int, int]:
    """Begin a verb in a process that leads a session. Returns: its pid, and where its words can be read."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(name, path, hub, writing)
    os.close(writing)
    return pid, reading


def _become(name: str, path: Path, hub: Path, output: int) -> NoReturn:
    code = DEFECT
    try:
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = sys.stderr = os.fdopen(1, "w")
        do(name, path, hub)
        code = 0
    except GaiaError as error:
        print(error.what, error.meaning)
        code = error.exit_code
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
        finally:
            os._exit(code)


def do(name: str, path: Path, hub: Path) -> None:
    """Do one verb. Raises: GaiaError."""
    keep: verbs.Keep = functools.partial(_keep, path, hub)
    known: dict[str, Callable[[], Any]] = {
        "commit": lambda: verbs.commit(path, "all of it", author=AUTHOR),
        "feature": lambda: verbs.feature(path, "x"),
        "sync": lambda: verbs.integrate(path, keep, author=AUTHOR, verb="sync"),
        "rebase": lambda: verbs.integrate(path, keep, author=AUTHOR, rebase=True, verb="rebase"),
        "pull": lambda: verbs.pull(path, keep, author=AUTHOR),
        "delete": lambda: verbs.delete_branch(path, "feature/x", functools.partial(_keep_branch, path, hub)),
        "clean-branches": lambda: verbs.clean_branches(path, hub, spare=()),
        "push": lambda: verbs.push(path, protected=("main",)),
        "reset": lambda: verbs.reset(path, keep, to="origin/main", mode="hard"),
        "clean": lambda: verbs.clean(path, keep),
        "abort": lambda: verbs.abort(path, keep),
        "continue": lambda: verbs.proceed(path, author=AUTHOR),
        "restore": lambda: restore_snapshot(path, hub, list_snapshots(hub, path.name)[-1]),
    }
    known[name]()


def _keep(path: Path, hub: Path, reason: str) -> str:
    return take_snapshot(path, hub, name=path.name, reason=reason, actor="user:ada")


def _keep_branch(path: Path, hub: Path, reason: str) -> str:
    return take_branch_snapshot(path, hub, "feature/x", name=path.name, reason=reason, actor="user:ada")
