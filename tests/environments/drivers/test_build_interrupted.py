"""A set-up that is killed, finds the disk full or meets another one: run again, all is as it should be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from common.errors import Conflict, GaiaError
from environments.drivers.build import Built
from tests import warm
from tests.environments.drivers.builds import check_whole, leftovers, set_up
from tests.environments.drivers.repositories import (
    commit,
    eventually,
)

_KILLED_AT = """
import os, signal, sys, threading
from pathlib import Path
from environments.drivers.build import build_all
from tests.environments.drivers.repositories import source_of, targets_in

repository, root, function, count = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
calls = []

def watch(frame, event, _):
    code = frame.f_code
    if event == "call" and code.co_name == function and "/environments/drivers/" in code.co_filename:
        calls.append(1)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)

sys.setprofile(watch)
threading.setprofile(watch)
build_all(source_of(repository), root / "hub.git", targets_in(root, 3))
"""


@pytest.mark.parametrize(
    ("function", "call"),
    [
        ("_clone", 1),
        ("publish", 1),  # the hub
        ("_update", 1),
        ("remove_dead_partials", 2),
        ("_choose_branch", 1),
        ("write_tree", 1),
        ("copy_tree", 1),
        ("settle", 1),
        ("publish_checkout", 1),
        ("publish", 4),
        ("ensure", 1),
        ("_put", 4),
        ("_put", 30),
        ("fill_untracked_cache", 2),
    ],
)
def test_killed_and_run_again(repository: Path, tmp_path: Path, function: str, call: int) -> None:
    root = tmp_path / "root"
    program = tmp_path / "killed_at.py"
    program.write_text(_KILLED_AT)
    words: list[str | Path] = [program, repository, root, function, str(call)]
    killed = warm.run(words, cwd=tmp_path, environ=os.environ, timeout=60)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    built = set_up(repository, root, 3)
    assert [each.error for each in built] == [None] * 3
    check_whole(root, 3)
    # what a git that outlived its parent still wrote goes with the next run
    eventually(lambda: not (set_up(repository, root, 3), leftovers(root))[1], "partial directories are left")


_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from common.errors import GaiaError
from environments.drivers.build import build_all
from tests.environments.drivers.repositories import source_of, targets_in

repository, root, limit = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    _, built = build_all(source_of(repository), root / "hub.git", targets_in(root, 3))
    errors = [each.error for each in built]
except GaiaError as error:
    errors = [error]
for error in errors:
    print(None if error is None else f"{error.exit_code} {error.what} | {error.meaning} | {error.fix}")
"""


@pytest.mark.parametrize("limit", [100, 2000, 60_000])
def test_a_disk_that_takes_no_more(repository: Path, tmp_path: Path, limit: int) -> None:
    """A limit on the size of files stands for the full disk: git and cp see a write fail, and a short one."""
    commit(repository, {"large.txt": os.urandom(60_000).hex()})
    root = tmp_path / "root"
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, repository, root, str(limit)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert told
    assert all(line.startswith("6 ") for line in told), told
    assert [path for path in root.glob("demo-dev*") if not (path / ".git/gaia.json").exists()] == []
    assert leftovers(root) == []
    set_up(repository, root, 3)
    check_whole(root, 3)


def test_two_at_once_do_not_disturb_each_other(repository: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    results: list[list[Built]] = []
    raised: list[GaiaError] = []

    def run() -> None:
        try:
            results.append(set_up(repository, root, 3))
        except GaiaError as error:
            raised.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert raised == []
    # a place that the other one filled first is a conflict at worst, never half of two checkouts
    errors = [each.error for built in results for each in built if each.error is not None]
    assert all(isinstance(error, Conflict) for error in errors)
    set_up(repository, root, 3)
    check_whole(root, 3)
