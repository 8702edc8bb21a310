"""`/api/environments/`: what a program gets, asks for and is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from environments.models import Environment, Stage
from environments.states import STAGE_PORT_OFFSETS, EnvironmentState
from policy.actions import issue_token
from policy.models import User
from processes.models import Operation
from projects.models import Project
from tests.conftest import Operator
from tests.environments.drivers.repositories import make_repository
from tests.environments.places import DaemonProcess, Place, until

WRITING = ("setup/", "clean/", "dev1/stages/qa/launch/", "dev1/stages/qa/stop/")


def post(client: Client, path: str, key: str = "", **body: Any) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post(f"/api/environments/{path}", body, content_type="application/json", headers=headers)


def rows(count: int) -> None:
    """Environments that are on record only."""
    project = Project.objects.create(name="crowd", source="/nowhere", root="/nowhere")
    environments = Environment.objects.bulk_create(
        Environment(
            project=project, name=f"dev{number}", number=number, path=f"/nowhere/crowd-dev{number}",
            branch=f"env/dev{number}", state=EnvironmentState.READY,
        )
        for number in range(1, count + 1)
    )  # fmt: skip
    Stage.objects.bulk_create(
        Stage(environment=environment, name=name, port=9000 + offset + environment.number, database="x")
        for environment in environments
        for name, offset in STAGE_PORT_OFFSETS.items()
    )


def queries(work: Callable[[], Any]) -> int:
    """How many rows are asked for or written."""
    with CaptureQueriesContext(connection) as captured:
        work()
    return sum(query["sql"].startswith(("SELECT", "UPDATE", "INSERT")) for query in captured.captured_queries)


def test_the_list_and_one_of_it(place: Place, client: Client) -> None:
    place.ready(2)

    listed = client.get("/api/environments/").json()
    one = client.get("/api/environments/shop-dev2/").json()

    assert [each["directory"] for each in listed] == ["shop-dev1", "shop-dev2"]
    assert one == listed[1] == client.get("/api/environments/dev2/").json()
    assert (one["state"], one["path"], one["branch"]) == ("ready", str(place.path(2)), "env/dev2")
    assert one["git"]["branch"] == "env/dev2"
    assert [(stage["name"], stage["port"], stage["state"]) for stage in one["stages"]] == [
        ("dev", place.base_port + 1, "stopped"),
        ("qa", place.base_port + 101, "stopped"),
        ("staging", place.base_port + 201, "stopped"),
    ]
    assert client.get("/api/environments/dev7/").status_code == 404


def test_the_list_of_one_project(place: Place, client: Client) -> None:
    place.ready(1)
    place.set_up(1, source=str(make_repository(place.root / "other")))

    listed = client.get("/api/environments/?project=other").json()

    assert [each["directory"] for each in listed] == ["other-dev1"]
    assert client.get("/api/environments/dev1/").status_code == 409
    assert client.get("/api/environments/?project=none").json() == []


def test_fifty_environments_cost_as_many_queries_as_one(place: Place, client: Client) -> None:
    rows(1)
    client.get("/api/environments/")
    for_one = queries(lambda: client.get("/api/environments/"))
    Stage.objects.all().delete()
    Environment.objects.all().delete()
    Project.objects.all().delete()
    rows(50)

    assert queries(lambda: client.get("/api/environments/")) == for_one <= 6
    assert len(client.get("/api/environments/").json()) == 50
    assert queries(lambda: client.get("/api/environments/crowd-dev7/")) <= 8


def test_set_up_and_removal_run_by_the_daemon(place: Place, daemon: DaemonProcess, client: Client) -> None:
    asked = post(client, "setup/", source=str(place.source), count=2)

    assert asked.status_code == 202, asked.content
    done = until(lambda: _ended(client, asked.json()["id"]), "its end")
    assert (done["state"], done["result"]["created"]) == ("succeeded", ["dev1", "dev2"])
    assert done["actor"] == "token:test of operator"
    assert {event["actor"] for event in _events(client, "environment/shop-dev1")} == {"token:test of operator"}
    again = post(client, "setup/")
    done = until(lambda: _ended(client, again.json()["id"]), "its end")
    assert (done["result"]["created"], done["result"]["unchanged"]) == ([], ["dev1", "dev2"])

    removed = post(client, "clean/", names=["dev2"])
    assert removed.status_code == 202
    done = until(lambda: _ended(client, removed.json()["id"]), "its end")
    assert [each["name"] for each in done["result"]["removed"]] == ["shop-dev2"]
    assert [each["name"] for each in client.get("/api/environments/").json()] == ["dev1"]


def test_repeating_a_request_starts_nothing_twice(place: Place, client: Client) -> None:
    wanted = {"source": str(place.source), "count": 1}

    first = post(client, "setup/", key="one", **wanted)
    again = post(client, "setup/", key="one", **wanted)
    other = post(client, "setup/", key="two", **wanted)

    assert (first.status_code, again.status_code, other.status_code) == (202, 202, 409)
    assert first.json()["id"] == again.json()["id"]
    assert Operation.objects.count() == 1
    # what was asked for is not looked at again: the first answer stands
    assert post(client, "setup/", key="one", source="/gone").json()["id"] == first.json()["id"]
    assert post(client, "clean/", key="one").json()["id"] == first.json()["id"]
    assert post(client, "setup/", key="x" * 101, **wanted).status_code == 400


def test_a_plan_writes_nothing(place: Place, client: Client) -> None:
    answer = post(client, "setup/", source=str(place.source), count=2, dry_run=True)

    assert answer.status_code == 200
    assert answer.json() == {
        "project": "shop",
        "source": str(place.source),
        "root": str(place.root),
        "base_port": place.base_port,
        "environments": [
            {
                "name": f"dev{number}",
                "path": str(place.path(number)),
                "branch": f"env/dev{number}",
                "action": "create",
                "ports": {name: place.base_port + offset + number - 1 for name, offset in STAGE_PORT_OFFSETS.items()},
            }
            for number in (1, 2)
        ],
        "others": [],
    }
    for model in (Project, Environment, Operation):
        assert not model.objects.exists()


@pytest.mark.parametrize("path", WRITING)
def test_who_may_not_write_changes_nothing(place: Place, operator: Operator, path: str) -> None:
    place.ready(1)
    before = Operation.objects.count()
    reader = Client(headers={"Authorization": f"Token {issue_token(operator.user, 'reader', scopes=['read'])}"})
    guest = User.objects.create_user("guest")
    stranger = Client(headers={"Authorization": f"Token {issue_token(guest, 'guest')}"})

    assert post(Client(), path).status_code == 401
    for refused in (reader, stranger):
        answer = post(refused, path)
        assert answer.status_code == 403
        assert answer["Content-Type"] == "application/problem+json"
    assert Operation.objects.count() == before
    assert place.environment(1).state == EnvironmentState.READY


def _ended(client: Client, operation: int) -> dict[str, Any] | None:
    found = dict(client.get(f"/api/operations/{operation}/").json())
    return None if found["state"] in ("queued", "running") else found


def _events(client: Client, subject: str) -> list[dict[str, Any]]:
    return list(client.get(f"/api/events/?subject={subject}").json()["results"])
