"""The process table: /proc and psutil give the same answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from processes.drivers.table import ProcTable, PsutilTable, Table, table
from tests.processes.drivers.conftest import Place, Until


@pytest.fixture(params=[ProcTable, PsutilTable])
def each(request: pytest.FixtureRequest) -> Table:
    made: Table = request.param()
    return made


def test_a_process_and_where_it_belongs(each: Table, place: Place, until: Until) -> None:
    _, spawned = place.sh("echo $$ >command; exec sleep 100")
    command = until(lambda: place.pid_in("command"))
    shim, row = each.row(spawned.pid), each.row(command)
    assert shim is not None
    assert row is not None
    assert (shim.parent, row.parent) == (os.getpid(), shim.pid)
    assert {shim.group, shim.session, row.group, row.session} == {shim.pid}
    assert not shim.dead
    assert row.start_ticks >= shim.start_ticks
    assert {spawned.pid, command} <= set(each.pids())


def test_environment_and_command_line(each: Table, place: Place, until: Until) -> None:
    spec = place.spec("sleep", "100", env={"PATH": os.environ["PATH"], "A": "x=y z"})
    spawned = place.start(spec)
    until(lambda: each.command_line(spawned.pid))  # empty for the moment in which a program takes a process over
    environment = (each.environment(spawned.pid) or b"").split(b"\0")
    assert {b"A=x=y z", b"GAIA_ATTEMPT_TOKEN=" + spec.token.encode()} <= set(environment)
    assert each.command_line(spawned.pid).split(b"\0")[-3:] == [b"sleep", b"100", b""]


def test_nobody(each: Table) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert each.row(process.pid) is None
    assert each.environment(process.pid) is None
    assert each.command_line(process.pid) == b""


def test_start_time_stays_the_same(each: Table) -> None:
    first = each.row(os.getpid())
    again = type(each)().row(os.getpid())
    assert first is not None
    assert again is not None
    assert first.start_ticks == again.start_ticks


def test_boot_has_a_name(each: Table) -> None:
    assert each.boot_id()
    assert each.boot_id() == each.boot_id()


def test_linux_has_its_own() -> None:
    assert isinstance(table(), ProcTable) == Path("/proc/self/stat").exists()


def test_main_thread_that_ended_while_others_go_on_is_no_death(until: Until) -> None:
    script = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=time.sleep, args=(100,)).start()\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
        row = ProcTable().row(process.pid)
        process.kill()
        assert row is not None
        assert not row.dead
