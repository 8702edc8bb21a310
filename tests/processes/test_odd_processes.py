"""Programs that do not behave. Also: `test_keeping` (eats memory, burns CPU), `test_full_disk` (floods its log)."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from processes.actions import processes as actions
from processes.models import Process
from processes.states import ProcessState
from tests.processes.conftest import Until, running
from tests.processes.turns import Turn, kinds

pytestmark = pytest.mark.usefixtures("leave_nothing")

_DAEMONISES = """
import os, signal, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.chdir("/"); os.closerange(0, 64)
with open(sys.argv[1] + ".new", "w") as file: file.write(f"{os.getpid()}\\n")
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(100)
"""
_LISTENS = """
import os, signal, socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open("far.new", "w") as file: file.write(f"{os.getpid()}\\n")
    os.rename("far.new", "far")
time.sleep(100)
"""


@pytest.fixture
def python(tmp_path: Path, turn: Turn, request_sh: Any) -> Callable[..., Process]:
    """Start a Python program under the reconciler."""

    def start(program: str, *words: object, **changes: Any) -> Process:
        (tmp_path / "program.py").write_text(program)
        process: Process = request_sh(f"exec python3 program.py {' '.join(map(str, words))}", **changes)
        turn.tick()
        process.refresh_from_db()
        return process

    return start


def test_forks_away(turn: Turn, python: Any, until: Until, tmp_path: Path) -> None:
    """A daemon of the old school: its command ends at once, so it counts as ended, and the daemon goes with it."""
    process = python(_DAEMONISES, tmp_path / "pid")
    pid = int(until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    turn.wait_for_end(process)
    assert (process.state, process.exit_code) == (ProcessState.EXITED, 0)
    assert not running(pid)
    [ended] = [kind for kind in kinds() if kind == "process.exited"]
    assert ended


def test_holds_its_port(turn: Turn, python: Any, until: Until, tmp_path: Path) -> None:
    """A child in a session of its own has the listening socket and ignores TERM: the next start gets the port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = python(_LISTENS, port, port=port, stop_grace=0.2)
    far = int(until(lambda: (tmp_path / "far").exists() and (tmp_path / "far").read_text()))
    os.kill(far, 0)
    actions.request_stop(process)
    turn.tick()
    process.refresh_from_db()
    assert (process.state, process.problem) == (ProcessState.EXITED, "")
    assert not running(far)
    (tmp_path / "far").unlink()
    second = python(_LISTENS, port, port=port)
    assert (second.state, second.attempt) == (ProcessState.RUNNING, 2)
    until((tmp_path / "far").exists)


def test_holds_its_port_after_a_crash(turn: Turn, python: Any, until: Until, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = python(_LISTENS, port, port=port)
    far = int(until(lambda: (tmp_path / "far").exists() and (tmp_path / "far").read_text()))
    [command] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(command), signal.SIGKILL)
    turn.wait_for_end(process)
    assert (process.state, process.exit_code) == (ProcessState.EXITED, 137)
    assert not running(far)
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_stopped_by_a_signal_of_its_own(turn: Turn, request_sh: Any, until: Until, tmp_path: Path) -> None:
    """It has stopped itself (as on Ctrl-Z): TERM alone would wait for ever."""
    process = request_sh("trap 'exit 3' TERM; touch up; kill -STOP $$; while :; do sleep 0.01; done", stop_grace=60)
    turn.tick()
    until((tmp_path / "up").exists)
    actions.request_stop(process)
    turn.tick()
    process.refresh_from_db()
    assert (process.state, process.exit_code) == (ProcessState.EXITED, 3)


def test_kills_its_own_shim(turn: Turn, request_sh: Any, until: Until, tmp_path: Path) -> None:
    """What it did is not known then, and nothing of it is left."""
    process = request_sh("echo $$ >pid; kill -9 $PPID; sleep 100")
    turn.tick()
    pid = int(until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    turn.wait_for_end(process)
    assert (process.state, process.exit_code) == (ProcessState.LOST, None)
    assert "its shim was killed" in process.problem
    assert not running(pid)
