"""What services there are: registering, changing and unregistering them."""

from __future__ import annotations

import time

from django.db import IntegrityError

from common.errors import Conflict, InvalidInput, Unavailable
from events import log
from processes.actions.nodes import daemon_runs, ensure_node
from processes.actions.ports import release_ports
from processes.actions.stopping import stop_process
from processes.models import Process
from services.actions import former_secrets, rows
from services.actions.rows import OWNER, Place
from services.actions.running import read_anew, stop
from services.actions.running import start as start_service
from services.models import Service
from services.spec import ServiceSpec
from services.states import Desired, ServiceState

__all__ = ["Place", "missing_secrets", "redefine", "register", "unregister"]

_LOOK_S = 0.02
_PATIENCE_S = 10.0


def register(spec: ServiceSpec, *, start: bool = False, place: Place | None = None) -> Service:
    """Make a service known, lease its port and, if wanted, have it up.

    Args:
        start: also ask for its start.
        place: for services of other rooms.

    Raises: Conflict when there is one of that name, its port is taken, or services would wait for each other in a
    ring; NotFound when it depends on one that does not exist; InvalidInput for a kind that only GAIA makes.
    """
    node, chosen = ensure_node(), place or Place()
    owner = chosen.owner or f"{OWNER}{spec.name}"
    rows.check_kind(spec, place)
    rows.check_account(spec)
    rows.check_new(spec, node, owner)
    rows.check_dependencies([spec])
    if spec.port is not None and rows.leases_port(spec.kind):
        rows.check_port(node, owner, spec.port)
    try:
        with log.atomic():
            service = rows.write_new(spec, node, chosen)
            rows.check_dependencies([spec])  # again: two that are registered at once cannot close a ring together
            rows.write_edges(service, spec)
    except IntegrityError:
        raise rows.exists(spec.name) from None
    return start_service(service) if start else service


def redefine(service: Service, spec: ServiceSpec, *, place: Place | None = None) -> Service:
    """Give a service another definition. What runs goes on as it was started until it is restarted.

    A service that was given up is tried again, as what kept it from starting may be mended. Secrets that the new
    definition names without a value keep the one they have; those it does not name are forgotten.

    Raises: as `register`; InvalidInput when the name is another one; Conflict when only GAIA may change it.
    """
    rows.check_own(service, place)
    if spec.name != service.name:
        raise InvalidInput(
            f"the definition is of {spec.name}, not of {service.name}",
            meaning="A service keeps its name: its log, its events and what depends on it go by it.",
            fix=f"Write the name {service.name!r}, or register {spec.name!r} as another service.",
        )
    chosen = place or Place.of(service)
    if spec.kind != service.kind:
        rows.check_kind(spec, place)
    rows.check_account(spec)
    rows.check_dependencies([spec])
    if spec.port is not None and spec.port != service.port and rows.leases_port(spec.kind):
        rows.check_port(service.node, service.owner, spec.port)
    with log.atomic():
        read_anew(service)
        rows.check_dependencies([spec])
        changed = rows.write_changes(service, spec, chosen)
    return try_anew(service) if changed else service


def try_anew(service: Service) -> Service:
    """Start a service that was given up, after its definition was changed."""
    if service.state == ServiceState.FAILED and service.desired == Desired.UP:
        return start_service(service, prepared=True)
    return service


def unregister(service: Service, *, place: Place | None = None) -> None:
    """Stop a service and forget it; its log and its events are kept. Blocks until it has stopped.

    Args:
        place: for services of other rooms.

    Raises: Conflict while something depends on it, and when only GAIA may; Unavailable when it cannot be ended.
    """
    rows.check_own(service, place)
    _check_unneeded(service)
    _bring_down(service)
    with log.atomic():
        _check_unneeded(service)
        if Process.objects.active().filter(node=service.node, owner=service.owner).exists():
            raise Conflict(f"{service.called} has just been started again", fix="Stop it and try again.")
        if rows.leases_port(service.kind):
            release_ports(service.owner)
        former_secrets.note(service)
        log.emit("service.unregistered", subject=service.owner, message=f"{service.sentence} was unregistered")
        Service.objects.filter(pk=service.pk).delete()


def missing_secrets(service: Service) -> list[str]:
    """Names of its secrets that have no value yet."""
    return sorted(name for name, value in service.secrets.items() if value is None)


def _check_unneeded(service: Service) -> None:
    needed_by = list(service.dependents.order_by("service__name").values_list("service__name", flat=True))
    if needed_by:
        raise Conflict(
            f"{', '.join(needed_by)} depend{'s' if len(needed_by) == 1 else ''} on {service.called}",
            meaning="They could not start any more, so nothing was changed.",
            fix=f"Unregister {needed_by[0]} first, or take {service.name} out of its depends_on.",
            dependents=needed_by,
        )


def _bring_down(service: Service) -> None:
    """Stop it and wait for the end, by the daemon or without one."""
    stop(service)
    deadline = time.monotonic() + service.stop_grace + _PATIENCE_S
    while True:
        live = Process.objects.active().filter(node=service.node, owner=service.owner).first()
        if live is None:
            return
        if not daemon_runs():
            stop_process(live)
        elif time.monotonic() >= deadline:
            raise Unavailable(
                f"{service.called} does not end", meaning="It was not unregistered.", fix="Look at its events."
            )
        time.sleep(_LOOK_S)
