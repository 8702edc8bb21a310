"""The exit watcher: one contract, kept with pidfds and without them."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from common.locks import lock_held
from processes.drivers import liveness
from processes.drivers.liveness import Identity
from processes.drivers.table import table
from processes.drivers.watch import Exit, ExitWatcher
from tests.processes.drivers.conftest import Place

Kill = Callable[[int], None]
PATIENCE = 30  # seconds


@pytest.fixture(params=[True, False], ids=["pidfd", "polling"])
async def watcher(request: pytest.FixtureRequest) -> AsyncIterator[ExitWatcher]:
    made = ExitWatcher(use_pidfd=request.param)
    yield made
    made.close()


class Exits:
    """Collects what the watcher says."""

    def __init__(self) -> None:
        self.codes: list[int | None] = []
        self.sources: list[str] = []
        self._changed = asyncio.Event()

    def __call__(self, ended: Exit) -> None:
        self.codes.append(ended.code)
        self.sources.append(ended.source)
        self._changed.set()

    async def wait(self, count: int = 1) -> list[int | None]:
        async with asyncio.timeout(PATIENCE):
            while len(self.codes) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.codes


def child(place: Place, *argv: str) -> Identity:
    return place.start(place.spec(*argv)).identity


def adopted(place: Place, script: str) -> Identity:
    """A process that is not our child, as after a restart of the daemon."""
    token = place.token()
    parent = f"setsid sh -c '{script}' >/dev/null 2>&1 & echo $!"
    done = subprocess.run(
        ["/bin/sh", "-c", parent],
        env={"PATH": os.environ["PATH"], "GAIA_ATTEMPT_TOKEN": token},
        capture_output=True,
        check=True,
        cwd=place.root,
    )
    identity = liveness.identify(int(done.stdout))
    assert identity is not None
    return identity


@pytest.mark.parametrize("code", [0, 1, 137, 255])
async def test_child_that_exits(watcher: ExitWatcher, place: Place, code: int) -> None:
    exits = Exits()
    identity = child(place, "sh", "-c", f"exit {code}")
    watcher.watch(identity, exits)
    assert await exits.wait() == [code]
    assert table().row(identity.pid) is None  # reaped


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_child_that_is_killed_gives_the_signal(watcher: ExitWatcher, place: Place, number: int) -> None:
    exits = Exits()
    identity = child(place, "sleep", "100")
    watcher.watch(identity, exits)
    os.kill(identity.pid, number)  # the shim itself
    assert await exits.wait() == [-number]


async def test_child_that_ended_before_it_was_watched(watcher: ExitWatcher, place: Place) -> None:
    exits = Exits()
    identity = child(place, "sh", "-c", "exit 5")
    os.waitid(os.P_PID, identity.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222  (makes sure that it is a zombie)
    watcher.watch(identity, exits)
    assert exits.codes == []  # called from the loop, not from within watch
    assert await exits.wait() == [5]


async def test_child_that_somebody_else_reaped(watcher: ExitWatcher, place: Place) -> None:
    exits = Exits()
    identity = child(place, "sh", "-c", "exit 5")
    os.waitpid(identity.pid, 0)  # noqa: ASYNC222  (before the loop goes on)
    watcher.watch(identity, exits)
    assert await exits.wait() == [None]


async def test_adopted_process_that_exits(watcher: ExitWatcher, place: Place) -> None:
    exits = Exits()
    os.mkfifo(place.root / "fifo")
    identity = adopted(place, "read x <fifo; exit 5")
    watcher.watch(identity, exits)
    await asyncio.sleep(0)
    assert exits.codes == []
    (place.root / "fifo").write_text("go\n")
    assert (await exits.wait(), exits.sources) in (([5], ["pidfd"]), ([None], ["unknown"]))  # see test_exits


async def test_adopted_process_that_is_killed(watcher: ExitWatcher, place: Place, kill: Kill) -> None:
    exits = Exits()
    identity = adopted(place, "exec sleep 100")
    watcher.watch(identity, exits)
    kill(identity.pid)
    assert (await exits.wait(), exits.sources) in (([-9], ["pidfd"]), ([None], ["unknown"]))


async def test_another_with_that_pid_counts_as_ended_and_is_left_alone(watcher: ExitWatcher, place: Place) -> None:
    exits, real = Exits(), Exits()
    identity = child(place, "sleep", "100")
    watcher.watch(dataclasses.replace(identity, start_ticks=identity.start_ticks - 1), exits)
    assert await exits.wait() == [None]
    watcher.watch(identity, real)
    os.kill(identity.pid, signal.SIGKILL)
    assert await real.wait() == [-9]  # its exit code was not eaten


async def test_pid_that_changed_hands_tells_of_the_former_at_once(watcher: ExitWatcher, place: Place) -> None:
    former, real = Exits(), Exits()
    identity = child(place, "sleep", "100")
    watcher.watch(dataclasses.replace(identity, start_ticks=identity.start_ticks - 1), former)
    watcher.watch(identity, real)
    assert await former.wait() == [None]
    os.kill(identity.pid, signal.SIGKILL)
    assert await real.wait() == [-9]
    assert former.codes == [None]


async def test_pid_that_changes_hands_while_it_is_opened(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    identity, next_one = child(place, "sleep", "100"), child(place, "sleep", "100")
    real = os.pidfd_open

    def late(pid: int, flags: int = 0) -> int:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return real(next_one.pid, flags)  # what the kernel gives for a pid that came again

    monkeypatch.setattr(os, "pidfd_open", late)
    watcher, exits = ExitWatcher(), Exits()
    watcher.watch(identity, exits)
    assert await exits.wait() == [None]
    watcher.close()


async def test_process_of_before_the_reboot(watcher: ExitWatcher, place: Place) -> None:
    exits = Exits()
    watcher.watch(dataclasses.replace(child(place, "sleep", "100"), boot_id="another"), exits)
    assert await exits.wait() == [None]


async def test_watching_again_replaces_the_callback(watcher: ExitWatcher, place: Place, kill: Kill) -> None:
    first, second = Exits(), Exits()
    identity = child(place, "sleep", "100")
    watcher.watch(identity, first)
    watcher.watch(identity, second)
    kill(identity.pid)
    assert await second.wait() == [-9]
    assert first.codes == []


async def test_callback_may_watch_the_next_start(watcher: ExitWatcher, place: Place) -> None:
    codes: list[int | None] = []
    done = asyncio.Event()

    def again(ended: Exit) -> None:
        codes.append(ended.code)
        if len(codes) == 5:
            done.set()
        else:
            watcher.watch(child(place, "sh", "-c", f"exit {len(codes)}"), again)

    watcher.watch(child(place, "true"), again)
    async with asyncio.timeout(PATIENCE):
        await done.wait()
    assert codes == [0, 1, 2, 3, 4]


async def test_callback_that_fails_hurts_nobody_else(watcher: ExitWatcher, place: Place) -> None:
    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context["exception"]))
    exits = Exits()

    def fails(_: Exit) -> None:
        raise RuntimeError("on purpose")

    watcher.watch(child(place, "true"), fails)
    watcher.watch(child(place, "sh", "-c", "sleep 0.1; exit 3"), exits)
    assert await exits.wait() == [3]
    assert [str(problem) for problem in problems] == ["on purpose"]


async def test_fifty_at_once_and_no_descriptor_left(watcher: ExitWatcher, place: Place) -> None:
    before = len(os.listdir("/proc/self/fd"))
    exits = Exits()
    for number in range(50):
        watcher.watch(child(place, "sh", "-c", f"exit {number}"), exits)
    assert sorted(code for code in await exits.wait(50) if code is not None) == list(range(50))
    assert len(os.listdir("/proc/self/fd")) == before


async def test_close_forgets_everybody(watcher: ExitWatcher, place: Place) -> None:
    before = len(os.listdir("/proc/self/fd"))
    exits, other = Exits(), Exits()
    identity = child(place, "sleep", "100")
    watcher.watch(identity, exits)
    watcher.close()
    assert len(os.listdir("/proc/self/fd")) == before
    os.kill(identity.pid, signal.SIGKILL)
    watcher.watch(identity, other)  # and can be used again
    assert await other.wait() == [-9]
    assert exits.codes == []


async def test_without_descriptors_left_it_polls(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, flags: int = 0) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    watcher, exits = ExitWatcher(), Exits()
    watcher.watch(child(place, "sh", "-c", "sleep 0.1; exit 3"), exits)
    assert await exits.wait() == [3]
    watcher.close()


async def test_end_of_the_shim_is_not_held_up_by_who_lives_on(watcher: ExitWatcher, place: Place) -> None:
    exits = Exits()
    watcher.watch(child(place, "sh", "-c", "setsid sleep 100 & exit 2"), exits)
    assert await exits.wait() == [2]


async def test_lock_is_free_when_the_end_is_told(watcher: ExitWatcher, place: Place) -> None:
    seen: list[bool] = []
    done = asyncio.Event()
    spec = place.spec("sh", "-c", "setsid sleep 100 & exit 0")

    def on_exit(_: Exit) -> None:
        seen.append(lock_held(Path(spec.lock)))
        done.set()

    watcher.watch(place.start(spec).identity, on_exit)
    async with asyncio.timeout(PATIENCE):
        await done.wait()
    assert seen == [False]
