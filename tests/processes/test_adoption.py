"""What a daemon makes of processes that the one before it, which was killed, had started."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F

from common.locks import lock_held
from events.models import Event
from processes.actions import harvest
from processes.actions import processes as actions
from processes.drivers.liveness import identify as identify_pid
from processes.models import Process
from processes.states import ProcessState
from tests.processes.conftest import Until, running
from tests.processes.turns import Turn, kinds, spawn_unnoticed

pytestmark = pytest.mark.usefixtures("leave_nothing")


def test_found_running(turn: Turn, request_sh: Any, until: Until) -> None:
    process = request_sh("exec sleep 100")
    spawned = spawn_unnoticed(process)
    until(lambda: Path(process.journal).exists() and process.token in Path(process.journal).read_text())
    turn.tick()
    process.refresh_from_db()
    assert (process.state, process.pid) == (ProcessState.RUNNING, spawned.pid)
    assert turn.watched == {process.pk: spawned.identity}
    assert kinds() == ["process.requested", "process.adopted"]


def test_found_at_once_and_started_once(turn: Turn, request_sh: Any, until: Until, tmp_path: Path) -> None:
    """The next daemon looks before the shim has noted anything; it must not think that it was never started."""
    for number in range(20):
        process = request_sh("echo x >>ran", f"test/{number}")
        spawned = spawn_unnoticed(process)
        while Process.objects.get(pk=process.pk).state == ProcessState.STARTING:
            turn.tick()
        os.waitpid(spawned.pid, 0)
        turn.reconciler.ended(process.pk, None)
    assert (tmp_path / "ran").read_text() == "x\n" * 20
    assert Process.objects.filter(state=ProcessState.EXITED, exit_code=0, exit_source="journal").count() == 20


def test_found_ended(turn: Turn, request_sh: Any) -> None:
    process = request_sh("exit 7")
    spawned = spawn_unnoticed(process)
    os.waitpid(spawned.pid, 0)
    turn.tick()
    process.refresh_from_db()
    assert (process.state, process.exit_code, process.exit_source) == (ProcessState.EXITED, 7, "journal")
    assert kinds() == ["process.requested", "process.exited"]


def test_found_although_the_journal_is_on_a_full_disk(
    turn: Turn, request_sh: Any, until: Until, full_journal: Path
) -> None:
    """Nothing was noted: it is known by its lock and by the token in its environment."""
    process = request_sh("touch up; exec sleep 100", journal=full_journal)
    spawned = spawn_unnoticed(process)
    until((Path(process.cwd) / "up").exists)
    turn.tick()
    process.refresh_from_db()
    assert (process.state, process.pid) == (ProcessState.RUNNING, spawned.pid)


def test_found_lost_with_what_it_left(turn: Turn, request_sh: Any, until: Until, tmp_path: Path) -> None:
    """The daemon was killed before it wrote the pid down, the shim after: only the token is certain."""
    process = request_sh("sleep 100 & echo $! >pid; wait")
    spawned = spawn_unnoticed(process)
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    os.kill(spawned.pid, signal.SIGKILL)
    os.waitpid(spawned.pid, 0)
    turn.tick()
    process.refresh_from_db()
    assert process.state == ProcessState.LOST
    assert not running(int((tmp_path / "pid").read_text()))


def test_a_lock_that_somebody_else_holds(turn: Turn, request_sh: Any, until: Until) -> None:
    """A launch script was faster. For a moment that could be our own shim, then it cannot any more."""
    process = request_sh("true")
    stranger = spawn_unnoticed(process, token="script-1", argv=("sleep", "100"))
    try:
        turn.tick()
        process.refresh_from_db()
        assert process.state == ProcessState.STARTING
        turn.now += 10
        turn.tick()
        process.refresh_from_db()
        assert process.state == ProcessState.NOT_STARTED
        assert "running already" in process.problem
        assert running(stranger.pid)
    finally:
        os.killpg(stranger.pid, signal.SIGKILL)
        os.waitpid(stranger.pid, 0)


def test_nobody_is_started_for_a_row_that_ended_meanwhile(
    turn: Turn, request_sh: Any, tmp_path: Path, until: Until
) -> None:
    """Between the look and the spawn somebody has called it off: a terminal row has no process."""
    process = request_sh("exec sleep 100")
    stale = Process.objects.get(pk=process.pk)
    actions.record_not_started(process, "called off")
    turn.reconciler._look_at(stale)
    assert not lock_held(Path(process.lock))
    process.refresh_from_db()
    assert process.state == ProcessState.NOT_STARTED


def test_adopted_after_a_kill(turn: Turn, successor: Callable[[], Turn], request_sh: Any) -> None:
    process = request_sh("exec sleep 100")
    turn.tick()
    after = successor()
    after.tick()
    assert after.watched == turn.watched
    assert kinds() == ["process.requested", "process.started"]
    event = Event.objects.get(kind="node.adopted")
    assert event.data == {"adopted": 1, "ended": 0}
    process.refresh_from_db()
    assert process.state == ProcessState.RUNNING


def test_adopted_though_its_lock_file_is_gone(turn: Turn, successor: Callable[[], Turn], request_sh: Any) -> None:
    """`git clean` in a checkout takes the lock file of a running stage."""
    process = request_sh("exec sleep 100")
    turn.tick()
    Path(process.lock).unlink()
    after = successor()
    after.tick()
    assert after.watched == turn.watched
    process.refresh_from_db()
    assert process.state == ProcessState.RUNNING


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 5", 5), ("kill -KILL $$", 137)])
def test_ended_while_nobody_watched(
    turn: Turn, successor: Callable[[], Turn], request_sh: Any, script: str, code: int
) -> None:
    process = request_sh(script)
    turn.tick()
    os.waitpid(turn.watched[process.pk].pid, 0)
    successor().tick()
    process.refresh_from_db()
    assert (process.state, process.exit_code, process.exit_source) == (ProcessState.EXITED, code, "journal")
    assert Event.objects.get(kind="node.adopted").data == {"adopted": 0, "ended": 1}


def test_shim_killed(turn: Turn, request_sh: Any, until: Until, tmp_path: Path) -> None:
    process = request_sh("sleep 100 & setsid sleep 100 & echo $! >pid; wait")
    turn.tick()
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    os.kill(turn.watched[process.pk].pid, signal.SIGKILL)
    turn.wait_for_end(process)
    assert (process.state, process.problem) == (ProcessState.LOST, "its shim was killed")
    event = Event.objects.get(kind="process.lost")
    assert event.level == "error"
    assert event.data["swept"] >= 2
    assert not running(int((tmp_path / "pid").read_text()))
    assert harvest.leftovers(process) == []


def test_what_a_command_leaves_running_is_ended_with_it(
    turn: Turn, request_sh: Any, until: Until, tmp_path: Path
) -> None:
    """A cluster whose parent is killed: its workers would go on beside those of the next start."""
    process = request_sh("sleep 100 & echo $! >pid; kill -KILL $$")
    turn.tick()
    turn.wait_for_end(process)
    assert (process.state, process.exit_code) == (ProcessState.EXITED, 137)
    assert not running(int((tmp_path / "pid").read_text()))
    assert "1 process it had left running was ended" in Event.objects.get(kind="process.exited").message


def test_after_a_reboot_nobody_is_adopted_or_killed(
    turn: Turn, successor: Callable[[], Turn], request_sh: Any, until: Until
) -> None:
    """Pid and start time are those of a running process, but of another boot: that is a stranger."""
    process = request_sh("exec sleep 100")
    turn.tick()
    identity = turn.watched[process.pk]
    Process.objects.filter(pk=process.pk).update(boot_id="11111111-2222-3333-4444-555555555555")
    after = successor()
    after.tick()
    process.refresh_from_db()
    assert (process.state, process.problem) == (ProcessState.LOST, "the machine was restarted")
    assert after.watched == {}
    assert identify_pid(identity.pid) == identity, "the stranger lives"


def test_a_pid_that_is_somebody_elses_now(turn: Turn, successor: Callable[[], Turn], request_sh: Any) -> None:
    process = request_sh("exit 4")
    turn.tick()
    os.waitpid(turn.watched[process.pk].pid, 0)
    with subprocess.Popen(["sleep", "100"], start_new_session=True) as stranger:
        try:
            # an earlier start: the two may have begun within the same hundredth of a second
            Process.objects.filter(pk=process.pk).update(pid=stranger.pid, start_ticks=F("start_ticks") - 100)
            after = successor()
            after.tick()
            process.refresh_from_db()
            assert (process.state, process.exit_code) == (ProcessState.EXITED, 4)
            assert after.watched == {}
            assert stranger.poll() is None
        finally:
            stranger.kill()
