"""What services, agents and workflow steps may rely on of a process, however this system deals with processes.

Start, watch, adopt, harvest, stop, limits: driven as the node's daemon drives them, on rows, with real processes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from common.errors import Conflict
from common.locks import lock_held
from processes.actions import processes as actions
from processes.actions.harvest import identity_of
from processes.keeping import LimitKeeper
from processes.models import Node, Process
from processes.reconcile import ProcessReconciler
from processes.samples import Sampler
from processes.states import ProcessState, StopCause
from tests.contracts.machines import MACHINES, Watching, machine
from tests.live import ROOT
from tests.processes.conftest import Until, running

pytestmark = pytest.mark.usefixtures("leave_nothing")


class Daemon:
    """What drives processes, with a watcher of its own; the test is its database thread."""

    def __init__(self, of: Node) -> None:
        self.node = of
        self.watching = Watching()
        self.seconds = 1000.0
        self.watched: dict[int, Callable[[], list[Any]]] = {}
        self.reconciler = ProcessReconciler(of, self._watch, lambda work, then: then(work()))

    def _watch(self, identity: Any, process_id: int) -> None:
        self.watched[process_id] = self.watching.watch(identity)

    def turn(self) -> None:
        """One turn: what ended is told of, and every row looked at."""
        for pk, told in list(self.watched.items()):
            if told():
                ended = told()[0]
                del self.watched[pk]
                self.reconciler.ended(pk, ended.code, ended.source)
        self.reconciler.tick()

    def close(self) -> None:
        self.watching.close()


@pytest.fixture(params=MACHINES, autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with machine(request.param, monkeypatch) as name:
        yield name


@pytest.fixture
def daemons(way: str, node: Node) -> Iterator[Callable[[], Daemon]]:
    """Daemons, each of which knows nothing of the one before."""
    made: list[Daemon] = []

    def make() -> Daemon:
        made.append(Daemon(node))
        return made[-1]

    yield make
    for daemon in made:
        daemon.close()


@pytest.fixture
def daemon(daemons: Callable[[], Daemon]) -> Daemon:
    return daemons()


@pytest.fixture
def reach(until: Until) -> Callable[..., Process]:
    """Let a daemon work until a process is in that state."""

    def wait(daemon: Daemon, process: Process, state: ProcessState = ProcessState.EXITED) -> Process:
        def there() -> bool:
            daemon.turn()
            process.refresh_from_db()
            return process.state == state

        until(there)
        return process

    return wait


# -- start and watch


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137)])
def test_its_end_is_told_once_with_its_code(
    daemon: Daemon,
    request_sh: Any,
    reach: Any,
    script: str,
    code: int,
) -> None:
    process = reach(daemon, request_sh(script))
    assert (process.exit_code, process.exit_source) == (code, "wait")
    assert [len(told) for told in daemon.watching.told.values()] == [1]


def test_what_it_writes_is_kept_and_it_reads_nothing(
    daemon: Daemon,
    request_sh: Any,
    reach: Any,
    tmp_path: Path,
) -> None:
    process = reach(daemon, request_sh("pwd; echo $COLOUR; cat; echo aside >&2", env={"COLOUR": "blue"}))
    assert Path(process.log).read_text().splitlines() == [str(tmp_path.resolve()), "blue", "aside"]


def test_there_is_one_at_a_time(daemon: Daemon, request_sh: Any, reach: Any) -> None:
    process = request_sh("exec sleep 100")
    with pytest.raises(Conflict):
        request_sh("true")
    reach(daemon, process, ProcessState.RUNNING)
    assert lock_held(Path(process.lock))
    actions.request_stop(process)
    reach(daemon, process)
    assert not lock_held(Path(process.lock))
    assert request_sh("true").attempt == 2


def test_dies_at_once(daemon: Daemon, request_sh: Any, reach: Any) -> None:
    """Before anybody watches it."""
    for attempt in range(1, 6):
        process = reach(daemon, request_sh(f"exit {attempt}"))
        assert (process.exit_code, process.attempt) == (attempt, attempt)


# -- adopt and harvest


def test_lives_through_a_change_of_daemons(
    daemons: Callable[[], Daemon],
    request_sh: Any,
    reach: Any,
    tmp_path: Path,
) -> None:
    """The next one follows it as its own: nothing is started again, and the end is known."""
    process = request_sh("echo x >>starts; while [ ! -e go ]; do sleep 0.01; done; exit 6")
    first = reach(daemons(), process, ProcessState.RUNNING)
    second = daemons()
    second.turn()
    process.refresh_from_db()
    assert (process.pid, process.state) == (first.pid, ProcessState.RUNNING)
    (tmp_path / "go").touch()
    assert reach(second, process).exit_code == 6
    assert (tmp_path / "starts").read_text() == "x\n"


_PREDECESSOR = """
import os, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from processes.drivers.spawn import Spec, spawn
spawned = spawn(Spec(argv=("/bin/sh", "-c", {script!r}), cwd=Path({cwd!r}), env={{"PATH": os.environ["PATH"]}},
    log=Path({log!r}), lock=Path({lock!r}), journal=Path({journal!r}), token={token!r}))
print(spawned.pid, flush=True)
os.kill(os.getpid(), 9)
"""


def predecessor(process: Process, script: str) -> int:
    """Start what the row tells of in another process, which is killed right then: nobody's child any more."""
    names = {name: str(getattr(process, name)) for name in ("cwd", "log", "lock", "journal", "token")}
    program = _PREDECESSOR.format(root=str(ROOT), script=script, **names)
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    return int(done.stdout)


def test_one_that_a_killed_daemon_started_is_found(
    daemon: Daemon,
    request_sh: Any,
    reach: Any,
    until: Until,
    tmp_path: Path,
) -> None:
    script = "touch up; while [ ! -e go ]; do sleep 0.01; done; exit 5"
    process = request_sh(script)
    pid = predecessor(process, script)
    until((tmp_path / "up").exists)
    reach(daemon, process, ProcessState.RUNNING)
    assert process.pid == pid
    (tmp_path / "go").touch()
    reach(daemon, process)
    assert process.exit_code == 5
    assert process.exit_source in ("pidfd", "journal")


def test_one_that_ended_while_nobody_looked(daemon: Daemon, request_sh: Any, reach: Any, until: Until) -> None:
    process = request_sh("exit 4")
    pid = predecessor(process, "exit 4")
    until(lambda: not running(pid))
    reach(daemon, process)
    assert (process.exit_code, process.exit_source) == (4, "journal")


def test_one_whose_shim_was_killed_is_lost_and_leaves_nothing(
    daemon: Daemon,
    request_sh: Any,
    reach: Any,
    until: Until,
    tmp_path: Path,
) -> None:
    process = request_sh("echo $$ >command; exec sleep 100")
    reach(daemon, process, ProcessState.RUNNING)
    command = int(until(lambda: (tmp_path / "command").exists() and (tmp_path / "command").read_text()))
    os.kill(process.pid or 0, signal.SIGKILL)
    reach(daemon, process, ProcessState.LOST)
    assert not running(command)


# -- stop


def test_stop_leaves_nothing_in_other_groups_and_sessions(
    daemon: Daemon,
    request_sh: Any,
    reach: Any,
    until: Until,
    tmp_path: Path,
) -> None:
    """It ignores TERM, and so does what it started in a session of its own."""
    stubborn = "trap '' TERM; echo $$ >{}; while :; do sleep 100; done"
    far = stubborn.format("far").replace("''", '""')
    process = request_sh(f"setsid sh -c '{far}' & {stubborn.format('near')}", stop_grace=0.1)
    reach(daemon, process, ProcessState.RUNNING)
    pids = [int(until(lambda name=name: read(tmp_path / name))) for name in ("far", "near")]
    actions.request_stop(process)
    reach(daemon, process)
    assert (process.exit_code, process.cause) == (137, StopCause.ASKED)
    assert not any(running(pid) for pid in pids)


def test_stop_lets_it_tidy_up(daemon: Daemon, request_sh: Any, reach: Any, until: Until, tmp_path: Path) -> None:
    process = request_sh("trap 'echo tidied; exit 3' TERM; touch up; while :; do sleep 0.01; done", stop_grace=60)
    reach(daemon, process, ProcessState.RUNNING)
    until((tmp_path / "up").exists)
    actions.request_stop(process)
    assert reach(daemon, process).exit_code == 3
    assert Path(process.log).read_text().endswith("tidied\n")


def test_what_goes_into_the_background_is_ended_with_it(
    daemon: Daemon,
    request_sh: Any,
    reach: Any,
    until: Until,
    tmp_path: Path,
) -> None:
    """A program that forks away leaves GAIA nothing to watch: it counts as ended, and the rest of it is."""
    process = request_sh(
        "setsid sh -c 'echo $$ >far; exec sleep 100' & while [ ! -s far ]; do sleep 0.01; done; exit 0"
    )
    reach(daemon, process)
    assert process.exit_code == 0
    assert not running(int((tmp_path / "far").read_text()))


def test_many_are_stopped_together(daemon: Daemon, request_sh: Any, until: Until) -> None:
    processes = [request_sh("exec sleep 100", f"test/{number}") for number in range(10)]
    daemon.turn()
    assert len(actions.request_stop_many(processes)) == 10
    assert actions.request_stop_many(processes) == []

    def all_ended() -> bool:
        daemon.turn()
        return not Process.objects.active().exists()

    until(all_ended)
    assert set(Process.objects.values_list("exit_code", flat=True)) == {143}


def test_stop_spares_whoever_has_the_pid_now(daemon: Daemon, request_sh: Any, reach: Any) -> None:
    stranger = subprocess.Popen(["sleep", "100"], start_new_session=True)
    time.sleep(0.03)  # begins are told in hundredths of a second, and nothing else tells these two apart
    try:
        process = reach(daemon, request_sh("exec sleep 100"), ProcessState.RUNNING)
        mine = identity_of(process)
        Process.objects.filter(pk=process.pk).update(pid=stranger.pid)
        actions.request_stop(process)
        reach(daemon, process)
        assert stranger.poll() is None
        assert not psutil.pid_exists(mine.pid) or not running(mine.pid)
    finally:
        stranger.kill()
        stranger.wait()


# -- limits

_EATS = "x = b'x' * 50_000_000; open('up', 'w').close(); import time; time.sleep(100)"


def test_open_files_are_limited(daemon: Daemon, request_sh: Any, reach: Any) -> None:
    process = reach(daemon, request_sh("ulimit -n", limits={"open_files": 40}))
    assert Path(process.log).read_text() == "40\n"
    assert process.enforcement == {"open_files": "rlimit"}


@pytest.mark.parametrize(
    ("limits", "script", "cause"),
    [
        ({"memory_mb": 30}, f'exec python3 -c "{_EATS}"', "memory"),
        ({"run_time_s": 50}, "touch up; exec sleep 100", "run_time"),
        ({"quiet_s": 50}, "touch up; exec sleep 100", "quiet"),
    ],
    ids=["memory", "run_time", "quiet"],
)  # fmt: skip
def test_beyond_a_limit_it_is_stopped_and_says_why(
    daemon: Daemon, node: Node, request_sh: Any, reach: Any, until: Until, tmp_path: Path,
    limits: dict[str, Any], script: str, cause: str,
) -> None:  # fmt: skip
    process = request_sh(script, limits=limits)
    reach(daemon, process, ProcessState.RUNNING)
    until((tmp_path / "up").exists)
    seconds = [1000.0]
    sampler = Sampler(node, lambda: seconds[0])
    sampler._keeper = LimitKeeper(lambda: seconds[0], lambda _: seconds[0] - 1000)
    sampler.turn()
    seconds[0] += 60
    sampler.turn()
    reach(daemon, process)
    assert process.cause == cause


def test_what_it_uses_is_measured(daemon: Daemon, node: Node, request_sh: Any, reach: Any, until: Until) -> None:
    process = reach(daemon, request_sh("while :; do :; done"), ProcessState.RUNNING)
    sampler = Sampler(node)

    def works() -> bool:
        sampler._all_at = 0.0
        sampler.turn()
        seen = sampler._seen.get(process.owner)
        return bool(seen) and seen[-1].cpu > 1 and seen[-1].memory > 100_000

    until(works)


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
