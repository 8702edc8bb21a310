"""Stages: launched by GAIA or by their scripts, with GAIA up or down, the picture is true and nothing runs twice."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from common.errors import GaiaError, Unavailable
from environments.actions import stages
from environments.models import Environment, Stage
from environments.overview import environments_overview
from environments.reconcile import look_at_stages
from environments.states import EnvironmentState
from processes.actions.nodes import ensure_node
from processes.models import Process
from processes.states import Origin, ProcessState
from tests.conftest import Operator
from tests.environments.drivers.repositories import commit, make_repository
from tests.environments.places import DaemonProcess, Place, processes_of, until

QA = "environment/shop-dev1/qa"


@pytest.fixture
def client(operator: Operator) -> Client:
    """An operator's program."""
    return Client(headers=operator.headers)


def shown(stage: Stage) -> dict[str, Any]:
    """What every door shows of a stage."""
    [found] = [
        one
        for environment in environments_overview()
        for one in environment["stages"]
        if (one["environment"], one["name"]) == (stage.environment.directory, stage.name)
    ]
    return found


def is_shown(stage: Stage, **facts: Any) -> Callable[[], bool]:
    """Asks whether a stage is shown with these facts."""
    return lambda: {name: shown(stage)[name] for name in facts} == facts


def answer_of(stage: Stage) -> str:
    """What the stage answers on its health path."""
    with urllib.request.urlopen(f"{stage.url}/health", timeout=10) as answer:  # noqa: S310  our own address
        return str(answer.read().decode())


def script(stage: Stage, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run one of a stage's scripts, as a person does."""
    return subprocess.run(
        [Path(stage.environment.path, name), *words], capture_output=True, text=True, check=False, timeout=60
    )


def pid_by_script(stage: Stage) -> int:
    """The pid that status.sh says."""
    stages_ = json.loads(script(stage, "status.sh", "--json").stdout)["stages"]
    return int(next(one["pid"] for one in stages_ if one["name"] == stage.name))


def mend_command(place: Place, command: str, number: int = 1) -> None:
    """Have an environment's stages run another command."""
    (place.path(number) / "gaia.yaml").write_text(f"command: {json.dumps(command)}\n")


# -- with GAIA up


def test_launched_and_stopped_by_the_api(place: Place, daemon: DaemonProcess, client: Client) -> None:
    place.set_up(1)
    stage = place.stage(1, "qa")

    answer = client.post("/api/environments/dev1/stages/qa/launch/")

    assert answer.status_code == 202, answer.content
    assert answer.json()["state"] == "starting"
    until(is_shown(stage, state="running"), "that it runs")
    until(lambda: _answers(stage), "that it answers")
    database = place.path(1) / "data/qa/shop.db"
    assert answer_of(stage) == f"qa {stage.port} {database}"
    facts = shown(stage)
    assert (facts["origin"], facts["pid"]) == (Origin.GAIA, pid_by_script(stage))
    log = client.get("/api/environments/dev1/stages/qa/log/").json()
    assert "serving qa\n" in log["text"]

    again = client.post("/api/environments/dev1/stages/qa/launch/")
    assert again.status_code == 409
    assert f"(pid {facts['pid']})" in again.json()["title"]

    assert client.post("/api/environments/dev1/stages/qa/stop/").status_code == 202
    until(is_shown(stage, state="stopped", pid=None), "that it has stopped")
    assert client.post("/api/environments/dev1/stages/qa/stop/").json()["state"] == "stopped"


def test_the_command_line_waits_until_it_answers(place: Place, daemon: DaemonProcess) -> None:
    place.set_up(1)
    stage = place.stage(1, "dev")

    launched = place.gaia("env", "launch", "dev1")
    answer = answer_of(stage)
    again = place.gaia("env", "launch", "shop-dev1", "dev")
    stopped = place.gaia("env", "stop", "dev1", "--json")

    assert launched.out == f"shop-dev1 dev runs at {stage.url} (pid {processes_of(stage.owner)[0].pid})\n"
    assert answer.startswith("dev ")
    assert again.code == 4
    assert "already runs" in again.err
    assert (stopped.code, stopped.data["state"]) == (0, "stopped")
    assert "does not run" in place.gaia("env", "stop", "dev1").out


def test_a_script_is_seen_with_its_pid(place: Place, daemon: DaemonProcess) -> None:
    place.set_up(1)
    stage = place.stage(1, "qa")

    launched = script(stage, "launch.sh", "qa")

    assert launched.returncode == 0, launched.stderr
    until(is_shown(stage, state="running", pid=pid_by_script(stage), origin=Origin.SCRIPT), "that it is seen")
    script(stage, "stop.sh", "qa")
    until(is_shown(stage, state="stopped", pid=None), "that its stop is seen")


def test_the_stop_script_ends_what_gaia_launched(place: Place, daemon: DaemonProcess) -> None:
    place.set_up(1)
    stage = place.stage(1, "qa")
    place.gaia("env", "launch", "dev1", "qa")

    assert script(stage, "stop.sh", "qa").returncode == 0

    until(is_shown(stage, state="stopped", pid=None), "that its stop is seen")


def test_gaia_stops_what_a_script_launched(place: Place, daemon: DaemonProcess, client: Client) -> None:
    place.set_up(1)
    stage = place.stage(1, "qa")
    script(stage, "launch.sh", "qa")
    until(is_shown(stage, state="running"), "that it is seen")

    client.post("/api/environments/dev1/stages/qa/stop/")

    until(is_shown(stage, state="stopped"), "that it has stopped")
    assert "NOT RUNNING" in script(stage, "status.sh").stdout.splitlines()[1]


def test_launched_with_gaia_down_it_keeps_its_pid(place: Place, start_daemon: Callable[[], DaemonProcess]) -> None:
    place.set_up(1)
    stage = place.stage(1, "qa")
    assert script(stage, "launch.sh", "qa").returncode == 0
    pid = pid_by_script(stage)

    start_daemon()

    until(is_shown(stage, state="running", pid=pid), "that it is seen")
    assert [process.origin for process in processes_of(QA)] == [Origin.SCRIPT]


def test_kill_9_of_the_daemon_changes_nothing(place: Place, start_daemon: Callable[[], DaemonProcess]) -> None:
    place.set_up(1)
    by_gaia, by_script = place.stage(1, "qa"), place.stage(1, "dev")
    first = start_daemon()
    place.gaia("env", "launch", "dev1", "qa")
    script(by_script, "launch.sh", "dev")
    until(is_shown(by_script, state="running"), "that the script is seen")
    before = [(shown(stage)["pid"], shown(stage)["since"]) for stage in (by_gaia, by_script)]

    first.kill()
    script(by_script, "stop.sh", "dev")
    script(by_script, "launch.sh", "dev")
    second = start_daemon()

    until(is_shown(by_script, state="running", pid=pid_by_script(by_script)), "that the new start is seen")
    assert (shown(by_gaia)["pid"], shown(by_gaia)["since"]) == before[0]
    assert shown(by_script)["pid"] != before[1][0]
    assert len(processes_of(QA)) == 1
    second.kill()


# -- what goes wrong


def test_a_stage_that_dies_at_once(place: Place, daemon: DaemonProcess, client: Client) -> None:
    place.set_up(1)
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
    place.set_up(1)
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
    place.set_up(1)
    stage = place.stage(1, "qa")

    both = [place.start("env", "launch", "dev1", "qa") for _ in range(2)]
    errors = [process.communicate(timeout=60)[1] for process in both]

    assert sorted(process.returncode for process in both) == [0, 4], errors
    [process] = processes_of(QA)
    assert (process.pid, shown(stage)["state"]) == (pid_by_script(stage), "running")


def test_a_script_and_gaia_at_once_make_one(place: Place, daemon: DaemonProcess) -> None:
    place.set_up(1)
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
    place.set_up(1)
    stage = place.stage(1, "qa")
    asked_for = stages.launch(stage)
    script(stage, "launch.sh", "qa")

    start_daemon()

    until(is_shown(stage, state="running", pid=pid_by_script(stage), origin=Origin.SCRIPT), "that it is seen")
    asked_for.refresh_from_db()
    assert asked_for.state == ProcessState.NOT_STARTED


def test_an_environment_that_is_not_ready(place: Place, daemon: DaemonProcess, client: Client) -> None:
    place.set_up(1)
    Environment.objects.update(state=EnvironmentState.DAMAGED, problem="somebody tripped")

    said = place.gaia("env", "launch", "dev1", "qa")

    assert said.code == 4
    assert "environment shop-dev1 is damaged\n  somebody tripped\n  Repair it: gaia env setup." in said.err
    assert client.post("/api/environments/dev1/stages/qa/launch/").status_code == 409


def test_without_gaia_yaml_the_placeholder_answers_and_says_so(place: Place, daemon: DaemonProcess) -> None:
    plain = make_repository(place.root / "plain")
    place.set_up(1, source=str(plain))

    said = place.gaia("env", "launch", "plain-dev1", "dev")

    assert said.code == 0, said.err
    stage = Stage.objects.select_related("environment__project").get(environment__project__name="plain", name="dev")
    assert json.loads(answer_of(stage)) == {
        "status": "ok", "placeholder": True, "project": "plain", "environment": "plain-dev1", "stage": "dev",
    }  # fmt: skip
    with urllib.request.urlopen(stage.url, timeout=10) as page:  # noqa: S310  our own address
        assert b"Add a file <code>gaia.yaml</code>" in page.read()


def test_a_mistake_in_gaia_yaml_is_named_with_its_line(place: Place, daemon: DaemonProcess, client: Client) -> None:
    place.set_up(1)
    (place.path(1) / "gaia.yaml").write_text("health: /health\ncommand: [python3, app.py]\n")

    said = place.gaia("env", "launch", "dev1", "qa")
    answer = client.post("/api/environments/dev1/stages/qa/launch/")

    assert said.code == 2
    assert "gaia.yaml:2: command has to be text" in said.err
    assert (answer.status_code, answer.json()["facts"]["line"]) == (400, 2)
    assert client.get("/api/environments/dev1/stages/qa/log/").status_code == 200
    assert processes_of(QA) == []


def test_a_stage_that_does_not_answer_yet(place: Place, daemon: DaemonProcess) -> None:
    place.set_up(1)
    mend_command(place, "exec sleep 600")
    stage = place.stage(1, "qa")

    process = stages.launch(stage)

    with pytest.raises(Unavailable, match="does not answer 200 yet"):
        stages.wait_until_up(stage, process, timeout=1.5)
    assert shown(stage)["state"] == "running"


# -- without a daemon


def test_gaia_down_and_everything_by_scripts(place: Place) -> None:
    place.set_up(1)
    stage = place.stage(1, "qa")

    launched = place.gaia("env", "launch", "dev1", "qa")
    pid = pid_by_script(stage)
    again = place.gaia("env", "launch", "dev1", "qa")
    listed = place.gaia("env", "list", "--json")

    assert launched.out == f"shop-dev1 qa runs at {stage.url} (pid {pid})\n"
    assert (again.code, f"already runs (pid {pid})" in again.err) == (4, True)
    assert [(one["state"], one["pid"]) for one in listed.data[0]["stages"]] == [
        ("stopped", None), ("running", pid), ("stopped", None),
    ]  # fmt: skip
    assert place.gaia("env", "stop", "dev1", "qa").out == "shop-dev1 qa is stopped\n"
    assert shown(stage)["state"] == "stopped"


def test_a_stage_that_dies_by_its_script_says_why(place: Place) -> None:
    place.set_up(1)
    mend_command(place, "echo the database is on fire >&2; exit 3")
    place.set_up(1)

    said = place.gaia("env", "launch", "dev1", "qa")

    assert said.code == 1, said
    assert "stage qa of shop-dev1 did not start" in said.err
    assert "the database is on fire" in said.err


def test_the_list_is_true_without_a_daemon(place: Place) -> None:
    place.set_up(1)
    qa, staging = place.stage(1, "qa"), place.stage(1, "staging")
    script(qa, "launch.sh", "qa")
    script(staging, "launch.sh", "staging")
    look_at_stages(ensure_node())
    assert [shown(stage)["state"] for stage in (qa, staging)] == ["running", "running"]

    script(qa, "stop.sh", "qa")
    os.killpg(pid_by_script(staging), signal.SIGKILL)
    until(lambda: "NOT RUNNING" in script(staging, "status.sh").stdout.splitlines()[2], "that it is dead")
    look_at_stages(ensure_node())

    assert [shown(stage)["state"] for stage in (qa, staging)] == ["stopped", "failed"]


def test_what_the_command_line_launches_gets_nothing_of_gaias_own(place: Place) -> None:
    place.set_up(1)
    commit(place.path(1), {"gaia.yaml": "command: env >seen.txt; exec python3 app.py\n"})

    said = place.gaia("env", "launch", "dev1", "qa", env={"OPERATORS_TOKEN": "s3cr3t"})
    assert said.code == 0, said.err

    seen = (place.path(1) / "seen.txt").read_text()
    assert "APP_ENV=qa" in seen
    assert "s3cr3t" not in seen
    assert "PYTHONPATH" not in seen
    assert "DJANGO_SETTINGS_MODULE" not in seen


def test_one_stage_that_cannot_be_read_does_not_hide_the_others(place: Place) -> None:
    place.set_up(2)
    (place.path(1) / ".gaia/stages/dev.env").write_bytes(b"\xff\xfe '")
    (place.path(1) / "gaia.yaml").write_text("a: [\n")
    (place.path(1) / ".gaia/stages/dev.journal").mkdir()
    stage = place.stage(2, "qa")
    script(stage, "launch.sh", "qa")

    look_at_stages(ensure_node())

    assert shown(stage)["state"] == "running"


def test_a_script_that_waits_behind_a_row_of_the_dead_is_seen_later(place: Place) -> None:
    """Somebody else is still on record as live when the new start is noticed first."""
    place.set_up(1)
    stage, node = place.stage(1, "qa"), ensure_node()
    script(stage, "launch.sh", "qa")
    look_at_stages(node)
    [first] = processes_of(QA)
    script(stage, "stop.sh", "qa")
    script(stage, "launch.sh", "qa")

    # the daemon's other thread has not harvested the first yet
    assert stages.follow_journal(node, stage) is False
    assert shown(stage)["pid"] == first.pid

    look_at_stages(node)

    assert shown(stage)["pid"] == pid_by_script(stage)
    assert [process.active for process in processes_of(QA)] == [False, True]


def test_errors_of_a_script_keep_their_kind(place: Place) -> None:
    place.set_up(1)
    stage = place.stage(1, "qa")
    (place.path(1) / "launch.sh").write_text("#!/bin/sh\necho no such stage >&2\nexit 2\n")

    with pytest.raises(GaiaError, match="stage qa of shop-dev1 did not start") as raised:
        stages.launch_by_script(stage)

    assert (raised.value.exit_code, raised.value.meaning) == (3, "no such stage")


def _answers(stage: Stage) -> bool:
    try:
        answer_of(stage)
    except OSError:
        return False
    return True
