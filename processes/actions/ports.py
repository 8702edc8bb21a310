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

    Only the leases are looked at, so that it may stand in a transaction; who listens, `check_free` asks before it.

    Args:
        wanted: port by owner key.

    Raises: Conflict naming the holder, when a port is leased to somebody else.
    """
    for _ in range(_TRIES):
        missing = _unleased(node, wanted)
        if not missing:
            return
        with suppress(IntegrityError):  # somebody was faster: the next look says who, or that it is done
            _lease(node, missing)
            return
    raise Conflict("ports are being handed out to several at once", fix="Run it again.", ports=sorted(missing.values()))


def _unleased(node: Node, wanted: Mapping[str, int]) -> dict[str, int]:
    """What owners want that hold no port yet. Raises: Conflict when somebody else holds one of these."""
    held = set(PortLease.objects.filter(node=node, owner__in=list(wanted)).values_list("owner", flat=True))
    missing = {owner: port for owner, port in wanted.items() if owner not in held}
    taken = PortLease.objects.filter(node=node, port__in=list(missing.values())).first() if missing else None
    if taken is not None:
        raise Conflict(
            f"port {taken.port} is leased to {taken.owner}",
            fix="Choose other ports with --base-port, or remove that owner.",
            port=taken.port,
            holder=taken.owner,
        )
    return missing


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
    """Raise Conflict naming the holder of the first port that cannot be handed out: by a lease, or by listening on it.

    What an owner already holds is its own, whoever listens there. Nothing for the inside of a transaction: it opens
    sockets, and looks through all of the machine's when one is taken.
    """
    for port in _unleased(node, wanted).values():
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
