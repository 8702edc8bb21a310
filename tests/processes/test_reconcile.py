"""What the reconciler does with one row after the other, with real processes and a clock of the test's."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.db.models import F
from django.utils import timezone

from common.home import gaia_home
from common.locks import lock_held
from events.models import Event
from processes.actions import harvest
from processes.actions import processes as actions
from processes.actions.stopping import stop_process
from processes.drivers import spawn
from processes.drivers.liveness import Identity, boot_id
from processes.drivers.liveness import identify as identify_pid
from processes.models import Node, Process
from processes.reconcile import ProcessReconciler, environment_of, remove_old_journals
from processes.states import EnvironmentBase, ProcessState
from tests.processes.conftest import Until, journal_of_today, running

pytestmark = pytest.mark.usefixtures("leave_nothing")


class Turn:
    """A reconciler whose daemon is the test: it is told of ends when the test says so, and has time when it says so."""

    def __init__(self, node: Node) -> None:
        self.now = 1000.0
        self.watched: dict[int, Identity] = {}
        self.reconciler = ProcessReconciler(node, self._watch, self._aside, lambda: self.now)

    def _watch(self, identity: Identity, process_id: int) -> None:
        self.watched[process_id] = identity

    def _aside(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        then(work())

    def tick(self) -> None:
        self.reconciler.tick()

    def wait_for_end(self, process: Process) -> Process:
        """Reap the shim as the daemon's watcher does, and tell the reconciler."""
        _, status = os.waitpid(self.watched[process.pk].pid, 0)
        self.reconciler.ended(process.pk, os.waitstatus_to_exitcode(status))
        process.refresh_from_db()
        return process


@pytest.fixture
def turn(node: Node) -> Turn:
    return Turn(node)


@pytest.fixture
def successor(node: Node) -> Callable[[], Turn]:
    """A reconciler that knows nothing, as that of a daemon after a kill -9."""
    return lambda: Turn(node)


@contextmanager
def read_only() -> Iterator[None]:
    """A database that refuses every write, as on a full disk."""
    sqlite = connection.vendor == "sqlite"
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA query_only=ON" if sqlite else "SET default_transaction_read_only=on")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA query_only=OFF" if sqlite else "SET default_transaction_read_only=off")


@pytest.fixture
def full_journal(tmp_path: Path) -> Path:
    """A journal that no shim can write."""
    path = tmp_path / "journal"
    path.symlink_to(tmp_path / "gone" / "journal")
    return path


def kinds(owner: str = "test/one") -> list[str]:
    return list(Event.objects.filter(subject=owner).order_by("id").values_list("kind", flat=True))


def spawn_unnoticed(process: Process, **changes: Any) -> spawn.Spawned:
    """Start what the row tells of, and be killed before it could be written down."""
    fields: dict[str, Any] = {
        "argv": tuple(process.argv),
        "cwd": Path(process.cwd),
        "env": {"PATH": os.environ["PATH"]},
        "log": Path(process.log),
        "lock": Path(process.lock),
        "journal": Path(process.journal),
        "token": process.token,
    }
    return spawn.spawn(spawn.Spec(**{**fields, **changes}))


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


def reap_one() -> bool:
    """Reap a child; whether there are more."""
    try:
        os.waitpid(-1, 0)
    except ChildProcessError:
        return False
    return True


def test_stopped_before_it_started(turn: Turn, request_sh: Any, tmp_path: Path) -> None:
    process = request_sh("touch ran")
    actions.request_stop(process)
    turn.tick()
    process.refresh_from_db()
    assert (process.state, process.problem) == (ProcessState.NOT_STARTED, "it was stopped before it started")
    assert turn.watched == {}
    assert not (tmp_path / "ran").exists()


# -- killed between spawning and writing it down


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


# -- the database refuses to be written


def test_spawned_and_not_written_down(turn: Turn, request_sh: Any, full_journal: Path) -> None:
    """It runs although the row cannot say so; once it can, it says so, and nothing was started twice."""
    process = request_sh("echo x >>ran; exec sleep 100", journal=full_journal)
    with read_only():
        turn.tick()
        turn.now += 100
        turn.tick()
    process.refresh_from_db()
    assert process.state == ProcessState.STARTING
    turn.now += 100
    turn.tick()
    process.refresh_from_db()
    assert process.state == ProcessState.RUNNING
    assert running(process.pid)


def test_ended_and_not_written_down(turn: Turn, request_sh: Any, full_journal: Path) -> None:
    """Neither the database nor the journal took it; the code that waiting gave is not lost."""
    process = request_sh("exit 9", journal=full_journal)
    turn.tick()
    with read_only():
        turn.wait_for_end(process)
        assert process.state == ProcessState.RUNNING
        turn.now += 100
        turn.tick()
    turn.now += 100
    turn.tick()
    process.refresh_from_db()
    assert (process.state, process.exit_code, process.exit_source) == (ProcessState.EXITED, 9, "wait")


def test_a_database_that_cannot_be_written_is_said(
    turn: Turn, request_sh: Any, caplog: pytest.LogCaptureFixture
) -> None:
    request_sh("exec sleep 100")
    with read_only():
        for _ in range(60):
            turn.now += 1
            turn.tick()
    told = [record for record in caplog.records if record.name == "processes.reconcile"]
    assert "next try in 1 s: " in told[0].message
    assert len(told) <= 7, "later and later: 1, 2, 4, 8, 16, 32 s"
    assert not any(record.exc_info for record in told), "it is no defect"


# -- adoption and harvest


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
        with django_assert_max_num_queries(8):
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


def test_the_database_is_really_refused() -> None:
    """`read_only` would make tests pass that test nothing."""
    with read_only(), pytest.raises(DatabaseError):
        Node.objects.create(name="refused")
