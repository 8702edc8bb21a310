"""`/api/backups/` and the console's buttons: what is shown, what is asked for and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from environments.actions import backups
from environments.models import Backup
from environments.states import BackupState
from processes.models import Operation
from tests.conftest import Operator
from tests.environments.databases import customers, fill
from tests.environments.places import Place

ADMIN = "/admin/environments/backup/"


@pytest.fixture
def backup(place: Place) -> Backup:
    """Of a stage with a customer, who has another one by now."""
    place.ready(2)
    stage = place.stage(1, "qa")
    fill(stage, "Ada")
    backup = backups.take_backup(stage)
    fill(stage, "Grace")
    return backup


@pytest.fixture
def send(client: Client) -> Callable[..., Any]:
    def send(path: str, **body: Any) -> Any:
        return client.post(f"/api/{path}", body, content_type="application/json")

    return send


@pytest.fixture
def console(operator: Operator) -> Client:
    """The operator's browser."""
    browser = Client()
    browser.force_login(operator.user)
    return browser


def test_what_there_is(place: Place, client: Client, backup: Backup) -> None:
    other = backups.take_backup(place.stage(2, "dev"))
    backups.delete(backups.take_backup(place.stage(1, "dev")))

    def names(query: str = "") -> list[str]:
        return [each["name"] for each in client.get(f"/api/backups/{query}").json()["results"]]

    assert names() == [other.name, backup.name]
    assert names("?environment=dev1") == [backup.name]
    assert names("?environment=shop-dev2&stage=dev") == [other.name]
    assert names("?project=shop&stage=qa") == [backup.name]
    assert names("?environment=gaia") == []
    assert len(names("?state=deleted")) == 1
    for nowhere in ("environment=nowhere", "project=nowhere"):
        assert client.get(f"/api/backups/?{nowhere}").status_code == 404
    for nothing in ("state=bogus", "stage=bogus"):
        assert client.get(f"/api/backups/?{nothing}").status_code == 400

    one = client.get(f"/api/backups/{backup.name}/").json()
    assert (one["environment"], one["stage"], one["state"]) == ("shop-dev1", "qa", "verified")
    assert one["tables"] == [{"name": "customer", "now": 2, "backup": 1}]
    assert one["problems"] == []
    assert one["sha256"] == backup.sha256


def test_what_can_be_asked_for(place: Place, send: Callable[..., Any], backup: Backup) -> None:
    assert send("backups/").status_code == 400
    assert send("backups/", environment="nowhere").status_code == 404

    taken = send("backups/", environment="dev2", stage="qa")
    assert (taken.status_code, taken.json()["kind"]) == (202, "environment.backup")
    place.operate(Operation.objects.get(pk=taken.json()["id"]))
    assert Backup.objects.filter(stage=place.stage(2, "qa"), state=BackupState.VERIFIED).count() == 1
    every = send("backups/", all=True).json()
    assert Operation.objects.get(pk=every["id"]).params["own"] is True

    place.operate(Operation.objects.get(pk=send(f"backups/{backup.name}/verify/").json()["id"]))
    restored = send(f"backups/{backup.name}/restore/")
    assert restored.status_code == 202, restored.content
    assert send(f"backups/{backup.name}/restore/").status_code == 409, "one at a time"
    place.operate(Operation.objects.get(pk=restored.json()["id"]))
    assert customers(place.stage(1, "qa")) == ["Ada"]


def test_repeating_a_request_starts_nothing_twice(client: Client, backup: Backup) -> None:
    answers = [
        client.post(
            f"/api/backups/{backup.name}/verify/", content_type="application/json", headers={"Idempotency-Key": "k"}
        ).json()["id"]
        for _ in range(2)
    ]
    assert answers[0] == answers[1]


def test_deleted(client: Client, backup: Backup) -> None:
    assert client.delete(f"/api/backups/{backup.name}/").status_code == 204
    assert client.get(f"/api/backups/{backup.name}/").json()["state"] == "deleted"
    assert client.post(f"/api/backups/{backup.name}/verify/").status_code == 409


def test_reset_and_repair(place: Place, send: Callable[..., Any], backup: Backup) -> None:
    asked = send("environments/reset/", names=["dev2"])
    assert (asked.status_code, asked.json()["kind"]) == (202, "environment.reset")
    assert place.operate(Operation.objects.get(pk=asked.json()["id"])).result["reset"] == ["dev2"]
    assert send("environments/reset/", names=["dev9"]).status_code == 404

    mended = send("environments/dev1/stages/qa/repair-database/")
    assert place.operate(Operation.objects.get(pk=mended.json()["id"])).result["made_from"] == "whole"
    assert send("environments/dev1/stages/prod/repair-database/").status_code == 404


def test_gaias_own_is_restored_with_gaia_down(send: Callable[..., Any], client: Client, backup: Backup) -> None:
    own = Backup.objects.create(name="gaia-20250131T120000Z", path="/x.sqlite3.gz", state=BackupState.VERIFIED)
    answer = send(f"backups/{own.name}/restore/")
    assert answer.status_code == 403
    assert answer.json()["fix"].startswith("gaia down, then gaia backup restore gaia-20250131T120000Z")
    assert client.get(f"/api/backups/{own.name}/").json()["problems"]


# -- the console


def test_the_pages(place: Place, console: Client, backup: Backup) -> None:
    page = console.get(ADMIN).content.decode()
    assert backup.name in page
    assert backup.name in console.get(ADMIN, {"of": "shop/dev1"}).content.decode()
    assert "Nothing matches" in console.get(ADMIN, {"of": "gaia"}).content.decode()
    page = console.get(f"{ADMIN}{backup.pk}/change/").content.decode()
    assert "Restore…" in page
    assert "differs" in page
    Backup.objects.filter(pk=backup.pk).update(state=BackupState.FAILED, problem="the disk ate it")
    page = console.get(f"{ADMIN}{backup.pk}/change/").content.decode()
    assert "It cannot be relied upon: the disk ate it." in page
    assert "Restore…" not in page


def test_the_buttons(place: Place, console: Client, backup: Backup) -> None:
    answer = console.post(f"{ADMIN}{backup.pk}/restore/")
    operation = Operation.objects.get(kind="environment.restore_backup")
    assert answer["Location"] == f"/admin/processes/operation/{operation.pk}/change/"
    place.operate(operation)
    assert customers(place.stage(1, "qa")) == ["Ada"]
    console.post(f"{ADMIN}{backup.pk}/verify/")
    place.operate(Operation.objects.get(kind="environment.verify_backup"))
    assert console.post(f"{ADMIN}{backup.pk}/delete/")["Location"] == ADMIN
    assert Backup.objects.get(pk=backup.pk).state == BackupState.DELETED

    page = console.post(f"{ADMIN}take/").content.decode()
    assert "Nothing was chosen" in page or "nothing was chosen" in page
    console.post(f"{ADMIN}take/", {"id": place.environment(2).pk})
    asked = Operation.objects.filter(kind="environment.backup").latest("id")
    assert (len(asked.params["stages"]), asked.params["own"]) == (3, False)


def test_the_reset(place: Place, console: Client, backup: Backup) -> None:
    path = f"{ADMIN}reset/"
    page = console.get(path, {"id": place.environment(2).pk}).content.decode()
    assert page.count(" checked>") == 1
    assert "Tick those to reset." in console.post(path).content.decode()

    console.post(path, {"id": place.environment(2).pk})

    assert place.operate(Operation.objects.get(kind="environment.reset")).result["reset"] == ["dev2"]
