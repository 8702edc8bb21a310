"""A definition that changes while a start of the old one runs: that is asked as it was started."""

from __future__ import annotations

import socket

import pytest

from processes.actions.processes import record_exit
from processes.models import Process
from processes.states import ProcessState
from services.actions import running
from services.actions.definitions import redefine
from services.drivers.probes import bad, good
from services.models import Service
from services.overview import service_overview
from services.probing import Prober
from services.spec import parse_spec
from services.states import ServiceState
from services.verdict import Health
from tests.processes.conftest import Until
from tests.services.asked import Said, health_of, probe, process_of, up
from tests.services.house import House, fresh

pytestmark = pytest.mark.django_db(transaction=True)


def changed(service: Service, *probes: dict[str, object], **fields: object) -> Service:
    """Give a service of `up` other checks."""
    given = {"name": service.name, "command": ["sleep", "600"], "cwd": "/", "probes": list(probes)} | fields
    return redefine(service, parse_spec(given))


def ended_and_started_again(service: Service) -> None:
    """Its process ends, and the next one runs; nothing is started."""
    record_exit(process_of(service), 0, "wait")
    House(service.node).supervisor.tick()
    Process.objects.filter(pk=process_of(service).pk).update(state=ProcessState.RUNNING)


def test_what_runs_is_asked_as_it_was_started_until_it_is_restarted(prober: Prober, said: Said, until: Until) -> None:
    said.answers["api"] = good("well")
    old, new = {**probe(), "endpoint": "127.0.0.1:8001"}, {**probe(), "endpoint": "127.0.0.1:8002"}
    service = up("api", old)
    prober.turn()
    until(lambda: health_of(prober, service).ready)
    Service.objects.filter(pk=service.pk).update(state=ServiceState.RUNNING)
    first = process_of(service)
    changed(fresh(service), new)
    prober.turn()
    assert prober.health(service.pk, first.pk).ready, "nothing about it has changed"
    assert [each.probes[0].endpoint for each in said.targets] == ["127.0.0.1:8001"]
    assert service_overview(fresh(service))["outdated"] is True

    running.restart(fresh(service))
    ended_and_started_again(service)
    assert fresh(service).started_as == {}
    prober.turn()
    until(lambda: health_of(prober, service).ready)
    assert [each.probes[0].endpoint for each in said.targets] == ["127.0.0.1:8001", "127.0.0.1:8002"]
    assert service_overview(fresh(service))["outdated"] is False


def test_a_daemon_that_is_started_anew_asks_it_as_it_was_started(prober: Prober, said: Said, until: Until) -> None:
    service = up("api", {**probe(), "endpoint": "127.0.0.1:8001"}, state=ServiceState.RUNNING)
    changed(service, {**probe(), "endpoint": "127.0.0.1:8002"})
    changed(fresh(service), {**probe(), "endpoint": "127.0.0.1:8003"})
    prober.turn()
    until(lambda: said.targets)
    assert [each.probes[0].endpoint for each in said.targets] == ["127.0.0.1:8001"]


def test_checks_that_come_or_go_with_a_definition_wait_for_the_restart(
    prober: Prober, said: Said, until: Until
) -> None:
    said.answers["gone"] = bad("not ready")
    gone, come = up("gone", probe(), state=ServiceState.UNREADY), up("come")
    house = House(gone.node)
    house.supervisor._health = prober.health
    changed(gone)
    changed(come, probe())
    prober.turn()
    until(lambda: health_of(prober, gone).ready is False)
    until(lambda: health_of(prober, come).ready)
    house.supervisor.tick()
    assert (fresh(gone).state, fresh(come).state) == ("unready", "running")
    assert said.asked.keys() == {"gone"}
    assert [each["name"] for each in service_overview(fresh(gone))["probes"]] == ["readiness"]


def test_a_change_that_is_taken_back_is_none(prober: Prober) -> None:
    service = up("api", probe(), state=ServiceState.RUNNING)
    assert changed(service, probe(retries=5)).outdated
    assert not changed(fresh(service), probe()).outdated


def test_what_does_not_run_has_its_new_definition(node: object) -> None:
    service = up("api", probe(), state=ServiceState.BACKOFF)
    assert changed(service, probe(retries=5)).started_as == {}


def test_without_anything_left_to_ask_it_is_ready(prober: Prober, said: Said, until: Until) -> None:
    """Its start-up is over, and nothing else is asked."""
    service = up("api", probe("startup"), state=ServiceState.UNREADY)
    prober.turn()
    until(lambda: health_of(prober, service) == Health(startup=True, ready=True, live=True))


def test_what_runs_is_asked_at_the_port_it_was_started_with(
    prober: Prober, said: Said, until: Until, free_port: int
) -> None:
    own = {**probe(), "endpoint": ""}
    service = up("api", own, port=free_port)
    prober.turn()
    until(lambda: said.targets)
    with socket.create_server(("127.0.0.1", 0)) as other:
        another = other.getsockname()[1]
    wanted = {"name": "api", "command": ["sleep", "600"], "cwd": "/", "port": another, "probes": [own]}
    assert redefine(service, parse_spec(wanted)).port == another
    prober.turn()
    assert [(each.port, each.env["PORT"]) for each in said.targets] == [(free_port, str(free_port))]
    assert service_overview(fresh(service))["port"] == free_port
