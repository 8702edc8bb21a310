"""Agents edit files of their checkout and put symlinks there: no door of GAIA follows them out."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.test import Client

from common.errors import Conflict
from environments.actions import stages
from environments.models import Environment, Stage
from environments.reconcile import look_at_stages
from environments.states import EnvironmentState
from processes.actions.nodes import ensure_node
from processes.models import Process
from processes.states import ProcessState
from tests.conftest import Operator
from tests.environments.drivers.repositories import snapshot_of
from tests.environments.drivers.test_containment import put_link
from tests.environments.places import DaemonProcess, Place, processes_of, until
from tests.environments.stages import QA, is_shown, script, shown

SECRET = "the secret of somebody else\n"


@pytest.fixture
def outside(place: Place) -> Path:
    """A directory beside the checkouts."""
    directory = place.root / "outside"
    directory.mkdir()
    for name in ("qa.log", "qa.env", "qa.lock", "qa.journal"):
        (directory / name).write_text(SECRET)
    return directory


@pytest.fixture
def stage(place: Place) -> Stage:
    place.ready(1)
    return place.stage(1, "qa")


def log_shown(client: Client) -> str:
    answer = client.get("/api/environments/dev1/stages/qa/log/")
    assert answer.status_code == 200
    return str(answer.json()["text"])


# -- reading logs


@pytest.mark.parametrize("how", ["edited", "logs", "logs/qa.log", ".gaia/stages"])
def test_the_log_that_every_door_shows(
    place: Place, stage: Stage, outside: Path, client: Client, operator: Operator, how: str
) -> None:
    checkout = place.path(1)
    if how == "edited":
        with (checkout / ".gaia/stages/qa.env").open("a") as file:
            file.write("LOG_FILE=../outside/qa.log\n")
    else:
        put_link(checkout / how, outside / "qa.log" if how.endswith(".log") else outside)

    assert "secret" not in log_shown(client)
    assert "secret" not in place.gaia("env", "log", "dev1", "qa").out
    console = Client()
    console.force_login(operator.user)
    page = console.get(f"/admin/environments/environment/{stage.environment.pk}/change/?log=qa")
    assert page.status_code == 200
    assert "secret" not in page.content.decode()


def test_the_log_of_a_process_that_became_a_link_after_its_start(
    place: Place, stage: Stage, outside: Path, operator: Operator, client: Client
) -> None:
    assert place.gaia("env", "launch", "dev1", "qa").code == 0
    [process] = processes_of(QA)
    console = Client()
    console.force_login(operator.user)
    path = f"/admin/processes/process/{process.pk}/log/"
    assert "serving qa" in console.get(path).json()["text"]

    put_link(place.path(1) / "logs", outside)

    assert "secret" not in console.get(path).json()["text"]
    assert "secret" not in log_shown(client)
    script(stage, "stop.sh", "qa")


def test_a_stage_that_ended_does_not_show_the_end_of_another_file(
    place: Place, stage: Stage, outside: Path, daemon: DaemonProcess
) -> None:
    (place.path(1) / "gaia.yaml").write_text(f"command: rm logs/qa.log; ln -s {outside}/qa.log logs/qa.log; exit 3\n")

    said = place.gaia("env", "launch", "dev1", "qa")

    assert said.code == 1
    assert "secret" not in said.err + said.out


# -- starting


@pytest.mark.parametrize("name", [".gaia/stages", ".gaia/stages/qa.lock", ".gaia/stages/qa.journal", "data"])
def test_every_door_refuses_to_start_it(place: Place, stage: Stage, outside: Path, client: Client, name: str) -> None:
    put_link(place.path(1) / name, outside if "." not in Path(name).name else outside / Path(name).name)
    before = snapshot_of(outside)

    by_command = place.gaia("env", "launch", "dev1", "qa")
    by_api = client.post("/api/environments/dev1/stages/qa/launch/")
    look_at_stages(ensure_node())

    assert by_command.code == 4
    assert "leads out of the checkout" in by_command.err
    assert "gaia env setup" in by_command.err
    assert (by_api.status_code, "leads out of the checkout" in by_api.json()["title"]) == (409, True)
    assert shown(stage)["state"] == "stopped"
    assert processes_of(QA) == []
    assert snapshot_of(outside) == before


def test_a_link_that_is_put_between_the_request_and_the_start(place: Place, stage: Stage, outside: Path) -> None:
    """The daemon that was down when it was asked for looks again before it opens anything."""
    from processes.reconcile import ProcessReconciler

    asked_for = stages.launch(stage)
    put_link(place.path(1) / "logs", outside)
    before = snapshot_of(outside)

    ProcessReconciler(ensure_node(), lambda identity, pk: None, lambda work, then: then(work())).tick()

    asked_for.refresh_from_db()
    assert asked_for.state == ProcessState.NOT_STARTED
    assert "logs/qa.log leads out of" in asked_for.problem
    assert snapshot_of(outside) == before


# -- following what scripts did


def test_a_journal_that_became_a_link_says_nothing(place: Place, stage: Stage, outside: Path) -> None:
    (outside / "qa.journal").write_text("S not-ours 1\nE not-ours 3\n")
    put_link(place.path(1) / ".gaia/stages/qa.journal", outside / "qa.journal")

    look_at_stages(ensure_node())

    assert processes_of(QA) == []


def test_the_end_of_a_process_is_not_read_from_a_journal_elsewhere(place: Place, stage: Stage, outside: Path) -> None:
    assert place.gaia("env", "launch", "dev1", "qa").code == 0
    [process] = processes_of(QA)
    (outside / "qa.journal").write_text(f"S {process.token} {process.pid}\nE {process.token} 77\n")
    script(stage, "stop.sh", "qa")
    put_link(place.path(1) / ".gaia/stages/qa.journal", outside / "qa.journal")

    look_at_stages(ensure_node())

    process.refresh_from_db()
    assert (process.state, process.exit_code) == (ProcessState.LOST, None)


# -- repairing and removing


def test_set_up_again_says_what_is_in_the_way(place: Place, stage: Stage, outside: Path) -> None:
    put_link(place.path(1) / ".gaia/stages", outside)
    before = snapshot_of(outside)

    said = place.gaia("env", "setup")

    assert said.code != 0
    assert ".gaia/stages of shop-dev1 leads out of the checkout" in said.err + said.out
    assert snapshot_of(outside) == before
    assert Environment.objects.get().state == EnvironmentState.DAMAGED


@pytest.mark.parametrize("name", [".gaia/stages", ".gaia/stages/qa.lock", "logs", "data", ".gaia"])
def test_a_removal_takes_the_link_and_not_what_it_leads_to(
    place: Place, stage: Stage, outside: Path, name: str
) -> None:
    put_link(place.path(1) / name, outside / "qa.lock" if name.endswith(".lock") else outside)
    before = snapshot_of(outside)

    place.clean("dev1")

    assert not place.path(1).exists()
    assert snapshot_of(outside) == before


def test_a_running_stage_whose_directory_became_a_link_can_be_stopped(
    place: Place, stage: Stage, outside: Path, daemon: DaemonProcess, client: Client
) -> None:
    assert place.gaia("env", "launch", "dev1", "qa").code == 0
    put_link(place.path(1) / ".gaia/stages", outside)
    before = snapshot_of(outside)

    assert client.post("/api/environments/dev1/stages/qa/stop/").status_code == 202

    until(is_shown(stage, state="stopped", pid=None), "that it has stopped")
    assert not Process.objects.active().filter(owner=QA).exists()
    assert snapshot_of(outside) == before


def test_the_error_says_which_file(place: Place, stage: Stage, outside: Path) -> None:
    put_link(place.path(1) / ".gaia/stages/qa.lock", outside / "qa.lock")
    with pytest.raises(Conflict) as refused:
        stages.launch(stage)
    assert refused.value.detail["path"] == str(place.path(1) / ".gaia/stages/qa.lock")
