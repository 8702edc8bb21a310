"""Ports of stages: who has which, which are free, and a stage that gets another one."""

from __future__ import annotations

import json
import os
import shutil
import socket
from contextlib import ExitStack
from typing import Any, cast

import pytest
from django.conf import settings
from django.test import Client

from common.errors import Conflict, InvalidInput
from environments.actions import https, ports, stages
from environments.actions.changing import restarted
from environments.actions.exclusive import project_lock
from environments.actions.record import record_damaged
from environments.models import Stage
from events.models import Event
from processes.actions.nodes import ensure_node
from processes.actions.operations import Progress
from processes.actions.ports import lease_ports
from processes.actions.processes import record_not_started
from processes.models import Operation, PortLease
from processes.states import OperationState
from tests.environments.places import DaemonProcess, Place, until
from tests.environments.stages import QA, answer_of, is_shown, pid_by_script, script, shown

ME = f"(pid {os.getpid()})"


def lease_of(owner: str) -> int:
    return PortLease.objects.get(owner=owner).port


def written(place: Place) -> tuple[str, str, int]:
    """The port as the checkout's two files and the master configuration have it."""
    path = place.path(1)
    [local] = [line for line in (path / ".env.local").read_text().splitlines() if line.startswith("QA_PORT=")]
    [own] = [line for line in (path / ".gaia/stages/qa.env").read_text().splitlines() if line.startswith("PORT=")]
    exported = json.loads((settings.GAIA.home.data / "environments.json").read_text())
    return local, own, exported["environments"][0]["stages"]["qa"]["port"]


def test_a_move_reaches_everything(place: Place) -> None:
    place.ready(1)
    before, wanted = place.stage(1, "qa").port, place.base_port + 5

    said = place.gaia("ports", "move", "dev1", "qa", "--to", str(wanted))

    stage = place.stage(1, "qa")
    assert said.out == f"shop-dev1 qa has moved from port {before} to {wanted}: http://localhost:{wanted}\n"
    assert (stage.port, lease_of(QA)) == (wanted, wanted)
    assert written(place) == (f"QA_PORT={wanted}", f"PORT={wanted}", wanted)
    [event] = Event.objects.filter(kind="stage.moved")
    assert (event.subject, event.data["before"], event.data["port"]) == (QA, before, wanted)
    assert event.message == f"Stage qa of shop-dev1 has moved from port {before} to {wanted}"
    assert script(stage, "launch.sh", "qa").returncode == 0
    assert answer_of(stage).startswith(f"qa {wanted} ")


def test_a_set_up_keeps_what_was_moved(place: Place) -> None:
    place.ready(1)
    ports.move(place.stage(1, "qa"), place.base_port + 5)

    planned = place.gaia("env", "setup", "--dry-run", "--json").data
    again = place.gaia("env", "setup")
    more = place.set_up(3)

    assert planned["environments"][0]["ports"]["qa"] == place.base_port + 5
    assert "Nothing to do: 1 environment of shop is as wanted." in again.out
    assert (more["created"], more["unchanged"]) == (["dev2", "dev3"], ["dev1"])
    assert lease_of(QA) == place.stage(1, "qa").port == place.base_port + 5
    assert [one["name"] for one in shown_stages(place)] == ["dev", "qa", "staging"], "columns stay in their order"


def shown_stages(place: Place) -> list[dict[str, Any]]:
    return list(place.gaia("env", "list", "--json").data[0]["stages"])


def test_without_a_number_one_is_chosen_that_nobody_wants(place: Place) -> None:
    place.ready(1)
    last = place.base_port + 199
    lease_ports(ensure_node(), {"somebody": last})
    with socket.create_server(("127.0.0.1", last - 1)):
        assert ports.move(place.stage(1, "qa"))
    assert place.stage(1, "qa").port == last - 2, "not leased, not listened on, not dev2's to come"


def test_the_port_it_has_is_no_move(place: Place) -> None:
    place.ready(1)
    stage = place.stage(1, "qa")

    said = place.gaia("ports", "move", "dev1", "qa", "--to", str(stage.port))

    assert said.out == f"Nothing to do: shop-dev1 qa is on port {stage.port}.\n"
    assert not Event.objects.filter(kind="stage.moved").exists()


def test_what_somebody_else_has(place: Place) -> None:
    place.ready(1)
    stage = place.stage(1, "qa")
    with pytest.raises(Conflict, match="is leased to environment/shop-dev1/dev"):
        ports.move(stage, place.base_port)
    with socket.create_server(("127.0.0.1", place.base_port + 5)), pytest.raises(Conflict) as taken:
        ports.move(stage, place.base_port + 5)
    assert ME in taken.value.what
    for number in (80, 70_000):
        with pytest.raises(InvalidInput, match="cannot be used"):
            ports.move(stage, number)
    assert lease_of(QA) == place.stage(1, "qa").port == place.base_port + 100


def test_one_that_runs_stays_where_it_is(place: Place) -> None:
    place.ready(1)
    stage = place.stage(1, "qa")
    script(stage, "launch.sh", "qa")

    said = place.gaia("ports", "move", "dev1", "qa", "--to", str(place.base_port + 5))

    assert said.code == 4
    assert f"stage qa of shop-dev1 runs on port {stage.port}" in said.err
    assert f"gaia ports move shop-dev1 qa --to {place.base_port + 5} --restart" in said.err
    assert (place.stage(1, "qa").port, lease_of(QA)) == (stage.port, stage.port)
    assert answer_of(stage)


def test_with_a_restart_and_without_gaia(place: Place) -> None:
    place.ready(1)
    stage = place.stage(1, "qa")
    script(stage, "launch.sh", "qa")
    pid = pid_by_script(stage)

    said = place.gaia("ports", "move", "dev1", "qa", "--to", str(place.base_port + 5), "--restart", "--json")

    assert said.code == 0, said.err
    assert (said.data["before"], said.data["port"], said.data["state"]) == (stage.port, place.base_port + 5, "running")
    moved = place.stage(1, "qa")
    assert answer_of(moved).startswith(f"qa {place.base_port + 5} ")
    assert pid_by_script(moved) not in (pid, None)
    with socket.create_server(("127.0.0.1", stage.port)):
        pass  # nobody is left there


def test_with_a_restart_by_the_api(place: Place, daemon: DaemonProcess, client: Client) -> None:
    place.ready(1)
    stage = place.stage(1, "qa")
    client.post("/api/environments/dev1/stages/qa/launch/")
    until(is_shown(stage, state="running"), "that it runs")

    def move(**body: Any) -> Any:
        return client.post("/api/environments/dev1/stages/qa/move/", body, content_type="application/json")

    refused = move(to=place.base_port + 5)
    asked = move(to=place.base_port + 5, restart=True)

    assert (refused.status_code, "runs on port" in refused.json()["title"]) == (409, True)
    assert asked.status_code == 202, asked.content
    operation = until(lambda: _ended(asked.json()["id"]), "the operation")
    assert operation.state == OperationState.SUCCEEDED, operation.error
    moved = place.stage(1, "qa")
    assert (moved.port, shown(moved)["state"]) == (place.base_port + 5, "running")
    assert answer_of(moved).startswith(f"qa {moved.port} ")


def _ended(pk: int) -> Operation | None:
    operation = Operation.objects.get(pk=pk)
    return None if operation.active else operation


def test_one_that_does_not_come_up_again_keeps_no_other_down(place: Place) -> None:
    place.ready(1)
    dev, qa = place.stage(1, "dev"), place.stage(1, "qa")
    for stage in (dev, qa):
        script(stage, "launch.sh", stage.name)
    with ExitStack() as taken:

        def closing_later(server: socket.socket) -> None:
            taken.enter_context(server)

        with pytest.raises(Conflict, match=f"port {dev.port} is taken"):
            restarted(
                cast(Progress, lambda *_: None),
                [dev.pk, qa.pk],
                lambda _: closing_later(socket.create_server(("127.0.0.1", dev.port))),
            )
        assert answer_of(qa)


def test_a_checkout_that_was_swept_is_told_how_to_be_mended(place: Place) -> None:
    place.ready(1)
    shutil.rmtree(place.path(1) / ".gaia")
    for verb in (("ports", "move", "dev1", "qa"), ("https", "on", "dev1", "qa")):
        said = place.gaia(*verb)
        assert (said.code, "Repair it: gaia env setup" in said.err) == (3, True), said.err


def test_what_cannot_be_had_stops_nothing(place: Place) -> None:
    place.ready(1)
    stage = place.stage(1, "qa")
    script(stage, "launch.sh", "qa")
    pid = pid_by_script(stage)

    said = place.gaia("ports", "move", "dev1", "qa", "--to", str(place.base_port), "--restart")

    assert (said.code, "is leased to" in said.err) == (4, True)
    assert pid_by_script(stage) == pid


def test_a_port_taken_at_launch_is_told_with_the_way_out(place: Place, daemon: DaemonProcess, client: Client) -> None:
    place.ready(1)
    stage = place.stage(1, "qa")
    with socket.create_server(("127.0.0.1", stage.port)):
        said = place.gaia("env", "launch", "dev1", "qa")
        answer = client.post("/api/environments/dev1/stages/qa/launch/")
        by_hand = script(stage, "launch.sh", "qa")
        [command] = {one["move"] for one in place.gaia("ports", "--json").data if one["move"]}

        assert command == "gaia ports move shop-dev1 qa"
        for text in (said.err, answer.json()["title"] + answer.json()["fix"], by_hand.stderr):
            assert ME in text
            assert command in text
        moved = place.gaia(*command.split()[1:])
        launched = place.gaia("env", "launch", "dev1", "qa")
    assert (moved.code, launched.code) == (0, 0), moved.err + launched.err
    assert answer_of(place.stage(1, "qa")).startswith("qa ")


def test_a_port_taken_after_the_launch_was_asked_for(place: Place) -> None:
    """The daemon looks again before it starts it, and who waits is told the same."""
    place.ready(1)
    stage = place.stage(1, "qa")
    process = stages.launch(stage)
    with socket.create_server(("127.0.0.1", stage.port)):
        record_not_started(process, f"port {stage.port} is taken")
        with pytest.raises(Conflict) as taken:
            stages.wait_until_up(stage, process, timeout=5)
    assert ME in taken.value.what
    assert "gaia ports move shop-dev1 qa" in taken.value.fix


@pytest.mark.parametrize("verb", [("ports", "move", "dev1", "qa"), ("https", "on", "dev1", "qa")], ids=" ".join)
def test_an_environment_that_is_not_ready_stays_as_it_is(place: Place, verb: tuple[str, ...]) -> None:
    place.ready(1)
    shutil.rmtree(place.path(1))
    record_damaged(place.environment(1), "its checkout is missing")
    said = place.gaia(*verb)
    assert (said.code, "environment shop-dev1 is damaged" in said.err) == (4, True)
    assert (place.stage(1, "qa").port, place.stage(1, "qa").https) == (place.base_port + 100, False)


def test_removed_and_made_anew_it_is_as_new(place: Place) -> None:
    place.ready(1)
    ports.move(place.stage(1, "qa"), place.base_port + 5)
    https.switch([place.stage(1, "qa")], True)
    place.clean()
    place.set_up(1)
    stage = place.stage(1, "qa")
    assert (stage.port, lease_of(QA), stage.https) == (place.base_port + 100, place.base_port + 100, False)
    assert not (place.path(1) / ".gaia/tls").exists()


def test_killed_before_the_files_were_written(place: Place, daemon: DaemonProcess) -> None:
    """Lease and row have moved, the checkout says the old port: the next launch brings them into agreement."""
    place.ready(1)
    stage = place.stage(1, "qa")
    PortLease.objects.filter(owner=QA).update(port=place.base_port + 5)
    Stage.objects.filter(pk=stage.pk).update(port=place.base_port + 5)

    launched = place.gaia("env", "launch", "dev1", "qa")

    assert launched.code == 0, launched.err
    assert answer_of(place.stage(1, "qa")).startswith(f"qa {place.base_port + 5} ")
    assert written(place)[:2] == (f"QA_PORT={place.base_port + 5}", f"PORT={place.base_port + 5}")


def test_nobody_starts_it_meanwhile(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.ready(1)
    stage = place.stage(1, "qa")
    launched: list[int] = []
    furnish = ports.furnish

    def launch_then_furnish(environment: Any) -> Any:
        launched.append(script(stage, "launch.sh", "qa").returncode)
        return furnish(environment)

    monkeypatch.setattr(ports, "furnish", launch_then_furnish)

    assert ports.move(stage, place.base_port + 5)

    assert launched == [4]
    assert script(stage, "launch.sh", "qa").returncode == 0


def test_one_is_at_it_at_a_time(place: Place) -> None:
    place.ready(1)
    with project_lock("shop"), pytest.raises(Conflict, match="project shop is already being worked on"):
        ports.move(place.stage(1, "qa"))


# -- who has which, and which are free


def test_who_has_which(place: Place, client: Client) -> None:
    place.ready(1)
    running, taken = place.stage(1, "dev"), place.stage(1, "staging")
    script(running, "launch.sh", "dev")
    with socket.create_server(("127.0.0.1", taken.port)):
        said = place.gaia("ports", "list")
        data = place.gaia("ports", "list", "--json").data
        answer = client.get("/api/ports/").json()

    session = os.getsid(data[1]["pid"])
    assert session == pid_by_script(running)
    assert [(one["stage"], one["state"], one["pid"]) for one in data] == [
        ("staging", "taken", os.getpid()), ("dev", "serving", data[1]["pid"]), ("qa", "free", None),
    ]  # fmt: skip
    assert data[1]["command"].endswith("app.py")
    assert [{**one, "leased_at": ""} for one in answer] == [{**one, "leased_at": ""} for one in data]
    lines = said.out.splitlines()
    assert lines[0].startswith(f"✗ {taken.port} ")
    assert any(f"pid {os.getpid()}" in line for line in lines)
    assert "move it: gaia ports move shop-dev1 staging" in said.out
    assert "1 of 3 taken" in said.err
    assert all(len(line) <= 80 for line in lines)


def test_finding_free_ones(place: Place, client: Client) -> None:
    place.ready(1)
    beside = place.base_port + 300
    lease_ports(ensure_node(), {"somebody": beside + 1})
    with socket.create_server(("127.0.0.1", beside)):
        said = place.gaia("ports", "find", "--count", "3")
        answer = client.get("/api/ports/free/?count=3")

    wanted = [beside + 2, beside + 3, beside + 4]
    assert said.out == "".join(f"{port}\n" for port in wanted)
    assert answer.json()["ports"] == wanted
    assert "gaia env setup --base-port" in said.err
    assert client.get("/api/ports/free/?count=101").status_code == 400
    assert client.get("/api/ports/free/?count=x").status_code == 400
