"""GAIA's own console and job queue as services: what they are, and that they are up whenever a daemon begins."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from events.models import Event
from gaia_site import canary, parts
from gaia_site.cli import status
from gaia_site.cli.status import services_in_short
from gaia_site.parts import JOBS, WEB
from processes.actions import processes as actions
from processes.actions.ports import lease_ports
from processes.models import Node, PortLease, Process
from processes.states import EnvironmentBase
from services.actions import running
from services.models import Service
from services.states import Desired, ServiceKind, ServiceState

pytestmark = pytest.mark.django_db


@pytest.fixture
def node(acting: str) -> Node:
    from processes.actions.nodes import ensure_node

    return ensure_node()


def one(owner: str) -> Service:
    return Service.objects.get(owner=owner)


def test_both_are_known_and_asked_for(node: Node) -> None:
    web, jobs = parts.ensure(node)
    assert (web.name, web.kind, web.owner, web.port) == ("gaia-web", ServiceKind.PLATFORM, WEB, 8080)
    assert (jobs.name, jobs.kind, jobs.owner, jobs.port) == ("gaia-jobs", ServiceKind.PLATFORM, JOBS, None)
    assert str(web.port) in web.argv
    for service, role in ((web, "web"), (jobs, "jobs")):
        assert (service.state, service.desired) == (ServiceState.STARTING, Desired.UP)
        process = Process.objects.active().get(owner=service.owner)
        assert process.env_base == EnvironmentBase.GAIA
        assert service.env == {"GAIA_ROLE": role}
        assert not service.secrets, "nothing secret lies in the row"
    assert [(each["kind"], each["purpose"]) for each in web.probes] == [("http", "startup"), ("http", "liveness")]
    assert [(each["kind"], each["purpose"]) for each in jobs.probes] == [("canary", "startup"), ("canary", "liveness")]
    assert not PortLease.objects.exists(), "its port is the settings', not handed out"


def test_the_canary_is_given_less_than_half_a_minute(node: Node) -> None:
    """Its looks, the one that has to begin them, and the time in which what hangs is asked to end."""
    parts.ensure(node)
    assert canary.EVERY_S * (canary.LOOKS + 1) + one(JOBS).stop_grace < 25


def test_again_changes_nothing(node: Node) -> None:
    parts.ensure(node)
    events = Event.objects.count()
    parts.ensure(node)
    assert (Service.objects.count(), Process.objects.count(), Event.objects.count()) == (2, 2, events)
    assert {service.revision for service in Service.objects.all()} == {1}


def test_another_port_another_address(node: Node, settings: Any) -> None:
    parts.ensure(node)
    settings.GAIA = {**settings.GAIA.values, "server.host": "::"}
    parts.ensure(node, 8099)
    web = one(WEB)
    assert (web.port, web.revision) == (8099, 2)
    assert "::" in web.argv
    assert web.probes[0]["endpoint"] == "http://127.0.0.1:8099/health"
    assert one(JOBS).revision == 1


def test_a_port_that_is_handed_out_is_no_reason_not_to_begin(node: Node) -> None:
    """The console tells by not coming up; a daemon that did not begin would tell nothing."""
    lease_ports(node, {"environment/shop-dev1/dev": 8080})
    parts.ensure(node)
    assert one(WEB).state == ServiceState.STARTING


def test_a_new_daemon_does_not_wait(node: Node) -> None:
    """Whatever its predecessor saw die."""
    parts.ensure(node)
    for process in Process.objects.active():
        actions.record_not_started(process, "port 8080 is taken by python3 (pid 7)")
    later = timezone.now() + timedelta(seconds=50)
    Service.objects.update(
        state=ServiceState.CRASH_LOOP, failures=9, failed_at=[1.0], alarmed_at=timezone.now(), next_start_at=later
    )
    for service in parts.ensure(node):
        assert (service.state, service.failures, service.next_start_at) == (ServiceState.STARTING, 0, None)
    assert Process.objects.active().count() == 2


def test_gaia_up_beside_a_daemon_does_not_wait_either(node: Node) -> None:
    parts.ensure(node)
    process = Process.objects.active().get(owner=WEB)
    actions.record_not_started(process, "port 8080 is taken by python3 (pid 7)")
    Service.objects.filter(owner=WEB).update(state=ServiceState.BACKOFF, next_start_at=timezone.now())
    running.stop(one(JOBS))
    parts.start(node)
    assert Process.objects.active().filter(owner=WEB).exists()
    assert one(JOBS).desired == Desired.UP


def test_in_one_line(node: Node) -> None:
    assert parts.status_line(parts.rows(node)) == "nothing runs yet"
    parts.ensure(node)
    Service.objects.filter(owner=WEB).update(state=ServiceState.BACKOFF, problem="it ended with code 1")
    assert parts.status_line(parts.rows(node)) == "gaia-web backoff: it ended with code 1, gaia-jobs starting"


def test_what_gaia_status_shows(node: Node) -> None:
    parts.ensure(node)
    Service.objects.filter(owner=WEB).update(state=ServiceState.RUNNING)
    with_daemon = services_in_short(daemon=True)
    assert [(each["name"], each["state"], each["pid"]) for each in with_daemon] == [
        ("gaia-jobs", "starting", None),
        ("gaia-web", "running", None),
    ]
    without = services_in_short(daemon=False)
    assert {each["state"] for each in without} == {"stopped"}, "nobody has looked since their processes ended"


def test_how_gaia_status_says_it() -> None:
    since = (timezone.now() - timedelta(minutes=5)).isoformat()
    common = {"kind": "process", "since": since, "restarts": 0, "healthy": True, "problem": "", "pid": None}
    data = {
        "up": True, "url": "http://127.0.0.1:8080", "home": "/h", "health": {"verdict": "healthy", "reasons": []},
        "panic": {"panic": False},
        "processes": {"daemon": 1, "web": 2, "jobs": 3}, "totals": {"environments": 1, "stages": 3, "sessions": 0},
        "services": [
            {**common, "name": "gaia-jobs", "kind": "platform", "state": "running", "pid": 3, "restarts": 2},
            {**common, "name": "gaia-web", "kind": "platform", "state": "unready", "pid": 2, "problem": "no answer"},
            {**common, "name": "api", "state": "crash_loop", "restarts": 7, "problem": "it died 7 times in a row"},
            {**common, "name": "shop-dev1-qa", "kind": "stage", "state": "running", "pid": 4},
            {**common, "name": "shop-dev2-qa", "kind": "stage", "state": "failed", "problem": "it ended"},
        ],
    }  # fmt: skip
    lines = status._told(data)
    assert lines[:6] == [
        "● GAIA is up at http://127.0.0.1:8080",
        "  ● daemon  pid 1",
        "  ▲ web     pid 2, for 5m: no answer",
        "  ● jobs    pid 3, for 5m, restarted 2 ×",
        "  ✗ api          crash loop, for 5m, restarted 7 ×: it died 7 times in a row",
        "  ✗ shop-dev2-qa failed, for 5m: it ended",
    ]
    assert not any("shop-dev1-qa" in line for line in lines), "stages that are well have a picture of their own"
