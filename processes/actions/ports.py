"""Handing out ports: unique per node, verified free, given back (invariant 15)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from django.db import IntegrityError
from django.db.models import Q

from common.errors import Conflict
from events import log
from processes.drivers import ports
from processes.models import Node, PortLease

_TRIES = 5


def lease_ports(node: Node, wanted: Mapping[str, int]) -> None:
    """Lease a port per owner, all or none. What an owner already holds is left as it is.

    Args:
        wanted: port by owner key.

    Raises: Conflict naming the holder, when a port is leased to somebody else or something listens on it.
    """
    for _ in range(_TRIES):
        held = dict(PortLease.objects.filter(node=node, owner__in=list(wanted)).values_list("owner", "port"))
        missing = {owner: port for owner, port in wanted.items() if owner not in held}
        if not missing:
            return
        check_free(node, missing)
        with suppress(IntegrityError):  # somebody was faster: the next look says who, or that it is done
            _lease(node, missing)
            return
    raise Conflict("ports are being handed out to several at once", fix="Run it again.", ports=sorted(missing.values()))


def _lease(node: Node, missing: Mapping[str, int]) -> None:
    with log.atomic():
        PortLease.objects.bulk_create([PortLease(node=node, owner=owner, port=port) for owner, port in missing.items()])
        first, last = min(missing.values()), max(missing.values())
        log.emit(
            "ports.leased",
            subject=f"node/{node.name}",
            message=f"{len(missing)} ports leased ({first}–{last})",
            ports=dict(missing),
        )


def check_free(node: Node, wanted: Mapping[str, int]) -> None:
    """Raise Conflict naming the holder of the first port that cannot be handed out."""
    taken = PortLease.objects.filter(node=node, port__in=list(wanted.values())).exclude(owner__in=list(wanted)).first()
    if taken is not None:
        raise Conflict(
            f"port {taken.port} is leased to {taken.owner}",
            fix="Choose other ports with --base-port, or remove that owner.",
            port=taken.port,
            holder=taken.owner,
        )
    for port in wanted.values():
        check_listening(port)


def check_listening(port: int, host: str = "127.0.0.1", *, fix: str = "") -> None:
    """Raise Conflict naming the process that listens on the port."""
    holder = ports.holder(port, host)
    if holder is not None:
        raise Conflict(
            f"port {port} is taken by {ports.describe(holder)}",
            meaning="GAIA never stops a process it did not start.",
            fix=fix or "Stop that process, or choose other ports with --base-port.",
            port=port,
            holder=ports.describe(holder),
        )


def release_ports(owner_prefix: str) -> int:
    """Give back every port of owners at or below a key; how many there were."""
    with log.atomic():
        leases = PortLease.objects.filter(Q(owner=owner_prefix) | Q(owner__startswith=f"{owner_prefix}/"))
        ports_given = sorted(leases.values_list("port", flat=True))
        leases.delete()
        if ports_given:
            log.emit(
                "ports.released",
                subject=owner_prefix,
                message=f"{len(ports_given)} ports given back",
                ports=ports_given,
            )
    return len(ports_given)
