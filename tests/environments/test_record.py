"""The rows of environments that are to be: all of them or none, and nobody waits for the look at their ports."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import connection

from common.errors import Conflict
from environments.actions.record import record_intents
from environments.actions.setup import Plan, plan_setup
from environments.models import Environment, Stage
from processes.actions.nodes import ensure_node
from processes.actions.ports import lease_ports
from processes.drivers import ports
from processes.models import PortLease
from projects.models import Project
from tests.environments.places import Place


def intend(plan: Plan) -> None:
    record_intents(plan.project, plan.source, plan.environments, root=Path(plan.root), base_port=plan.base_port)


def plan_of(place: Place) -> Plan:
    return plan_setup(source=str(place.source), count=2, cwd=place.root)


def leased_to() -> set[str]:
    return set(PortLease.objects.values_list("owner", flat=True))


@pytest.fixture
def during(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Has something happen whenever a port is looked at."""
    look = ports.holder

    def happens(something: Callable[[], object]) -> None:
        def holder(port: int, host: str = "127.0.0.1") -> ports.Holder | None:
            something()
            return look(port, host)

        monkeypatch.setattr(ports, "holder", holder)

    return happens


def test_ports_are_looked_at_outside_of_transactions(
    place: Place, during: Callable[[Callable[[], object]], None]
) -> None:
    plan, inside = plan_of(place), list[bool]()
    during(lambda: inside.append(connection.in_atomic_block))

    intend(plan)

    assert inside == [False] * 6
    assert len(leased_to()) == 6


def test_a_port_on_which_somebody_listens_leaves_no_rows(place: Place) -> None:
    plan = plan_of(place)

    with (
        socket.create_server(("127.0.0.1", place.base_port + 201)),
        pytest.raises(Conflict, match=f"port {place.base_port + 201} is taken by"),
    ):
        intend(plan)

    assert not any(model.objects.exists() for model in (Project, Environment, Stage, PortLease))


def test_a_port_that_was_leased_since_they_were_looked_at_leaves_no_rows(
    place: Place, during: Callable[[Callable[[], object]], None]
) -> None:
    plan, node = plan_of(place), ensure_node()
    during(lambda: lease_ports(node, {"somebody": place.base_port + 201}))

    with pytest.raises(Conflict, match=f"port {place.base_port + 201} is leased to somebody"):
        intend(plan)

    assert leased_to() == {"somebody"}
    assert not any(model.objects.exists() for model in (Project, Environment, Stage))
