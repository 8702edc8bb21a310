"""How many queries each page makes: pinned, and the same however much there is to show."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from environments.models import Environment, Health
from events.models import Event
from processes.models import Node, Operation, Process
from projects.models import Project
from services.models import Service
from sessions.models import Session
from tests.console import rows

pytestmark = pytest.mark.django_db

LISTS = {
    "/admin/": 15,
    "/admin/gaia_sessions/session/": 17,
    "/admin/environments/backup/": 16,
    "/admin/environments/environment/": 19,
    "/admin/environments/health/": 18,
    "/admin/processes/operation/": 15,
    "/admin/processes/process/": 15,
    "/admin/processes/node/": 14,
    "/admin/processes/portlease/": 16,
    "/admin/services/service/": 21,
    "/admin/projects/project/": 14,
    "/admin/policy/user/": 14,
    "/admin/policy/token/": 14,
    "/admin/events/event/": 18,
}
DETAILS = {
    Session: 14,
    Environment: 22,
    Health: 14,
    Operation: 14,
    Process: 15,
    Node: 16,
    Service: 21,
    Project: 15,
    Event: 13,
}


def furnish(size: int) -> None:
    """As much of everything."""
    rows.sessions(size)
    rows.health(rows.environments(min(size, 60)))
    rows.services(min(size, 100))
    for number in range(size):
        rows.operation("succeeded", f"project/{number}")
        rows.ended(f"thing/{number}", 0)
    rows.events(size)


def queries(console: Client, path: str) -> int:
    assert console.get(path).status_code == 200  # content types and the like are looked up once per process
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert console.get(path).status_code == 200
    return len(captured)


@pytest.mark.parametrize("size", [26, 130])
def test_lists(size: int, console: Client) -> None:
    furnish(size)
    assert {path: queries(console, path) for path in LISTS} == LISTS


def test_details(console: Client) -> None:
    furnish(26)
    rows.operation("running", "project/now", done=1, total=4)
    found = {}
    for model in DETAILS:
        options = model._meta
        pk = model.objects.first().pk
        found[model] = queries(console, f"/admin/{options.app_label}/{options.model_name}/{pk}/change/")
    assert found == DETAILS


def parts(console: Client, names: str) -> Callable[[], int]:
    def ask() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert console.get("/admin/", headers={"X-Gaia-Parts": names}).status_code == 200
        return len(captured)

    return ask


def test_a_part_costs_only_what_it_shows(console: Client) -> None:
    furnish(26)
    console.get("/admin/")
    signed_in = 2  # session and account
    assert parts(console, "fleet")() == signed_in + 1
    assert parts(console, "happened")() == signed_in + 1
    assert parts(console, "badge-sessions")() == signed_in + 8
    assert parts(console, "nothing")() == signed_in
