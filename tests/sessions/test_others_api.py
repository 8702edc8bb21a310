"""The API and the console of sessions that GAIA did not start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from rest_framework.test import APIClient

from events.actor import acting_as
from sessions import others
from sessions.actions import control
from sessions.models import Session
from sessions.states import Origin
from tests.endpoints import client_of, problem
from tests.sessions.strangers import Stranger
from tests.waiting import until

Make = Callable[..., Stranger]
URL = "/api/orchestration/sessions/"
PAGES = "/admin/gaia_sessions/session/"


@pytest.fixture
def api(operator: Any) -> APIClient:
    return client_of(operator.token)


@pytest.fixture
def console(operator: Any) -> Client:
    cache.clear()
    client = Client()
    client.force_login(operator.user)
    return client


def look() -> None:
    with acting_as("node:test"):
        others.look()


def test_listed_read_adopted_and_let_go(api: APIClient, stranger: Make) -> None:
    server = stranger("default", "pr_review1")
    look()
    [shown] = api.get(URL, {"origin": "foreign"}).json()
    assert (shown["origin"], shown["socket"], shown["group"]) == ("foreign", str(server.socket), "pr_review")
    assert (shown["runs"], shown["reason"]) == ("other", "claude should run here, but cat does")
    assert api.get(URL, {"origin": "gaia"}).json() == []
    [group] = [one for one in api.get(f"{URL}groups/").json() if one["foreign"]]
    assert (group["key"], group["running"], group["expected"]) == ("pr_review", 0, 3)
    at = f"{URL}pr_review1/"
    for answer in (api.post(f"{at}send-keys/", {"text": "x"}), api.delete(at)):
        assert problem(answer, 409)["fix"] == "Adopt it first: gaia session adopt pr_review1."
    adopted = api.post(f"{at}adopt/", {"role": "review", "socket": "default"}, format="json")
    assert (adopted.status_code, adopted.json()["origin"], adopted.json()["role"]) == (200, "adopted", "review")
    problem(api.post(f"{at}adopt/", {}, format="json"), 409)
    assert api.post(f"{at}send-keys/", {"text": "hello"}).status_code == 204
    until(lambda: api.get(f"{at}capture/").json()["text"].count("hello") == 2)
    assert api.post(f"{at}release/").json()["origin"] == "foreign"
    problem(api.post(f"{at}release/"), 409)
    server("rename-session", "-t", "=pr_review1", "renamed")
    look()
    assert "hello" in api.get(f"{at}capture/?life={shown['id']}").json()["text"], "whoever has its page open reads on"
    server("rename-session", "-t", "=renamed", "pr_review1")
    look()
    assert api.post(f"{at}adopt/?life={shown['id']}").json()["origin"] == "adopted"
    assert api.delete(at).status_code == 204
    assert server("list-sessions", code=1) == ""


@pytest.mark.parametrize(
    ("body", "status"),
    [({"group": "nowhere"}, 404), ({"environment": "dev9"}, 404), ({"name": "a b"}, 400), ({"socket": "nowhere"}, 404)],
)
def test_what_cannot_be_adopted(api: APIClient, stranger: Make, body: dict[str, str], status: int) -> None:
    stranger("default", "one")
    look()
    problem(api.post(f"{URL}one/adopt/", body, format="json"), status)
    assert Session.objects.get().origin == Origin.FOREIGN


def test_the_console_tells_them_apart(console: Client, stranger: Make) -> None:
    server = stranger("work", "pr_review1", "notes")
    look()
    row = control.find("pr_review1")
    page = console.get(PAGES).content.decode()
    assert "not GAIA&#x27;s" in page or "not GAIA's" in page
    assert "claude should run here, but cat does" in page
    assert "notes" not in console.get(PAGES, {"group": "pr_review"}).content.decode().split("<tbody")[-1]
    assert console.get(PAGES, {"origin": "gaia"}).content.decode().count('data-key="session-') == 0
    detail = console.get(f"{PAGES}{row.pk}/change/").content.decode()
    assert str(server.socket) in detail
    assert "data-screen" in detail
    assert 'id="prompt"' not in detail
    assert f"{PAGES}{row.pk}/adopt/" in detail
    assert f"{PAGES}{row.pk}/stop/" not in detail
    home = console.get("/admin/").content.decode()
    assert "2 not GAIA" in home


def test_its_buttons(console: Client, stranger: Make) -> None:
    stranger("default", "one")
    look()
    row = control.find("one")
    assert console.post(f"{PAGES}{row.pk}/adopt/").status_code == 302
    row.refresh_from_db()
    assert row.origin == Origin.ADOPTED
    detail = console.get(f"{PAGES}{row.pk}/change/").content.decode()
    assert 'id="prompt"' in detail
    assert f"{PAGES}{row.pk}/release/" in detail
    assert "It can be started again" not in detail
    console.post(f"{PAGES}{row.pk}/release/")
    row.refresh_from_db()
    assert row.origin == Origin.FOREIGN
