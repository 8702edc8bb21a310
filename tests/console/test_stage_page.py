"""The page of a stage, and the ports that lead to it, without a browser."""

from __future__ import annotations

import socket

import pytest
from django.test import Client

from environments.models import Stage
from processes.models import PortLease
from tests.console import rows

pytestmark = pytest.mark.django_db

PORTS = "/admin/processes/portlease/"


def page_of(stage: Stage) -> str:
    return f"/admin/environments/stage/{stage.pk}/change/"


@pytest.fixture
def stage() -> Stage:
    rows.environments(1)
    return Stage.objects.get(name="qa")


def test_what_it_shows(console: Client, stage: Stage) -> None:
    page = console.get(page_of(stage)).content.decode()
    for told in ("http://localhost:8181", "demo-dev1", "USE_HTTPS", "TLS_CERT", "Move"):
        assert told in page
    assert "/https/on/" in page
    assert "/https/off/" not in page


def test_its_list_is_that_of_ports(console: Client, stage: Stage) -> None:
    assert console.get("/admin/environments/stage/").url == PORTS  # type: ignore[attr-defined]


def test_a_taken_port_leads_to_the_page_where_it_is_moved(console: Client, stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        Stage.objects.filter(pk=stage.pk).update(port=port)
        PortLease.objects.filter(owner=stage.owner).update(port=port)
        listed = console.get(PORTS).content.decode()
        led = console.get(f"/admin/environments/stage/of-port/{port}/")
        page = console.get(page_of(stage)).content.decode()
    assert "taken" in listed
    assert f"/admin/environments/stage/of-port/{port}/" in listed
    assert led.url == page_of(stage)  # type: ignore[attr-defined]
    assert "gaia ports move demo-dev1 qa" in page
    assert console.get("/admin/environments/stage/of-port/1/").url == "/admin/"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("to", "told"),
    [("x", "is no port"), ("80", "cannot be used"), ("8081", "is leased to environment/demo-dev1/dev")],
)
def test_a_mistake_comes_back_with_the_page(console: Client, stage: Stage, to: str, told: str) -> None:
    answer = console.post(f"/admin/environments/stage/{stage.pk}/move/", {"to": to})
    assert answer.status_code == 200
    assert told in answer.content.decode()
    assert Stage.objects.get(pk=stage.pk).port == 8181


@pytest.mark.parametrize("verb", ["move", "https/on", "https/off"])
def test_its_verbs_are_not_for_everybody(stage: Stage, verb: str) -> None:
    answer = Client().post(f"/admin/environments/stage/{stage.pk}/{verb}/")
    assert answer.status_code == 302
    assert "/login/" in answer.url  # type: ignore[attr-defined]
