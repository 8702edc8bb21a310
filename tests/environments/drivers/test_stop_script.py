"""`stop.sh` ends all that a stage started, and nobody else."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from environments.drivers.launching import stage_paths, stage_start
from processes.drivers import journal
from processes.drivers.spawn import Spec, spawn
from tests.environments.drivers.repositories import (
    eventually,
)
from tests.environments.drivers.scripts import Checkout

_STUBBORN = """command: |
  trap '' TERM
  (setsid sh -c 'trap "" TERM; sleep 301' &)
  sh -c 'trap "" TERM; sleep 302' &
  exec python3 .gaia/placeholder.py
"""


def test_stop_kills_what_does_not_end_with_all_it_started(make: Callable[..., Checkout]) -> None:
    demo = make(gaia_yaml=_STUBBORN)
    demo.run("launch.sh")
    record = demo.records()[0]
    before = carriers(record.token)
    assert len(before) >= 5
    told = demo.run("stop.sh", GAIA_STOP_GRACE="1")
    assert "is killed" in told
    assert "is stopped" in told
    assert carriers(record.token) == []
    assert demo.records()[0].code == 137, "the shim was left alive to note the end"


def carriers(token: str) -> list[int]:
    """Live processes with an attempt's token in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if token.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def test_stop_asks_and_lets_the_command_end_by_itself(make: Callable[..., Checkout]) -> None:
    demo = make(gaia_yaml="command: trap 'echo bye; exit 5' TERM; python3 .gaia/placeholder.py & wait\n")
    demo.run("launch.sh")
    demo.run("stop.sh")
    assert "bye" in stage_paths(demo.path, "dev").log.read_text()
    assert [record.code for record in demo.records()] == [5]


def test_stop_without_a_name_stops_whatever_runs(demo: Checkout) -> None:
    for stage in ("qa", "staging"):
        demo.run("launch.sh", stage)
    assert demo.run("stop.sh") == "Stage qa is stopped.\nStage staging is stopped.\n"
    assert {each["state"] for each in demo.status().values()} == {"stopped"}
    assert demo.run("stop.sh") == "No stage is running.\n"


def test_stop_of_one_that_has_died_is_noted_once(demo: Checkout) -> None:
    """GAIA may be about to start it again, and reads there that nobody wants it."""
    paths = stage_paths(demo.path, "dev")
    demo.run("stop.sh", "dev")
    assert not paths.journal.exists(), "it was never launched"
    paths.journal.write_text("S one 4000001\nE one 1\nS two 4000002\nE two 1\n")
    for _ in range(2):
        assert demo.run("stop.sh", "dev") == "Stage dev is not running.\n"
    assert [record.stop_asked for record in demo.records()] == [False, True]
    assert paths.journal.read_text().count("T ") == 1


def test_stop_never_signals_a_stranger_who_got_the_pid(demo: Checkout) -> None:
    stranger = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        stage_paths(demo.path, "dev").journal.write_text(f"S script-old {stranger.pid}\n")
        assert demo.run("stop.sh", "dev") == "Stage dev is not running.\n"
        with open(stage_paths(demo.path, "dev").lock) as lock:
            # held by somebody whose note is not there: still no reason to signal the last pid
            subprocess.run(["flock", "-n", "9"], check=True, preexec_fn=lambda: os.dup2(lock.fileno(), 9), pass_fds=[9])
            demo.run("stop.sh", code=1)
            assert demo.status()["dev"]["pid"] is None
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_shim_that_was_killed_is_not_running(demo: Checkout) -> None:
    demo.run("launch.sh")
    record = demo.records()[0]
    assert record.pid is not None
    os.killpg(record.pid, signal.SIGKILL)
    eventually(lambda: demo.status()["dev"]["state"] == "stopped", "the lock outlives the shim")
    assert demo.run("stop.sh", "dev") == "Stage dev is not running.\n"
    demo.run("launch.sh")
    assert demo.pid() != record.pid


def test_scripts_and_daemon_share_lock_and_journal(demo: Checkout) -> None:
    start = stage_start(demo.path, "dev")
    spawned = spawn(
        Spec(start.argv, start.cwd, {**os.environ, **start.env}, start.log, start.lock, start.journal, "daemon-1")
    )
    port = demo.ports["dev"]
    eventually(lambda: demo.status()["dev"]["health"] == 200, "the stage does not answer")
    assert demo.pid() == spawned.pid
    assert demo.run("launch.sh") == f"Stage dev is already running: http://localhost:{port} (pid {spawned.pid})\n"
    demo.run("stop.sh")
    assert journal.records(start.journal)["daemon-1"].code is not None
    os.waitpid(spawned.pid, 0)
