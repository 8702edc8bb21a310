"""Handing out ports: unique per node, verified free, given back (invariant 15)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from django.db import IntegrityError
from django.db.models import Q

from common.errors import Conflict, NotFound
from events import log
from processes.drivers import liveness, ports
from processes.drivers.ports import Holder
from processes.models import Node, PortLease, Process
from processes.states import PortState, ProcessState

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
            fix="Choose other ports with --base-port, or move that one away (gaia ports move).",
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


def move_lease(node: Node, owner: str, *, before: int, port: int) -> None:
    """Give an owner another port in the place of the one it has; stands in the transaction of whoever moves it.

    Raises: Conflict when somebody else was faster; NotFound when the owner does not hold the port it is to leave.
    """
    held = PortLease.objects.filter(node=node, owner=owner, port=before)
    other = PortLease.objects.filter(node=node, port=port).first()
    if other is not None:
        raise Conflict(f"port {port} is leased to {other.owner}", fix="Choose another one: gaia ports find.", port=port)
    try:
        moved = held.update(port=port)
    except IntegrityError as error:  # leased since the look above; the transaction is over
        raise Conflict(f"port {port} has just been leased", fix="Run it again.", port=port) from error
    if not moved:
        raise NotFound(
            f"{owner} does not hold port {before}",
            meaning="It has been moved or given back in the meantime.",
            fix="Look at what it has: gaia ports list.",
        )


def free_ports(node: Node, candidates: Iterable[int], count: int = 1) -> list[int]:
    """The first of these ports that are leased to nobody and on which nobody listens; perhaps fewer than asked for."""
    leased = set(PortLease.objects.filter(node=node).values_list("port", flat=True))
    found: list[int] = []
    for port in candidates:
        if len(found) == count:
            break
        if port not in leased and ports.is_free(port):
            found.append(port)
    return found


def check_available(node: Node, port: int, *, fix: str) -> None:
    """Raise Conflict naming the holder of a port that nobody could be given: by a lease, or by listening there."""
    lease = PortLease.objects.filter(node=node, port=port).first()
    if lease is not None:
        raise Conflict(f"port {port} is leased to {lease.owner}", fix=fix, port=port, holder=lease.owner)
    check_listening(port, fix=fix)


@dataclass(frozen=True)
class Use:
    """A port that is handed out, and how it is used.

    Args:
        holder: who listens; None when nobody does.
        process: the newest start of what it was handed out for.
    """

    lease: PortLease
    state: PortState
    holder: Holder | None
    process: Process | None


def uses(leases: Iterable[PortLease]) -> list[Use]:
    """How these leases are used, in one look at the machine."""
    rows = list(leases)
    newest = Process.objects.newest_by_owner(row.owner for row in rows)
    listening = ports.listeners(row.port for row in rows)
    return [_use(row, listening.get(row.port), newest.get(row.owner)) for row in rows]


def _use(lease: PortLease, holder: Holder | None, process: Process | None) -> Use:
    runs = process is not None and process.active
    if holder is None:
        silent = runs and process is not None and process.state == ProcessState.RUNNING
        return Use(lease, PortState.SILENT if silent else PortState.FREE, None, process)
    own = process is not None and runs and _is_of(holder, process)
    return Use(lease, PortState.SERVING if own else PortState.TAKEN, holder, process)


def _is_of(holder: Holder, process: Process) -> bool:
    """Whether who listens belongs to a process: its shim leads a session, and marks what leaves it."""
    if holder.pid is None or process.pid is None:
        return False  # another user's, or of nobody that could be seen
    with suppress(OSError):
        if os.getsid(holder.pid) == process.pid:
            return True
    return any(one.pid == holder.pid for one in liveness.members(process.pid, process.token))


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
