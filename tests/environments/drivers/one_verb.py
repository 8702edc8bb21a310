"""Does one verb in a process of its own, which the tests kill: `python -m tests.environments.drivers.one_verb VERB ...`"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.errors import GaiaError
from environments.drivers import verbs
from environments.drivers.snapshots import list_snapshots, restore_snapshot, take_snapshot
from tests.environments.drivers.checkouts import AUTHOR


def main(name: str, path: Path, hub: Path) -> None:
    keep: verbs.Keep = functools.partial(_keep, path, hub)
    known: dict[str, Callable[[], Any]] = {
        "commit": lambda: verbs.commit(path, "all of it", author=AUTHOR),
        "feature": lambda: verbs.feature(path, "x"),
        "sync": lambda: verbs.integrate(path, keep, author=AUTHOR, verb="sync"),
        "rebase": lambda: verbs.integrate(path, keep, author=AUTHOR, rebase=True, verb="rebase"),
        "pull": lambda: verbs.pull(path, keep, author=AUTHOR),
        "push": lambda: verbs.push(path, protected=("main",)),
        "reset": lambda: verbs.reset(path, keep, to="origin/main", mode="hard"),
        "clean": lambda: verbs.clean(path, keep),
        "abort": lambda: verbs.abort(path, keep),
        "continue": lambda: verbs.proceed(path, author=AUTHOR),
        "restore": lambda: restore_snapshot(path, hub, list_snapshots(hub, path.name)[-1]),
    }
    print("begins", flush=True)
    try:
        known[name]()
    except GaiaError as error:
        print(error.what, error.meaning, flush=True)
        raise SystemExit(error.exit_code) from None


def _keep(path: Path, hub: Path, reason: str) -> str:
    return take_snapshot(path, hub, name=path.name, reason=reason, actor="user:ada")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
