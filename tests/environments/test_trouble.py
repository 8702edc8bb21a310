"""Set-up on a machine that fails: a full disk, kill -9 at any moment, cancelling. Run again, all is as it should be."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from django.conf import settings

from environments.actions.setup import plan_setup, request_setup
from environments.models import Environment
from environments.states import EnvironmentState
from processes.actions.operations import request_cancel, run_operation
from processes.models import Operation, PortLease, Process
from processes.states import OPERATION_ACTIVE, OperationState
from tests.environments.drivers.repositories import commit, git
from tests.environments.places import OFFSETS, DaemonProcess, Place, until

LARGE_BYTES = 400_000


def all_is_well(place: Place, count: int) -> None:
    """Every environment is there, whole and clean, and nothing half-made lies about."""
    for number in range(1, count + 1):
        path = place.path(number)
        assert place.environment(number).state == EnvironmentState.READY
        assert git(path, "status", "--porcelain") == ""
        assert git(path, "fsck", "--no-dangling") == ""
        assert git(path, "symbolic-ref", "HEAD") == f"refs/heads/env/dev{number}"
        assert all((path / f"data/{name}/shop.db").stat().st_size > 0 for name in OFFSETS)
    assert PortLease.objects.count() == 3 * count
    assert Environment.objects.count() == count
    for folder in (place.root, settings.GAIA.home.hubs):
        assert not [entry.name for entry in folder.iterdir() if "partial" in entry.name]


# -- a full disk


@contextmanager
def small_disk(directory: Path, kib: int) -> Iterator[Callable[[], None]]:
    """A file system of that size at a directory, where the system lets us have one, else a limit for the size of files.

    Yields: what makes room.
    """
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k,mode=700", "tmpfs", str(directory)]
    if os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0:
        try:
            yield lambda: subprocess.run(["mount", "-o", "remount,size=512m", directory], check=True) and None
        finally:
            subprocess.run(["umount", "-l", directory], check=True)
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGE_BYTES // 2, hard))
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, former)


def test_a_full_disk_and_then_room(place: Place, tmp_path: Path) -> None:
    commit(place.source, {"large.txt": os.urandom(LARGE_BYTES // 2).hex()})
    root = tmp_path / "small"
    with small_disk(root, 1_700) as make_room:
        words = ("env", "setup", "--source", place.source, "--count", "4", "--root", root)
        full = place.gaia(*words)

        assert full.code == 6, full
        assert "of 4 environments could not be made" in full.err
        assert "Free some space" in full.err or "ulimit" in full.err
        assert "run it again" in full.err
        states = {each.name: (each.state, each.problem) for each in Environment.objects.all()}
        broken = {name for name, (state, _) in states.items() if state == EnvironmentState.DAMAGED}
        assert broken
        assert all(states[name][1] for name in broken)
        assert all(state == EnvironmentState.READY for name, (state, _) in states.items() if name not in broken)
        assert not [entry.name for entry in root.iterdir() if "partial" in entry.name]

        make_room()
        again = place.gaia(*words)

        assert again.code == 0, again
        all_is_well(Place(root, place.source, place.base_port), 4)


def test_a_hub_that_cannot_be_made_leaves_no_environment_in_the_making(place: Place) -> None:
    (settings.GAIA.home.hubs / "shop.git").mkdir()
    (settings.GAIA.home.hubs / "shop.git/somebody's").touch()

    said = place.gaia("env", "setup", "--source", place.source, "--count", "2")

    assert said.code == 4, said
    assert "exists and is not a repository" in said.err
    problems = {each.problem for each in Environment.objects.filter(state=EnvironmentState.DAMAGED)}
    assert Environment.objects.count() == 2
    assert problems == {f"{settings.GAIA.home.hubs / 'shop.git'} exists and is not a repository"}
    shutil.rmtree(settings.GAIA.home.hubs / "shop.git")
    place.set_up(2)
    all_is_well(place, 2)


# -- killed


def test_killed_at_random_moments_and_run_again(place: Place, daemon: DaemonProcess) -> None:
    commit(place.source, {f"files/{number}.txt": os.urandom(20_000).hex() for number in range(25)})
    chance = random.Random()

    ended = {kill_one(place, after_s=chance.random() * 0.4) for _ in range(6)}
    last = until(lambda: ask_for_three(place), "the end of the one before")
    until(lambda: state_of(last) == OperationState.SUCCEEDED, "its success")

    assert OperationState.FAILED in ended
    all_is_well(place, 3)
    assert place.gaia("env", "setup", "--count", "3").out.startswith("Nothing to do: 3 environments of shop")


def kill_one(place: Place, *, after_s: float) -> str:
    """Start a set-up and kill its processes; the state it ended in."""
    operation = until(lambda: ask_for_three(place), "the end of the one before")
    process = until(lambda: Process.objects.filter(owner=operation.owner).exclude(pid=None).first(), "its process")
    until(lambda: state_of(operation) != OperationState.QUEUED, "its start")
    time.sleep(after_s)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    until(lambda: state_of(operation) not in OPERATION_ACTIVE, "its end")
    return state_of(operation)


def ask_for_three(place: Place) -> Operation | None:
    """An operation that the daemon runs; None while the one before is not over."""
    operation = request_setup(plan_setup(source=str(place.source), count=3))
    return operation if operation.state == OperationState.QUEUED else None


def state_of(operation: Operation) -> str:
    operation.refresh_from_db()
    return operation.state


def test_files_that_were_being_written_are_nobodys_work_and_go(place: Place) -> None:
    place.set_up(1)
    left = [place.path(1) / name for name in (".launch.sh.x.gaia-unfinished", "data/qa/.shop.db.y.gaia-unfinished")]
    for file in left:
        file.touch()

    assert git(place.path(1), "status", "--porcelain") == ""
    assert place.set_up(1)["unchanged"] == ["dev1"]
    assert not any(file.exists() for file in left)


def test_a_set_up_that_was_killed_does_not_stay_in_the_making(place: Place, daemon: DaemonProcess) -> None:
    place.set_up(2)
    Environment.objects.filter(name="dev2").update(state=EnvironmentState.CREATING)

    until(lambda: place.environment(2).state == EnvironmentState.DAMAGED, "the look that notices it")

    assert place.environment(2).problem == "its set-up was interrupted"
    place.set_up(2)
    all_is_well(place, 2)


# -- cancelled


def test_cancelled_while_it_runs(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    operation = request_setup(plan_setup(source=str(place.source), count=4), detached=False)

    def cancel_after_the_first(running: Operation) -> None:
        if "ready" in running.message:
            request_cancel(Operation.objects.get(pk=operation.pk))

    done = run_operation(operation.pk, cancel_after_the_first)

    assert done.state == OperationState.CANCELLED
    assert done.error is not None
    assert "What was finished before stays." in done.error["meaning"]
    states = [each.state for each in Environment.objects.order_by("number")]
    assert EnvironmentState.READY in states
    assert set(states) <= {EnvironmentState.READY, EnvironmentState.DAMAGED}
    place.set_up(4)
    all_is_well(place, 4)


def test_a_clone_is_cancelled_while_git_works(place: Place, tmp_path: Path) -> None:
    waiting = tmp_path / "clones"
    slow = tmp_path / "bin/git"
    slow.parent.mkdir()
    slow.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *" clone "*) echo $$ >>{waiting}; while :; do printf "Receiving objects:   1%%\\r" >&2; '
        "sleep 0.2; done;; esac\n"
        f'PATH={os.environ["PATH"]} exec git "$@"\n'
    )
    slow.chmod(0o755)
    with place.start(
        "env", "setup", "--source", place.source, "--count", "1", env={"PATH": f"{slow.parent}:{os.environ['PATH']}"}
    ) as process:
        until(waiting.exists, "the clone")
        request_cancel(Operation.objects.get())
        _, err = process.communicate(timeout=60)

    assert process.returncode == 7, err
    assert "was cancelled" in err
    [pid] = waiting.read_text().split()
    assert not Path(f"/proc/{pid}").exists()
    assert place.environment(1).state == EnvironmentState.DAMAGED
    place.set_up(1)
    all_is_well(place, 1)
