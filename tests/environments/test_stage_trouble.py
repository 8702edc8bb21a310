"""Stages that do not start, or twice at once: it is said why, and one runs at most."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest
from django.test import Client

from common.errors import Unavailable
from environments.actions import stages
from environments.models import Environment
from environments.states import EnvironmentState
from processes.models import Process
from processes.states import Origin, ProcessState
from tests.environments.places import DaemonProcess, Place, processes_of, until
from tests.environments.stages import QA, is_shown, mend_command, pid_by_script, script, shown


def test_a_stage_that_dies_at_once(place: Place, daemon: DaemonProcess, client: Client) -> None:
    place.ready(1)
    mend_command(place, "echo one; echo the database is on fire >&2; exit 3")
    stage = place.stage(1, "qa")

    said = place.gaia("env", "launch", "dev1", "qa")

    assert said.code == 1, said
    assert "stage qa of shop-dev1 did not start: it ended with exit code 3" in said.err
    assert "the database is on fire" in said.err
    assert "gaia.yaml" in said.err
    facts = shown(stage)
    assert (facts["state"], facts["exit_code"], facts["problem"]) == ("failed", 3, "it ended by itself")
    assert "on fire" in client.get("/api/environments/dev1/stages/qa/log/").json()["text"]


def test_a_port_that_is_taken_at_launch(place: Place, daemon: DaemonProcess, client: Client) -> None:
    place.ready(1)
    stage = place.stage(1, "qa")
    with socket.create_server(("127.0.0.1", stage.port)):
        said = place.gaia("env", "launch", "dev1", "qa")
        answer = client.post("/api/environments/dev1/stages/qa/launch/")
        by_hand = script(stage, "launch.sh", "qa")

    me = f"(pid {os.getpid()})"
    assert said.code == 4
    assert f"port {stage.port} is taken by" in said.err
    assert me in said.err
    assert "stage qa of shop-dev1 needs its port" in said.err
    assert (answer.status_code, me in answer.json()["title"]) == (409, True)
    assert (by_hand.returncode, me in by_hand.stderr) == (4, True)
    assert processes_of(QA) == []


def test_two_launches_at_once_make_one(place: Place, daemon: DaemonProcess) -> None:
    place.ready(1)
    stage = place.stage(1, "qa")

    both = [place.start("env", "launch", "dev1", "qa") for _ in range(2)]
    errors = [process.communicate(timeout=60)[1] for process in both]

    assert sorted(process.returncode for process in both) == [0, 4], errors
    [process] = processes_of(QA)
    assert (process.pid, shown(stage)["state"]) == (pid_by_script(stage), "running")


def test_a_script_and_gaia_at_once_make_one(place: Place, daemon: DaemonProcess) -> None:
    place.ready(1)
    stage = place.stage(1, "qa")

    with place.start("env", "launch", "dev1", "qa") as by_gaia:
        by_script = script(stage, "launch.sh", "qa")
        by_gaia.communicate(timeout=60)

    assert by_script.returncode in (0, 4), by_script.stderr
    pid = pid_by_script(stage)
    until(is_shown(stage, state="running", pid=pid), "that the one is seen")
    journal = (place.path(1) / ".gaia/stages/qa.journal").read_text()
    assert journal.count("S ") == 1
    assert Process.objects.active().filter(owner=QA).count() == 1


def test_a_start_that_the_lock_refuses_gives_way_to_the_script(
    place: Place, start_daemon: Callable[[], DaemonProcess]
) -> None:
    """Both were asked for at the same moment, and the script was faster."""
    place.ready(1)
    stage = place.stage(1, "qa")
    asked_for = stages.launch(stage)
    script(stage, "launch.sh", "qa")

    start_daemon()

    until(is_shown(stage, state="running", pid=pid_by_script(stage), origin=Origin.SCRIPT), "that it is seen")
    asked_for.refresh_from_db()
    assert asked_for.state == ProcessState.NOT_STARTED


def test_an_environment_that_is_not_ready(place: Place, daemon: DaemonProcess, client: Client) -> None:
    place.ready(1)
    Environment.objects.update(state=EnvironmentState.DAMAGED, problem="somebody tripped")

    said = place.gaia("env", "launch", "dev1", "qa")

    assert said.code == 4
    assert "environment shop-dev1 is damaged\n  somebody tripped\n  Repair it: gaia env setup." in said.err
    assert client.post("/api/environments/dev1/stages/qa/launch/").status_code == 409


def test_a_mistake_in_gaia_yaml_is_named_with_its_line(place: Place, daemon: DaemonProcess, client: Client) -> None:
    place.ready(1)
    (place.path(1) / "gaia.yaml").write_text("health: /health\ncommand: [python3, app.py]\n")

    said = place.gaia("env", "launch", "dev1", "qa")
    answer = client.post("/api/environments/dev1/stages/qa/launch/")

    assert said.code == 2
    assert "gaia.yaml:2: command has to be text" in said.err
    assert (answer.status_code, answer.json()["facts"]["line"]) == (400, 2)
    assert client.get("/api/environments/dev1/stages/qa/log/").status_code == 200
    assert processes_of(QA) == []


def test_a_stage_that_does_not_answer_yet(place: Place, daemon: DaemonProcess) -> None:
    place.ready(1)
    mend_command(place, "exec sleep 600")
    stage = place.stage(1, "qa")

    process = stages.launch(stage)

    with pytest.raises(Unavailable, match="does not answer 200 yet"):
        stages.wait_until_up(stage, process, timeout=1.5)
    assert shown(stage)["state"] == "running"
