"""How a stage ended: what a person asked for is stopped, whatever it took; what ended by itself has failed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from django.test import Client

from environments.models import Stage
from environments.overview import processes_of as newest_of
from environments.reconcile import look_at_stages
from events.models import Event
from processes.actions.nodes import ensure_node
from processes.models import Process
from processes.states import ExitSource, ProcessState
from tests.environments.places import DaemonProcess, Place, processes_of, until
from tests.environments.stages import QA, is_shown, mend_command, pid_by_script, script, shown

STUBBORN = "trap '' TERM; exec python3 app.py"


def launched_stubborn(place: Place) -> Stage:
    """A stage that does not end when it is asked to, launched by GAIA if that is up, else by its script."""
    place.ready(1)
    mend_command(place, STUBBORN)
    place.set_up(1)
    said = place.gaia("env", "launch", "dev1", "qa")
    assert said.code == 0, said
    return place.stage(1, "qa")


def stopped_by_force(stage: Stage) -> None:
    said = script(stage, "stop.sh", "qa", GAIA_STOP_GRACE="0")
    assert said.returncode == 0, said
    assert "is killed" in said.stderr, "it is KILL that ended it"


# -- asked for by a person


def test_what_gaia_launched_and_the_script_killed(place: Place, daemon: DaemonProcess) -> None:
    stage = launched_stubborn(place)

    stopped_by_force(stage)

    until(is_shown(stage, state="stopped", pid=None, exit_code=137, problem=""), "that its stop is seen")
    [process] = processes_of(QA)
    assert (process.exit_source, process.stop_requested_at is not None) == (ExitSource.WAIT, True)
    ended = Event.objects.filter(subject=QA, kind__in=["process.stopped", "process.exited"]).get()
    assert (ended.kind, ended.level) == ("process.stopped", "info")
    assert ended.message.endswith(" was stopped")


def test_what_the_script_launched_and_killed(place: Place, daemon: DaemonProcess) -> None:
    place.ready(1)
    mend_command(place, STUBBORN)
    place.set_up(1)
    stage = place.stage(1, "qa")
    assert script(stage, "launch.sh", "qa").returncode == 0
    until(is_shown(stage, state="running"), "that it is seen")

    stopped_by_force(stage)

    until(is_shown(stage, state="stopped", exit_code=137, problem=""), "that its stop is seen")


def test_with_gaia_down(place: Place) -> None:
    stage = launched_stubborn(place)

    stopped_by_force(stage)
    look_at_stages(ensure_node())

    assert (shown(stage)["state"], shown(stage)["exit_code"]) == ("stopped", 137)


def test_nobody_saw_it_run(place: Place) -> None:
    place.ready(1)
    mend_command(place, STUBBORN)
    place.set_up(1)
    stage = place.stage(1, "qa")
    script(stage, "launch.sh", "qa")
    stopped_by_force(stage)

    look_at_stages(ensure_node())

    assert (shown(stage)["state"], shown(stage)["exit_code"]) == ("stopped", 137)


def test_a_command_that_cleans_up_and_says_so_by_its_code(place: Place, daemon: DaemonProcess) -> None:
    place.ready(1)
    mend_command(place, "trap 'exit 3' TERM; python3 app.py & wait")
    place.gaia("env", "launch", "dev1", "qa")
    stage = place.stage(1, "qa")

    assert script(stage, "stop.sh", "qa").returncode == 0

    until(is_shown(stage, state="stopped", exit_code=3), "that its stop is seen")


def test_a_shim_that_had_to_be_killed_too(place: Place) -> None:
    """The last thing that stop.sh does when nothing else helps."""
    stage = launched_stubborn(place)
    [process] = processes_of(QA)
    with Path(process.journal).open("a") as journal:
        journal.write(f"T {process.token} {process.pid}\n")

    kill(stage)
    look_at_stages(ensure_node())

    [process] = processes_of(QA)
    assert process.state == ProcessState.LOST
    assert shown(stage)["state"] == "stopped"


# -- by itself


def test_killed_by_whoever_it_was(place: Place) -> None:
    stage = launched_stubborn(place)

    kill(stage)
    look_at_stages(ensure_node())

    assert shown(stage)["state"] == "failed"


def test_asked_to_stop_once_it_may_still_fail_the_next_time(place: Place) -> None:
    stage = launched_stubborn(place)
    stopped_by_force(stage)
    assert place.gaia("env", "launch", "dev1", "qa").code == 0

    kill(stage)
    look_at_stages(ensure_node())

    assert shown(stage)["state"] == "failed"


def kill(stage: Stage) -> None:
    """End all of it as the kernel does that needs memory."""
    os.killpg(pid_by_script(stage), signal.SIGKILL)
    until(lambda: "NOT RUNNING" in status_line(stage), "that it is dead")


def status_line(stage: Stage) -> str:
    [line] = [line for line in script(stage, "status.sh").stdout.splitlines() if line.startswith(stage.name)]
    return line


# -- in another life


@pytest.fixture
def failed_before(place: Place) -> Stage:
    """The stage of an environment that was removed, after its stage had failed, and made anew."""
    place.ready(1)
    old = place.stage(1, "qa")
    mend_command(place, "echo the database is on fire >&2; exit 3")
    place.set_up(1)
    assert place.gaia("env", "launch", "dev1", "qa").code == 1
    look_at_stages(ensure_node())
    assert (shown(old)["state"], shown(old)["exit_code"]) == ("failed", 3)
    place.clean("dev1")
    place.set_up(1)
    new = place.stage(1, "qa")
    assert (new.owner, new.pk != old.pk) == (old.owner, True)
    return new


def test_a_failure_of_an_environment_that_was_removed_is_not_the_new_ones(
    place: Place, failed_before: Stage, client: Client
) -> None:
    facts = shown(failed_before)
    assert {name: facts[name] for name in ("state", "pid", "exit_code", "problem", "since", "origin", "log")} == {
        "state": "stopped", "pid": None, "exit_code": None, "problem": "", "since": None, "origin": None, "log": "",
    }  # fmt: skip

    listed = place.gaia("env", "list", "--json").data[0]["stages"]
    answered = client.get("/api/environments/dev1/").json()["stages"]

    for stages in (listed, answered):
        assert {(one["name"], one["state"], one["exit_code"]) for one in stages} == {
            ("dev", "stopped", None), ("qa", "stopped", None), ("staging", "stopped", None),
        }  # fmt: skip
    assert Process.objects.filter(owner=QA, exit_code=3).exists(), "what happened is still on record"


def test_its_own_failure_shows(place: Place, failed_before: Stage) -> None:
    mend_command(place, "exit 4")
    place.ready(1)
    place.gaia("env", "launch", "dev1", "qa")
    look_at_stages(ensure_node())

    assert (shown(failed_before)["state"], shown(failed_before)["exit_code"]) == ("failed", 4)
    assert newest_of([failed_before.environment])[QA].exit_code == 4
