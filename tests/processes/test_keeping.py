"""Limits that are kept by looking, with real processes that go beyond them and clocks of the test's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from events.models import Event
from processes import keeping
from processes.actions import limits
from processes.actions import processes as actions
from processes.keeping import LimitKeeper
from processes.models import Node, Process
from processes.samples import Sampler
from processes.states import ProcessState, StopCause
from tests.processes.conftest import Until
from tests.processes.turns import Turn, kinds

pytestmark = pytest.mark.usefixtures("leave_nothing")

_HOLDS = "python3 -c \"held = b'x' * {}_000_000; open('up', 'w').close(); import time; time.sleep(100)\""


class Keeping:
    """A sampler that looks whenever the test says so; a second passes between two looks."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.seconds = 1000.0
        self.older = 0.0
        self.sampler = self.made()

    def made(self) -> Sampler:
        sampler = Sampler(self.node, lambda: self.seconds)
        sampler._keeper = LimitKeeper(lambda: self.seconds, lambda _: self.older + self.seconds - 1000)
        return sampler

    def look(self, seconds: float = 1.0) -> None:
        self.seconds += seconds
        self.sampler.turn()


@pytest.fixture
def keeping_(node: Node) -> Keeping:
    return Keeping(node)


@pytest.fixture
def run(turn: Turn, request_sh: Any, until: Until, tmp_path: Path) -> Callable[..., Process]:
    """Start a script that says `touch up` when it is where the test wants it."""

    def start(script: str, **limits: Any) -> Process:
        process: Process = request_sh(script, limits=limits, stop_grace=0.2)
        turn.tick()
        until((tmp_path / "up").exists)
        process.refresh_from_db()
        return process

    return start


def event(kind: str) -> Event:
    return Event.objects.get(kind=kind)


def test_kept_by_what(run: Any) -> None:
    process = run(
        "touch up; exec sleep 100", memory_mb=1000, cpu_percent=50, open_files=64, run_time_s="1h", quiet_s=60
    )
    assert process.enforcement == {
        "memory_mb": "sampling", "cpu_percent": "renice", "open_files": "rlimit", "run_time_s": "clock",
        "quiet_s": "log",
    }  # fmt: skip


def test_memory_beyond_its_limit(run: Any, turn: Turn, keeping_: Keeping) -> None:
    """One that eats memory and ignores TERM: it ends, and everything says why."""
    process = run("trap '' TERM; " + _HOLDS.format(60) + "; :", memory_mb=40)
    keeping_.look()
    process.refresh_from_db()
    assert (process.cause, process.stop_requested_at is not None) == (StopCause.MEMORY, True)
    told = event("process.limit_exceeded")
    assert (told.data["limit"], told.data["most"]) == ("memory_mb", 40)
    assert 55 < told.data["used"] < 120
    assert told.message.startswith("test/one is stopped: it uses ")
    assert told.message.endswith("its limit is 40 MB")
    assert told.level == "warning"
    turn.tick()
    process.refresh_from_db()
    assert process.state == ProcessState.EXITED
    ended = event("process.stopped")
    assert (ended.data["cause"], ended.level) == ("memory", "warning")
    assert ended.message == "test/one was stopped: it used more memory than it may"


def test_what_forks_share_counts_once(run: Any, keeping_: Keeping) -> None:
    """Five processes that each show 40 MB, and hold 40 together: no reason to end them."""
    fork = (
        "import os, time; held = b'x' * 40_000_000\n"
        "if all(os.fork() for _ in range(4)): open('up', 'w').close()\n"
        "time.sleep(100)"
    )
    process = run(f'exec python3 -c "{fork}"', memory_mb=150)
    for _ in range(3):
        keeping_.look()
    process.refresh_from_db()
    assert process.cause == ""
    assert not Event.objects.filter(kind__startswith="process.limit").exists()


def test_ran_too_long(run: Any, turn: Turn, keeping_: Keeping) -> None:
    process = run("touch up; exec sleep 100", run_time_s=100)
    keeping_.look(79)
    assert not Event.objects.filter(kind="process.limit_warning").exists()
    keeping_.look(11)
    assert event("process.limit_warning").message == "test/one has run for 90 s, its limit is 100 s"
    keeping_.look(11)
    process.refresh_from_db()
    assert process.cause == StopCause.RUN_TIME
    turn.tick()
    process.refresh_from_db()
    assert process.state == ProcessState.EXITED
    assert kinds()[-4:] == [
        "process.limit_warning", "process.limit_exceeded", "process.stopping", "process.stopped",
    ]  # fmt: skip


def test_wrote_nothing_for_too_long(run: Any, keeping_: Keeping, until: Until, tmp_path: Path) -> None:
    """Silence begins with the last output, whatever that was."""
    os.mkfifo(tmp_path / "say")
    process = run("touch up; while :; do read line <say; echo $line; done", quiet_s=60)
    keeping_.look()
    keeping_.look(40)
    (tmp_path / "say").write_text("something\n")
    until(lambda: "something" in Path(process.log).read_text())
    keeping_.look()
    keeping_.look(50)
    process.refresh_from_db()
    assert process.cause == ""
    keeping_.look(11)
    process.refresh_from_db()
    assert process.cause == StopCause.QUIET
    assert event("process.limit_exceeded").data["used"] >= 60


def test_who_cannot_write_is_not_silent(run: Any, keeping_: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    process = run("touch up; exec sleep 100", quiet_s=60)
    monkeypatch.setattr(keeping, "_is_full", lambda path: True)
    for _ in range(5):
        keeping_.look(30)
    process.refresh_from_db()
    assert process.cause == ""
    monkeypatch.undo()
    keeping_.look(61)
    process.refresh_from_db()
    assert process.cause == StopCause.QUIET


def test_more_cpu_than_it_may(run: Any, keeping_: Keeping, until: Until) -> None:
    """It and its child get a lower priority, once told; what they start later has it, too."""
    process = run("while :; do :; done & touch up; while :; do sleep 0.05; done", cpu_percent=0.5)

    def niced() -> set[int]:
        keeping_.seconds += 0.01  # real CPU, and little time: much percent
        keeping_.look(2)
        members = [row.pid for row in keeping_.sampler._rows()]
        assert members == [process.pid]
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return {os.getpriority(os.PRIO_PROCESS, int(pid)) for pid in children}

    until(lambda: niced() == {10})
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == 0  # the shim
    told = event("process.throttled")
    assert told.data["limit"] == "cpu_percent"
    assert "nice 10" in told.message
    process.refresh_from_db()
    assert (process.state, process.cause) == (ProcessState.RUNNING, "")


def test_open_files_are_warned_about(run: Any, keeping_: Keeping) -> None:
    run(
        "exec 3</dev/null 4</dev/null 5</dev/null 6</dev/null 7</dev/null 8</dev/null; touch up; sleep 100",
        open_files=16,
    )
    keeping_.look()
    assert not Event.objects.filter(kind="process.limit_warning").exists()


def test_open_files_near_the_limit(
    turn: Turn, request_sh: Any, keeping_: Keeping, until: Until, tmp_path: Path
) -> None:
    hold = "import time; held = [open('/dev/null') for _ in range(11)]; open('up', 'w').close(); time.sleep(100)"
    process = request_sh(f'exec python3 -c "{hold}"', limits={"open_files": 16})
    turn.tick()
    until((tmp_path / "up").exists)
    keeping_.look()
    told = event("process.limit_warning")
    assert told.message == "test/one has 14 files open, its limit is 16 files"
    process.refresh_from_db()
    assert process.state == ProcessState.RUNNING


def test_more_open_files_than_it_may(turn: Turn, request_sh: Any) -> None:
    process = request_sh("python3 -c 'held = [open(\"/dev/null\") for _ in range(40)]'", limits={"open_files": 20})
    turn.tick()
    assert turn.wait_for_end(process).exit_code == 1
    assert "Too many open files" in Path(process.log).read_text()


def test_warned_once_and_again_after_it_fell(run: Any, keeping_: Keeping, tmp_path: Path) -> None:
    run("touch up; exec sleep 100", quiet_s=100)
    log = tmp_path / "log"

    def told() -> int:
        return Event.objects.filter(kind="process.limit_warning").count()

    keeping_.look()
    for _ in range(5):
        keeping_.look(18)
        assert told() <= 1
    assert told() == 1
    assert not log.exists()
    process = Process.objects.get()
    with open(process.log, "a") as file:
        file.write("at last\n")
    keeping_.look()
    keeping_.look(75)
    assert told() == 1
    keeping_.look(6)
    assert told() == 2


def test_another_daemon_does_not_warn_again(run: Any, keeping_: Keeping) -> None:
    run("touch up; exec sleep 100", run_time_s=100)
    keeping_.look(85)
    assert Event.objects.filter(kind="process.limit_warning").count() == 1
    keeping_.sampler = keeping_.made()
    keeping_.look()
    assert Event.objects.filter(kind="process.limit_warning").count() == 1


def test_one_that_is_being_stopped_is_left_alone(run: Any, keeping_: Keeping) -> None:
    process = run("touch up; exec sleep 100", run_time_s=10)
    actions.request_stop(process)
    keeping_.look(100)
    process.refresh_from_db()
    assert process.cause == StopCause.ASKED
    assert not Event.objects.filter(kind__startswith="process.limit").exists()


def test_it_ended_before_it_could_be_stopped(run: Any, turn: Turn, keeping_: Keeping) -> None:
    process = run("touch up; exec sleep 100", run_time_s=10)
    stale = Process.objects.get(pk=process.pk)
    actions.record_exit(process, 0, "wait")
    assert not limits.stop_over_limit(stale, StopCause.RUN_TIME, name="run_time_s", limit=10, used=11)
    assert not Event.objects.filter(kind="process.limit_exceeded").exists()


def test_a_wall_clock_that_jumps_ends_nobody(run: Any, node: Node) -> None:
    """Forward by a year and back: run time and silence are told by other clocks."""
    from datetime import timedelta

    from django.utils import timezone

    process = run("touch up; exec sleep 100", run_time_s=3600, quiet_s=3600)
    now = timezone.now()
    moments = iter(
        [now, now, now + timedelta(days=365), now + timedelta(days=365), now - timedelta(days=365)] + [now] * 20
    )
    sampler = Sampler(node, now=lambda: next(moments))
    for _ in range(5):
        sampler.turn()
    process.refresh_from_db()
    assert (process.state, process.cause) == (ProcessState.RUNNING, "")


def test_a_poisoned_row_does_not_keep_the_others(turn: Turn, request_sh: Any, keeping_: Keeping) -> None:
    bad, good = request_sh("exec sleep 100", "test/bad"), request_sh("exec sleep 100", limits={"run_time_s": 10})
    turn.tick()
    Process.objects.filter(pk=bad.pk).update(limits={"nonsense": 1})
    with pytest.raises(Exception, match="nonsense"):
        keeping_.look(100)
    good.refresh_from_db()
    assert good.cause == StopCause.RUN_TIME
