"""Leases: unique per node, verified free when handed out, given back (invariant 15)."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from common.errors import Conflict
from events.models import Event
from processes.actions.ports import check_free, lease_ports, release_ports
from processes.models import Node, PortLease
from tests.processes.test_actions import all_at_once


@pytest.fixture
def free() -> list[int]:
    """Ports on which nobody listens: they were given by the system a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(20)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def leases() -> dict[str, int]:
    return dict(PortLease.objects.values_list("owner", "port"))


@pytest.mark.django_db
def test_lease_again_and_give_back(node: Node, free: list[int]) -> None:
    wanted = {"environment/dev1/dev": free[0], "environment/dev1/qa": free[1], "environment/dev10/qa": free[2]}
    lease_ports(node, wanted)
    lease_ports(node, wanted)
    assert leases() == wanted
    assert release_ports("environment/dev1") == 2
    assert release_ports("environment/dev1") == 0
    assert leases() == {"environment/dev10/qa": free[2]}
    assert list(Event.objects.filter(kind__startswith="ports.").order_by("id").values_list("kind", flat=True)) == [
        "ports.leased",
        "ports.released",
    ]


@pytest.mark.django_db
def test_an_owner_keeps_the_port_it_has(node: Node, free: list[int]) -> None:
    lease_ports(node, {"a": free[0]})
    lease_ports(node, {"a": free[1], "b": free[2]})
    assert leases() == {"a": free[0], "b": free[2]}


@pytest.mark.django_db
def test_leased_to_somebody_else(node: Node, free: list[int]) -> None:
    lease_ports(node, {"environment/dev1/dev": free[0]})
    with pytest.raises(Conflict, match=f"port {free[0]} is leased to environment/dev1/dev"):
        lease_ports(node, {"b": free[1], "c": free[0]})
    assert leases() == {"environment/dev1/dev": free[0]}, "all or none"


@pytest.mark.django_db
def test_somebody_listens_there(node: Node, free: list[int], taken: int) -> None:
    with pytest.raises(Conflict) as refused:
        check_free(node, {"a": free[0], "b": taken})
    assert f"(pid {os.getpid()})" in refused.value.what
    assert refused.value.detail["port"] == taken
    assert refused.value.fix


@pytest.mark.django_db
def test_whoever_listens_on_a_port_that_its_owner_has(node: Node, taken: int) -> None:
    """A stage of it that runs; leasing itself asks no sockets, for it stands in transactions."""
    lease_ports(node, {"a": taken})
    check_free(node, {"a": taken})
    with pytest.raises(Conflict, match=f"port {taken} is leased to a"):
        check_free(node, {"b": taken})


@pytest.mark.django_db(transaction=True)
def test_twenty_want_the_same_port(node: Node, free: list[int]) -> None:
    results = all_at_once(20, lambda number: lease_ports(node, {f"owner-{number}": free[0]}))
    assert results.count(None) == 1
    [(winner, port)] = leases().items()
    assert port == free[0]
    refused = [result for result in results if result is not None]
    assert all(isinstance(error, Conflict) and f"is leased to {winner}" in error.what for error in refused), refused


@pytest.mark.django_db(transaction=True)
def test_twenty_set_up_the_same_owners(node: Node, free: list[int]) -> None:
    """Two set-ups of one project: both succeed, and nobody has two ports or none."""

    def lease(number: int) -> None:
        lease_ports(node, {"a": free[number], "b": free[(number + 1) % 20]})

    results = all_at_once(20, lease)
    assert all(result is None or isinstance(result, Conflict) for result in results), results
    assert None in results
    assert set(leases()) == {"a", "b"}
    assert PortLease.objects.count() == 2
