"""The daemon as a process: killed at any moment, it loses nothing and starts nothing twice."""

from __future__ import annotations

import os
import random
import resource
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from events.models import Event
from processes.actions import processes as actions
from processes.actions.nodes import daemon_runs
from processes.models import Node, Process
from processes.states import ProcessState
from tests import waiting
from tests.processes.conftest import Daemon, Until, running


def state(process: Process) -> str:
    process.refresh_from_db()
    return process.state


def test_starts_watches_and_writes_the_end_down(daemon: Daemon, request_sh: Any, until: Until) -> None:
    """By being told, not by looking once a second: it has been asked before and after it began."""
    before = request_sh("exit 3", "test/before")
    pid = daemon.start()
    after = request_sh("exit 0", "test/after")
    until(lambda: state(before) == state(after) == ProcessState.EXITED)
    assert (before.exit_code, after.exit_code) == (3, 0)
    assert before.exit_source == after.exit_source == "wait"
    node = Node.objects.get()
    assert (node.daemon_pid, node.heartbeat_at is not None) == (pid, True)
    assert set(Event.objects.filter(kind="process.exited").values_list("actor", flat=True)) == {f"node:{node.name}"}


def test_stop(daemon: Daemon, request_sh: Any, until: Until, tmp_path: Path) -> None:
    process = request_sh(
        "trap '' TERM; (setsid sh -c 'trap \"\" TERM; echo $$ >grandchild; while :; do sleep 100; done' &);"
        " while :; do sleep 100; done",
        stop_grace=0.1,
    )
    daemon.start()
    grandchild = int(until(lambda: (tmp_path / "grandchild").exists() and (tmp_path / "grandchild").read_text()))
    until(lambda: state(process) == ProcessState.RUNNING)
    actions.request_stop(process)
    until(lambda: state(process) == ProcessState.EXITED)
    assert process.exit_code == 137
    assert not running(grandchild)


def test_fifty_are_stopped_at_once(daemon: Daemon, request_sh: Any, until: Until) -> None:
    """One that takes its time to end keeps nobody waiting."""
    slow = request_sh("trap '' TERM; while :; do sleep 100; done", "test/slow", stop_grace=100.0)
    others = [request_sh("exec sleep 100", f"test/{number}") for number in range(50)]
    daemon.start()
    until(lambda: Process.objects.filter(state=ProcessState.RUNNING).count() == 51)
    for process in (slow, *others):
        actions.request_stop(process)
    until(lambda: Process.objects.filter(state=ProcessState.EXITED).count() == 50)
    assert state(slow) == ProcessState.STOPPING
    assert Event.objects.filter(kind="process.stopped").count() == 50


def test_port_conflict(daemon: Daemon, request_sh: Any, until: Until) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        process = request_sh("true", port=stranger.getsockname()[1])
        daemon.start()
        until(lambda: state(process) == ProcessState.NOT_STARTED)
    assert f"(pid {os.getpid()})" in process.problem


def test_ends_and_leaves_everything_running(daemon: Daemon, request_sh: Any, until: Until) -> None:
    process = request_sh("exec sleep 100")
    daemon.start()
    until(lambda: state(process) == ProcessState.RUNNING)
    assert daemon.stop() == 0
    assert not daemon_runs()
    assert running(process.pid)
    assert Node.objects.get().daemon_pid is None
    assert Event.objects.filter(kind="node.stopped").count() == 1


def test_ends_though_something_is_being_stopped(daemon: Daemon, request_sh: Any, until: Until) -> None:
    process = request_sh("trap '' TERM; while :; do sleep 100; done", stop_grace=1000.0)
    daemon.start()
    until(lambda: state(process) == ProcessState.RUNNING)
    actions.request_stop(process)
    until(lambda: state(process) == ProcessState.STOPPING)
    assert daemon.stop() == 0
    Process.objects.filter(pk=process.pk).update(stop_grace=0)
    daemon.start()
    until(lambda: state(process) == ProcessState.EXITED)


def test_there_is_one(daemon: Daemon, tmp_path: Path) -> None:
    daemon.start()
    second = Daemon(tmp_path / "second.log")
    with pytest.raises(AssertionError, match="already being worked on by pid"):
        second.start()


def test_killed_and_started_again(daemon: Daemon, request_sh: Any, until: Until, tmp_path: Path) -> None:
    """What runs is adopted within 5 s and followed from then on; what ended meanwhile has its true code."""
    lives = request_sh("while ! [ -e go ]; do sleep 0.01; done; exit 6", "test/lives")
    ends = request_sh("while ! [ -e end ]; do sleep 0.01; done; exit 7", "test/ends")
    killed = request_sh("while ! [ -e end ]; do sleep 0.01; done; kill -KILL $$", "test/killed")
    daemon.start()
    until(lambda: Process.objects.filter(state=ProcessState.RUNNING).count() == 3)
    daemon.kill()
    (tmp_path / "end").touch()
    for process in (ends, killed):
        assert state(process) == ProcessState.RUNNING
        until(lambda process=process: not running(process.pid))
    asked = request_sh("exit 8", "test/asked-meanwhile")
    pid = Process.objects.get(pk=lives.pk).pid
    daemon.start()
    waiting.until(lambda: Event.objects.filter(kind="node.adopted").exists(), seconds=5)
    assert Event.objects.get(kind="node.adopted").data == {"adopted": 1, "ended": 2}
    assert [state(process) for process in (lives, ends, killed)] == ["running", "exited", "exited"]
    assert [process.exit_code for process in (lives, ends, killed)] == [None, 7, 137]
    assert {process.exit_source for process in (ends, killed)} == {"journal"}
    assert lives.pid == pid
    until(lambda: state(asked) == ProcessState.EXITED)
    (tmp_path / "go").touch()
    until(lambda: state(lives) == ProcessState.EXITED)
    assert lives.exit_code == 6
    assert lives.exit_source in {"pidfd", "journal"}


def test_nothing_can_be_written_for_a_while(daemon: Daemon, request_sh: Any, until: Until, tmp_path: Path) -> None:
    """As on a full disk, every write of the daemon to a file fails; when that is over it makes up for it by itself."""
    process = request_sh("while ! [ -e end ]; do sleep 0.01; done; exit 9")
    daemon.start()
    until(lambda: state(process) == ProcessState.RUNNING)
    _, hard = resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (0, hard))
    (tmp_path / "end").touch()
    until(lambda: not running(process.pid))
    if connection.vendor == "sqlite":
        assert state(process) == ProcessState.RUNNING
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (hard, hard))
    until(lambda: state(process) == ProcessState.EXITED)
    assert (process.exit_code, process.exit_source) == (9, "wait")
    assert [event.kind for event in Event.objects.filter(subject="test/one").order_by("id")] == [
        "process.requested",
        "process.started",
        "process.exited",
    ]


def test_killed_at_random_moments_everything_runs_once(
    daemon: Daemon, request_sh: Any, until: Until, tmp_path: Path
) -> None:
    """Between the row and the spawn, between the spawn and the row, while it harvests: wherever it is."""
    dice = random.Random(os.environ.get("CHAOS_SEED", "processes"))
    asked: list[Process] = []
    for round_ in range(8):
        asked += [
            request_sh(f"echo x >>ran-{round_}-{number}; exit {number}", f"test/{round_}-{number}")
            for number in range(6)
        ]
        daemon.start()
        time.sleep(dice.uniform(0, 0.06))
        daemon.kill()
    daemon.start()
    until(lambda: not Process.objects.active().exists())
    for process in asked:
        assert state(process) == ProcessState.EXITED, process.problem
        number = process.owner.removeprefix("test/")
        assert (tmp_path / f"ran-{number}").read_text() == "x\n", f"{number} ran more than once"
        assert process.exit_code == int(number.rpartition("-")[2])
        kinds = list(Event.objects.filter(subject=process.owner).order_by("id").values_list("kind", flat=True))
        assert kinds[0] == "process.requested"
        assert kinds[-1] == "process.exited"
        assert len(kinds) == len(set(kinds)), kinds


def test_its_files_are_its_own(daemon: Daemon, request_sh: Any, until: Until) -> None:
    """Neither the database nor the daemon's lock is open in what it starts."""
    process = request_sh("exec sleep 100")
    daemon.start()
    until(lambda: state(process) == ProcessState.RUNNING)
    [command] = until(
        lambda: [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    )
    until(lambda: Path(f"/proc/{command}/comm").read_text() == "sleep\n")
    shim = {name: os.readlink(f"/proc/{process.pid}/fd/{name}") for name in os.listdir(f"/proc/{process.pid}/fd")}
    assert shim.pop("9") == process.lock
    assert set(shim) <= {"0", "1", "2", "10"}, shim  # 10: the shell's own copy of its script
    assert set(os.listdir(f"/proc/{command}/fd")) == {"0", "1", "2"}
    assert os.readlink(f"/proc/{command}/fd/0") == "/dev/null"


def test_its_connections_are_few(daemon: Daemon, request_sh: Any, until: Until) -> None:
    """Whoever waits for a process to end holds none."""
    processes = [
        request_sh("trap '' TERM; while :; do sleep 100; done", f"test/{number}", stop_grace=100.0)
        for number in range(20)
    ]
    daemon.start()
    until(lambda: Process.objects.filter(state=ProcessState.RUNNING).count() == 20)
    for process in processes:
        actions.request_stop(process)
    until(lambda: Process.objects.filter(state=ProcessState.STOPPING).count() == 20)
    assert connections_of(daemon.pid) <= 4


def connections_of(pid: int) -> int:
    """How many connections to the database a process has: open database files, or sockets of PostgreSQL."""
    targets = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            targets.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:
            continue
    files = sum(target.endswith(".sqlite3") for target in targets)
    if files:
        return files
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        return int(cursor.fetchone()[0]) - 1
