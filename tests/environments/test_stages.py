"""Stages with GAIA up: launched by it or by their scripts, the picture is true and nothing runs twice."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable

from django.test import Client

from environments.models import Stage
from events.models import Event
from processes.states import Origin
from tests.environments.drivers.repositories import make_repository
from tests.environments.places import DaemonProcess, Place, processes_of, until
from tests.environments.stages import QA, answer_of, answers, is_shown, pid_by_script, script, shown


def test_launched_and_stopped_by_the_api(place: Place, daemon: DaemonProcess, client: Client) -> None:
    place.ready(1)
    stage = place.stage(1, "qa")

    answer = client.post("/api/environments/dev1/stages/qa/launch/")

    assert answer.status_code == 202, answer.content
    assert answer.json()["state"] in ("starting", "running")  # the daemon may have been faster
    until(is_shown(stage, state="running"), "that it runs")
    until(lambda: answers(stage), "that it answers")
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


def test_the_command_line_waits_until_itanswers(place: Place, daemon: DaemonProcess) -> None:
    place.ready(1)
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
    place.ready(1)
    stage = place.stage(1, "qa")

    launched = script(stage, "launch.sh", "qa")

    assert launched.returncode == 0, launched.stderr
    until(is_shown(stage, state="running", pid=pid_by_script(stage), origin=Origin.SCRIPT), "that it is seen")
    script(stage, "stop.sh", "qa")
    until(is_shown(stage, state="stopped", pid=None), "that its stop is seen")


def test_the_stop_script_ends_what_gaia_launched(place: Place, daemon: DaemonProcess) -> None:
    place.ready(1)
    stage = place.stage(1, "qa")
    place.gaia("env", "launch", "dev1", "qa")
    told = Event.objects.get(kind="process.started")
    assert told.message == f"Stage qa of shop-dev1 runs as pid {told.data['pid']}"

    assert script(stage, "stop.sh", "qa").returncode == 0

    until(is_shown(stage, state="stopped", pid=None), "that its stop is seen")


def test_gaia_stops_what_a_script_launched(place: Place, daemon: DaemonProcess, client: Client) -> None:
    place.ready(1)
    stage = place.stage(1, "qa")
    script(stage, "launch.sh", "qa")
    until(is_shown(stage, state="running"), "that it is seen")
    told = Event.objects.get(kind="process.adopted")
    assert told.message == f"Stage qa of shop-dev1 was started by its script as pid {told.data['pid']}"

    client.post("/api/environments/dev1/stages/qa/stop/")

    until(is_shown(stage, state="stopped"), "that it has stopped")
    assert "NOT RUNNING" in script(stage, "status.sh").stdout.splitlines()[1]


def test_launched_with_gaia_down_it_keeps_its_pid(place: Place, start_daemon: Callable[[], DaemonProcess]) -> None:
    place.ready(1)
    stage = place.stage(1, "qa")
    assert script(stage, "launch.sh", "qa").returncode == 0
    pid = pid_by_script(stage)

    start_daemon()

    until(is_shown(stage, state="running", pid=pid), "that it is seen")
    assert [process.origin for process in processes_of(QA)] == [Origin.SCRIPT]


def test_kill_9_of_the_daemon_changes_nothing(place: Place, start_daemon: Callable[[], DaemonProcess]) -> None:
    place.ready(1)
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
