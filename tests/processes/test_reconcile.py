"""What the reconciler does with one row after the other, with real processes and a clock of the test's."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from common.home import gaia_home
from common.locks import lock_held
from events.models import Event
from processes.actions import processes as actions
from processes.actions.stopping import stop_process
from processes.drivers import stops
from processes.drivers.liveness import boot_id
from processes.drivers.liveness import identify as identify_pid
from processes.models import Node, Process
from processes.reconcile import remove_old_journals
from processes.starting import environment_of
from processes.states import EnvironmentBase, ProcessState
from tests.processes.conftest import Until, journal_of_today, running
from tests.processes.turns import Turn, kinds, reap_one, spawn_unnoticed

pytestmark = pytest.mark.usefixtures("leave_nothing")


# -- starting


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 137), ("kill -TERM $$", 143)],
)
def test_start_to_end(turn: Turn, request_sh: Any, script: str, code: int) -> None:
    process = request_sh(script)
    turn.tick()
    process.refresh_from_db()
    assert process.state == ProcessState.RUNNING
    assert (process.boot_id, process.started_at is not None) == (boot_id(), True)
    turn.wait_for_end(process)
    assert (process.state, process.exit_code, process.exit_source) == (ProcessState.EXITED, code, "wait")
    assert process.ended_at is not None
    assert kinds() == ["process.requested", "process.started", "process.exited"]


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [({"cwd": "/nonexistent"}, 126, "cannot enter the directory"), ({"argv": ["no-such-program"]}, 127, "not found")],
)
def test_what_the_shim_cannot_run(turn: Turn, request_sh: Any, changes: dict[str, Any], code: int, said: str) -> None:
    process = request_sh("true")
    Process.objects.filter(pk=process.pk).update(**changes)
    turn.tick()
    turn.wait_for_end(process)
    assert (process.state, process.exit_code) == (ProcessState.EXITED, code)
    assert said in Path(process.log).read_text()


def test_a_start_that_the_system_refuses(turn: Turn, request_sh: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    process = request_sh("true", log_file=tmp_path / "file" / "log")
    turn.tick()
    process.refresh_from_db()
    assert process.state == ProcessState.NOT_STARTED
    assert "cannot be" in process.problem
    assert kinds() == ["process.requested", "process.not_started"]


def test_port_conflict_names_the_holder(turn: Turn, request_sh: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        process = request_sh("true", port=stranger.getsockname()[1])
        turn.tick()
    process.refresh_from_db()
    assert process.state == ProcessState.NOT_STARTED
    assert f"(pid {os.getpid()})" in process.problem
    assert f"(pid {os.getpid()})" in Event.objects.get(kind="process.not_started").message


def test_never_started_intents_are_started_once(
    turn: Turn, successor: Callable[[], Turn], request_sh: Any, tmp_path: Path
) -> None:
    """Asked for while no daemon ran; then daemons come and are killed."""
    for number in range(5):
        request_sh(f"echo x >>{number}", f"test/{number}")
    for _ in range(3):
        successor().tick()
    turn.tick()
    while reap_one():
        turn.tick()
    turn.tick()
    assert not Process.objects.active().exists()
    assert [(tmp_path / str(number)).read_text() for number in range(5)] == ["x\n"] * 5
    assert Process.objects.filter(state=ProcessState.EXITED, attempt=1).count() == 5


def test_stopped_before_it_started(turn: Turn, request_sh: Any, tmp_path: Path) -> None:
    process = request_sh("touch ran")
    actions.request_stop(process)
    turn.tick()
    process.refresh_from_db()
    assert (process.state, process.problem) == (ProcessState.NOT_STARTED, "it was stopped before it started")
    assert turn.watched == {}
    assert not (tmp_path / "ran").exists()


# -- stopping


def test_stop(turn: Turn, request_sh: Any, until: Until, tmp_path: Path) -> None:
    """It ignores TERM and so does a grandchild that became a daemon: both end, and the row says how."""
    process = request_sh(
        "trap '' TERM; (setsid sh -c 'trap \"\" TERM; echo $$ >grandchild; while :; do sleep 100; done' &);"
        " touch up; while :; do sleep 100; done",
        stop_grace=0.1,
    )
    turn.tick()
    until(lambda: (tmp_path / "up").exists() and (tmp_path / "grandchild").exists())
    grandchild = int(until((tmp_path / "grandchild").read_text))
    actions.request_stop(process)
    turn.tick()
    process.refresh_from_db()
    assert process.state == ProcessState.EXITED
    assert process.exit_code == 137
    assert not running(grandchild)
    assert not lock_held(Path(process.lock))
    assert kinds()[-3:] == ["process.stop_requested", "process.stopping", "process.stopped"]


def test_stop_begun_by_a_daemon_that_was_killed(
    turn: Turn, successor: Callable[[], Turn], request_sh: Any, until: Until
) -> None:
    process = request_sh("exec sleep 100")
    turn.tick()
    actions.request_stop(process)
    actions.record_stopping(process)
    successor().tick()
    process.refresh_from_db()
    assert (process.state, process.exit_code) == (ProcessState.EXITED, 143)


def test_a_port_that_is_still_taken_after_the_stop_is_said(turn: Turn, request_sh: Any) -> None:
    process = request_sh("exec sleep 100")
    turn.tick()
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        Process.objects.filter(pk=process.pk).update(port=port)
        actions.request_stop(process)
        turn.tick()
    process.refresh_from_db()
    assert process.state == ProcessState.EXITED
    assert f"port {port} is still taken, by" in process.problem
    assert Event.objects.get(kind="process.stopped").level == "warning"


def test_stop_without_a_daemon(turn: Turn, request_sh: Any, tmp_path: Path) -> None:
    """`gaia down` after the daemon was killed between spawning and writing: found, and ended."""
    process = request_sh("exec sleep 100")
    spawned = spawn_unnoticed(process)
    stop_process(process)
    process.refresh_from_db()
    assert process.state == ProcessState.EXITED
    assert not running(spawned.pid)
    never = request_sh("touch ran", "test/two")
    stop_process(never)
    never.refresh_from_db()
    assert never.state == ProcessState.NOT_STARTED
    turn.tick()
    assert not (tmp_path / "ran").exists()


# -- many rows


def test_a_poisoned_row_does_not_keep_the_others(turn: Turn, request_sh: Any, caplog: pytest.LogCaptureFixture) -> None:
    poisoned = request_sh("true", "test/poisoned")
    Process.objects.filter(pk=poisoned.pk).update(argv=[{"no": "word"}])
    good = request_sh("exec sleep 100", "test/good")
    turn.tick()
    good.refresh_from_db()
    assert good.state == ProcessState.RUNNING
    for _ in range(60):
        turn.now += 1
        turn.tick()
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert 4 <= len(told) <= 7
    assert [bool(record.exc_info) for record in told] == [True] + [False] * (len(told) - 1), "one traceback is enough"
    assert f"process {poisoned.pk} (test/poisoned)" in told[-1].message
    Process.objects.filter(pk=poisoned.pk).update(argv=["sleep", "100"])
    turn.now += 100
    turn.tick()
    poisoned.refresh_from_db()
    assert poisoned.state == ProcessState.RUNNING, "it recovers once it is mended"


def live_rows(node: Node, count: int) -> list[Process]:
    """Rows of a process that runs: this one."""
    me = identify_pid(os.getpid())
    assert me is not None
    return Process.objects.bulk_create(
        Process(
            node=node, owner=f"test/{number}", token=f"live-{number}", cwd="/", log="/dev/null",
            lock=str(gaia_home().processes / f"{number}.lock"), journal="/dev/null", state=ProcessState.RUNNING,
            pid=me.pid, start_ticks=me.start_ticks, boot_id=me.boot_id, started_at=timezone.now(),
        )
        for number in range(count)
    )  # fmt: skip


@pytest.mark.parametrize("count", [0, 100])
def test_a_tick_is_one_query(
    turn: Turn, node: Node, count: int, django_assert_num_queries: Callable[[int], Any]
) -> None:
    live_rows(node, count)
    try:
        turn.tick()
        assert len(turn.watched) == count
        turn.now += 0.1
        with django_assert_num_queries(1):
            turn.tick()
        turn.now += 100
        with django_assert_num_queries(2):  # and one for operations, every two seconds
            turn.tick()
    finally:
        Process.objects.all().update(state=ProcessState.LOST, ended_at=timezone.now())


def test_the_first_tick_asks_no_row_again(
    turn: Turn, node: Node, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    """Adopting a hundred costs what adopting one costs: the rows, the event, operations, journals in use."""
    live_rows(node, 100)
    try:
        told = 2 if connection.vendor == "postgresql" else 0  # the lock before an event, and the notice
        with django_assert_max_num_queries(8 + told):
            turn.tick()
    finally:
        Process.objects.all().update(state=ProcessState.LOST, ended_at=timezone.now())


def test_a_start_costs_no_more_with_many_rows(
    turn: Turn, node: Node, request_sh: Any, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    for number in range(10):
        request_sh("exec sleep 100", f"start/{number}")
    with django_assert_max_num_queries(10 * 6 + 10):  # per start: begin, change, lock, event, notify, commit
        turn.tick()
    assert Process.objects.filter(state=ProcessState.RUNNING).count() == 10


# -- environment and files


def test_environments(node: Node, request_sh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAIA_DATABASE_PASSWORD", "hunter2-secret")
    monkeypatch.setenv("LC_TIME", "C")
    clean = environment_of(request_sh("true", env={"PORT": "8080"}))
    assert clean["PORT"] == "8080"
    assert clean["LC_TIME"] == "C"
    assert clean["PATH"] == os.environ["PATH"]
    assert not [name for name in clean if name.startswith(("GAIA_", "DJANGO_"))]
    own = environment_of(request_sh("true", "test/two", env_base=EnvironmentBase.GAIA))
    assert own["GAIA_DATABASE_PASSWORD"] == "hunter2-secret"


def test_journals_of_past_days_go_when_nobody_needs_them(node: Node, request_sh: Any) -> None:
    folder = gaia_home().processes
    old, used = folder / "journal-2020-01-01", folder / "journal-2020-01-02"
    for path in (old, used):
        path.touch()
    request_sh("true", journal=used)
    today = request_sh("true", "test/two")
    Path(today.journal).touch()
    remove_old_journals()
    assert not old.exists()
    assert used.exists()
    assert journal_of_today() != Path(today.journal)
    assert Path(today.journal).exists()


def test_a_stop_that_finds_no_descriptor_goes_on(
    turn: Turn, request_sh: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    process = request_sh("exec sleep 100")
    turn.tick()
    real, errors = stops.Census, [OSError(24, "Too many open files")]

    def sometimes(since: int = 0) -> stops.Census:
        if errors:
            raise errors.pop()
        return real(since)

    monkeypatch.setattr(stops, "Census", sometimes)
    actions.request_stop(process)
    turn.tick()
    process.refresh_from_db()
    assert process.state == ProcessState.EXITED
    assert [record.message for record in caplog.records] == ["stops: OSError: [Errno 24] Too many open files"]
