"""The health pages without a browser: what they list, what their buttons do, who may press them."""

from __future__ import annotations

import pytest
from django.test import Client

from environments.models import Environment, Health
from events.models import Event
from gaia_site.console.attention import Attention
from tests.console import rows

pytestmark = pytest.mark.django_db

PAGE = "/admin/environments/health/"


def listed(console: Client, **query: str) -> list[str]:
    answer = console.get(PAGE, query)
    assert answer.status_code == 200
    return [f"{row.environment.name} {row.verdict}" for row in answer.context["cl"].result_list]


def test_what_there_is_and_was(console: Client) -> None:
    first, *_ = rows.environments(2)
    assert "Nobody has looked yet" in console.get(PAGE).content.decode()
    rows.health(list(Environment.objects.order_by("number")))
    assert sorted(listed(console)) == ["dev1 failed", "dev1 ok", "dev2 ok", "dev2 ok"]
    assert listed(console, verdict="failed") == ["dev1 failed"]
    assert len(listed(console, environment=str(first.pk))) == 2
    assert listed(console, needs="you") == ["dev1 failed"]
    assert listed(console, q="damaged") == ["dev1 failed"]
    page = console.get(PAGE).content.decode()
    assert "demo-dev1: a database is damaged" in page
    assert "gaia env repair-database dev1 qa</button>" in page, "it is copied with a click"
    period = Health.objects.get(verdict="failed")
    assert "It cannot be read." in console.get(f"{PAGE}{period.pk}/change/").content.decode()
    Environment.objects.filter(name="dev1").update(state="removed")
    assert listed(console, needs="you") == []


def test_an_environment_and_the_list_of_them_say_it(console: Client) -> None:
    [environment] = rows.environments(1)
    rows.health([environment])
    page = console.get(f"/admin/environments/environment/{environment.pk}/change/").content.decode()
    assert "a database is damaged" in page
    assert f"{PAGE}?environment={environment.pk}" in page
    assert "unhealthy" in console.get("/admin/environments/environment/").content.decode()


def test_home_counts_each_environment_once() -> None:
    rows.health(rows.environments(4))  # the first and the fourth are unhealthy
    assert [(item.key, item.count) for item in Attention().items] == [("unhealthy", 2)]
    assert Attention().counts["health"] == 2
    Environment.objects.filter(name="dev1").update(state="damaged")
    assert [(item.key, item.count) for item in Attention().items] == [("damaged", 1), ("unhealthy", 1)]
    Health.objects.filter(verdict="failed").update(verdict="warning")
    assert [(item.key, item.count, item.look) for item in Attention().items][1] == ("warnings", 1, "warning")


def test_the_buttons_look_now(console: Client) -> None:
    [environment] = rows.environments(1)  # its directory is not there
    answer = console.post(f"{PAGE}check/", headers={"Accept": "application/json"})
    assert answer.json() == {"message": "1 environment looked at: 1 not well."}
    told = Event.objects.get(kind="environment.health")
    assert (told.actor, told.data["findings"][0]["key"]) == ("user:operator", "directory.missing")
    answer = console.post(f"{PAGE}{environment.pk}/check/")
    assert answer["Location"] == f"/admin/environments/environment/{environment.pk}/change/"
    assert console.get(f"{PAGE}check/").status_code == 405
    Environment.objects.update(state="removing")
    assert console.post(f"{PAGE}check/", headers={"Accept": "application/json"}).json() == {
        "message": "There was nothing to look at."
    }
    Environment.objects.update(state="removed")
    assert console.post(f"{PAGE}{environment.pk}/check/").status_code == 404


def test_nobody_else_may(client: Client) -> None:
    for path in (PAGE, f"{PAGE}check/"):
        assert client.post(path).status_code == 302
    assert not Health.objects.exists()
