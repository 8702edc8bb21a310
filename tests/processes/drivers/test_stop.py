"""Stopping: everybody is asked, then killed, nobody is forgotten, no stranger is touched."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from common.locks import lock_held
from processes.drivers import journal, liveness
from processes.drivers import stop as stopping
from processes.drivers.spawn import Spawned, Spec
from processes.drivers.stop import StopReport, stop
from processes.drivers.table import PsutilTable
from tests.processes.drivers.conftest import Place, Until

LONG = 60.0  # seconds of grace that a test never waits for
SHORT = 0.2


def reaping(spawned: Spawned) -> threading.Thread:
    """Reaps the shim as the daemon's watcher does."""
    thread = threading.Thread(target=lambda: os.waitpid(spawned.pid, 0))
    thread.start()
    return thread


def halt(spec: Spec, spawned: Spawned, grace: float) -> StopReport:
    reaper = reaping(spawned)
    report = stop(spawned.identity, token=spec.token, grace=grace)
    reaper.join()
    assert not lock_held(spec.lock)
    assert liveness.members(spawned.pid, spec.token) == []
    return report


def test_command_that_ends_when_asked(place: Place, until: Until) -> None:
    spec, spawned = place.sh("touch up; exec sleep 100")
    until(lambda: place.exists("up"))
    assert halt(spec, spawned, LONG) == StopReport(ended=True, killed=(), survivors=())
    assert place.code(spec.token) == 143


def test_stop_during_the_start_is_not_swallowed(place: Place) -> None:
    """The shim handles TERM; one that arrives before it has forked the command must not be lost."""
    for _ in range(30):
        spec = place.spec("sleep", "100")
        assert halt(spec, place.start(spec), LONG).killed == ()
        begun = journal.records(place.journal)  # it may have been asked before it had begun
        assert place.code(spec.token) == 143 or spec.token not in begun


def test_command_that_tidies_up_first(place: Place, until: Until) -> None:
    spec, spawned = place.sh("trap 'touch tidy; exit 3' TERM; touch up; while :; do sleep 0.01; done")
    until(lambda: place.exists("up"))
    assert halt(spec, spawned, LONG).killed == ()
    assert place.exists("tidy")
    assert place.code(spec.token) == 3


def test_programs_that_the_tidying_starts_are_not_asked_to_end(place: Place, until: Until) -> None:
    spec, spawned = place.sh(
        "trap 'sh -c \"sleep 0.5; touch tidy\"; exit 0' TERM; touch up; while :; do sleep 0.01; done"
    )
    until(lambda: place.exists("up"))
    assert halt(spec, spawned, LONG).killed == ()
    assert place.exists("tidy")


def test_command_that_ignores_term_is_killed_and_the_shim_notes_it(place: Place, until: Until) -> None:
    spec, spawned = place.sh("trap '' TERM; echo $$ >command; while :; do sleep 0.01; done")
    command = until(lambda: place.pid_in("command"))
    report = halt(spec, spawned, SHORT)
    assert report.ended
    assert command in report.killed
    assert spawned.pid not in report.killed
    assert place.code(spec.token) == 137


def test_daemonised_grandchild_is_asked_once_the_group_has_gone(place: Place, until: Until) -> None:
    spec, spawned = place.sh(
        "setsid sh -c 'trap \"touch tidy; exit\" TERM; touch up; while :; do sleep 0.01; done' & exec sleep 100"
    )
    until(lambda: place.exists("up"))
    assert halt(spec, spawned, LONG).killed == ()
    assert place.exists("tidy")


def test_daemonised_grandchild_that_ignores_it_is_killed(place: Place, until: Until) -> None:
    spec, spawned = place.sh("setsid sh -c 'trap \"\" TERM; echo $$ >fled; exec sleep 100' & exec sleep 100")
    fled = until(lambda: place.pid_in("fled"))
    report = halt(spec, spawned, SHORT)
    assert report == StopReport(ended=True, killed=(fled,), survivors=())


def test_command_in_a_session_of_its_own_is_asked(place: Place, until: Until) -> None:
    spec = place.spec("setsid", "sh", "-c", "trap 'touch tidy; exit 4' TERM; touch up; while :; do sleep 0.01; done")
    spawned = place.start(spec)
    until(lambda: place.exists("up"))
    assert halt(spec, spawned, LONG).killed == ()
    assert place.code(spec.token) == 4


@pytest.mark.parametrize("who", ["command", "shim", "both"])
def test_stopped_processes_are_woken_to_hear_it(place: Place, until: Until, who: str) -> None:
    spec, spawned = place.sh("trap 'exit 3' TERM; echo $$ >command; while :; do sleep 0.01; done")
    command = until(lambda: place.pid_in("command"))
    for pid in {"command": [command], "shim": [spawned.pid], "both": [command, spawned.pid]}[who]:
        os.kill(pid, signal.SIGSTOP)
        until(lambda pid=pid: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    assert halt(spec, spawned, LONG).killed == ()
    assert place.code(spec.token) == 3


def test_stopped_process_that_ignores_term_is_killed(place: Place, until: Until) -> None:
    spec, spawned = place.sh("trap '' TERM; echo $$ >command; kill -STOP $$; while :; do sleep 0.01; done")
    command = until(lambda: place.pid_in("command"))
    assert command in halt(spec, spawned, SHORT).killed


def test_what_a_killed_shim_left_behind_is_stopped(place: Place, until: Until) -> None:
    spec, spawned = place.sh("setsid sh -c 'echo $$ >fled; exec sleep 100' & echo $$ >command; exec sleep 100")
    until(lambda: place.pid_in("fled") and place.pid_in("command"))
    os.kill(spawned.pid, signal.SIGKILL)
    report = halt(spec, spawned, LONG)
    assert report == StopReport(ended=True, killed=(), survivors=())


def test_what_a_finished_command_left_behind_is_stopped(place: Place, until: Until) -> None:
    spec, spawned = place.sh("setsid sh -c 'trap \"\" TERM; echo $$ >fled; exec sleep 100' & exit 0")
    fled = until(lambda: place.pid_in("fled"))
    until(lambda: not liveness.alive(spawned.identity))
    assert halt(spec, spawned, SHORT).killed == (fled,)
    assert place.code(spec.token) == 0


def test_nothing_to_stop(place: Place) -> None:
    spec, spawned = place.sh("exit 0")
    os.waitpid(spawned.pid, 0)
    said: list[str] = []
    report = stop(spawned.identity, token=spec.token, grace=LONG, on_progress=said.append)
    assert report == StopReport(ended=True, killed=(), survivors=())
    assert said == []


def test_many_children_that_will_not_go(place: Place, until: Until) -> None:
    spec, spawned = place.sh("trap '' TERM; for n in $(seq 40); do setsid sleep 100 & done; touch up; wait")
    until(lambda: place.exists("up"))
    report = halt(spec, spawned, SHORT)
    assert report.ended
    assert len(report.killed) >= 41


def test_children_that_keep_forking(place: Place, until: Until) -> None:
    """Two that start the other again whenever it dies, and a stream of short-lived children."""
    (place.root / "twin").write_text(
        "#!/bin/sh\ntrap '' TERM\ntouch up\n"
        "while :; do kill -0 $1 2>/dev/null || { setsid ./twin $$ & set -- $!; }; sleep 0.01 & done\n"
    )
    (place.root / "twin").chmod(0o755)
    spec, spawned = place.sh("trap '' TERM; ./twin 999999999")
    until(lambda: place.exists("up"))
    report = halt(spec, spawned, SHORT)
    assert report.ended
    assert report.survivors == ()


def test_group_that_outruns_us_is_killed_in_one_go(place: Place, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "_PASSES_SPARING_SHIM", 0)
    spec, spawned = place.sh("trap '' TERM; echo $$ >command; exec sleep 100")
    command = until(lambda: place.pid_in("command"))
    assert set(halt(spec, spawned, SHORT).killed) == {spawned.pid, command}


def test_shim_is_given_the_time_to_note_the_end(place: Place, until: Until) -> None:
    """Its journal is slow: a pipe whose reader comes a little late."""
    pipe = place.root / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    spec, spawned = place.sh("trap '' TERM; echo $$ >command; exec sleep 100", journal=pipe)
    command = until(lambda: place.pid_in("command"))
    os.close(reading)
    notes: list[str] = []

    def read_late() -> None:
        until(lambda: liveness.identify(command) is None)
        time.sleep(0.2)
        notes.append(pipe.read_text())

    reader = threading.Thread(target=read_late)
    reader.start()
    assert halt(spec, spawned, SHORT).killed == (command,)
    os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))  # nobody waits for ever, whatever happened
    reader.join()
    assert notes == [f"E {spec.token} 137\n"]


@pytest.mark.parametrize("lifetime", [0.02, 0.003])
def test_chain_in_the_group_that_lives_on_in_ever_new_children(place: Place, until: Until, lifetime: float) -> None:
    script = (
        "import os, pathlib, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "while True:\n"
        f"    time.sleep({lifetime})\n"
        "    pathlib.Path('up').touch()\n"
        "    if os.fork():\n"
        "        os._exit(0)\n"
    )
    spec, spawned = place.sh('trap \'\' TERM; "$0" -c "$1"; sleep 100', words=(sys.executable, script))
    until(lambda: place.exists("up"))
    assert halt(spec, spawned, SHORT).ended


def test_chain_that_flees_from_pid_to_pid(place: Place, until: Until) -> None:
    (place.root / "flee").write_text("#!/bin/sh\ntrap '' TERM\ntouch up\nsleep 0.02\nsetsid ./flee &\n")
    (place.root / "flee").chmod(0o755)
    spec, spawned = place.sh("./flee; exec sleep 100")
    until(lambda: place.exists("up"))
    assert halt(spec, spawned, SHORT).ended


def test_shim_that_does_not_exit_is_killed(place: Place, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its journal is a pipe that nobody reads: it hangs in noting the end."""
    monkeypatch.setattr(stopping, "_SHIM_PATIENCE", 0.2)
    os.mkfifo(place.root / "pipe")
    reading = os.open(place.root / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    spec = place.spec("sh", "-c", "touch up; exec sleep 100", journal=place.root / "pipe")
    spawned = place.start(spec)
    until(lambda: place.exists("up"))
    os.close(reading)  # opening it for the note of the end now blocks
    assert halt(spec, spawned, LONG).killed == (spawned.pid,)


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """Somebody who has the pid, the group and the session number that once were the shim's."""
    process = subprocess.Popen(["sleep", "100"], start_new_session=True, env={"PATH": os.environ["PATH"]})
    yield process
    process.kill()
    process.wait()


def test_stranger_with_the_pid_of_a_dead_shim_is_not_touched(place: Place, stranger: subprocess.Popen[bytes]) -> None:
    found = liveness.identify(stranger.pid)
    assert found is not None
    former = dataclasses.replace(found, start_ticks=found.start_ticks - 1)
    report = stop(former, token=place.token(), grace=LONG)
    assert report == StopReport(ended=True, killed=(), survivors=())
    assert liveness.alive(found)


def test_nobody_is_touched_after_a_reboot(place: Place, until: Until) -> None:
    spec, spawned = place.sh("touch up; exec sleep 100")
    until(lambda: place.exists("up"))
    former = dataclasses.replace(spawned.identity, boot_id="another")
    assert stop(former, token=spec.token, grace=LONG).ended
    assert liveness.alive(spawned.identity)


def test_process_that_one_of_ours_started_under_another_token_lives_on(place: Place, until: Until) -> None:
    other = place.token()
    spec, spawned = place.sh(
        f"GAIA_ATTEMPT_TOKEN={other} setsid sh -c 'echo $$ >other; exec sleep 100' & touch up; exec sleep 100"
    )
    pid = until(lambda: place.exists("up") and place.pid_in("other"))
    assert halt(spec, spawned, LONG).ended
    assert liveness.identify(pid) is not None


def test_survivors_are_named(place: Place, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whom we may not kill (a setuid program, or one stuck in the kernel) is reported, and the lock stays held."""
    spec, spawned = place.sh("trap '' TERM; echo $$ >command; exec sleep 100")
    command = until(lambda: place.pid_in("command"))
    monkeypatch.setattr(stopping, "_KILL_PATIENCE", 0.1)
    monkeypatch.setattr(stopping, "_SHIM_PATIENCE", 0.1)
    real = os.pidfd_open

    def refuse(pid: int, flags: int = 0) -> int:
        if pid == command:
            raise PermissionError(1, "Operation not permitted")
        return real(pid, flags)

    def kill(pid: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pidfd_open", refuse)
        patch.setattr(os, "kill", kill)
        report = stop(spawned.identity, token=spec.token, grace=0)
    assert report == StopReport(ended=False, killed=(), survivors=tuple(sorted((spawned.pid, command))))
    assert lock_held(spec.lock)
    assert halt(spec, spawned, 0).killed == (command,)  # and can be stopped later


def test_works_without_pidfds_and_proc(place: Place, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    for module in (liveness, stopping):  # as on macOS
        monkeypatch.setattr(module, "table", PsutilTable)
    spec, spawned = place.sh(
        "trap '' TERM; setsid sh -c 'echo $$ >fled; exec sleep 100' & while :; do sleep 0.01; done"
    )
    fled = until(lambda: place.pid_in("fled"))
    report = halt(spec, spawned, SHORT)
    assert report.ended
    assert fled in report.killed
    assert place.code(spec.token) == 137


def test_progress_is_told(place: Place, until: Until) -> None:
    spec, spawned = place.sh("trap '' TERM; touch up; exec sleep 100")
    until(lambda: place.exists("up"))
    said: list[str] = []
    reaper = reaping(spawned)
    stop(spawned.identity, token=spec.token, grace=SHORT, on_progress=said.append)
    reaper.join()
    assert said[0] == "asked 1 process to end"
    assert said[1].startswith("killing 1 that did not end: ")


def test_twenty_stops_at_the_same_time(place: Place, until: Until) -> None:
    started = [place.sh(f"touch up{number}; exec sleep 100") for number in range(20)]
    until(lambda: all(place.exists(f"up{number}") for number in range(20)))
    reports: dict[str, StopReport] = {}

    def one(spec: Spec, spawned: Spawned) -> None:
        reports[spec.token] = stop(spawned.identity, token=spec.token, grace=LONG)

    threads = [threading.Thread(target=one, args=pair) for pair in started]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(reports.values()) == {StopReport(ended=True, killed=(), survivors=())}
    assert {place.code(spec.token) for spec, _ in started} == {143}
