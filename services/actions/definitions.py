"""What services there are: registering, changing and unregistering them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import IntegrityError

from common.errors import Conflict, InvalidInput, NotFound, Unavailable
from events import log
from processes.actions.nodes import daemon_runs, ensure_node
from processes.actions.ports import check_free, lease_ports, move_lease, release_ports
from processes.actions.stopping import stop_process
from processes.models import Node, PortLease, Process
from processes.states import EnvironmentBase
from services.actions.running import start as start_service
from services.actions.running import stop
from services.dependencies import check_acyclic
from services.models import Dependency, Service
from services.spec import DependsOn, Probe, ServiceSpec
from services.states import Desired, ServiceKind, ServiceState

OWNER = "service/"
_LOOK_S = 0.02
_PATIENCE_S = 10.0
_ROW_FIELDS = (
    "title", "kind", "argv", "cwd", "env", "secrets", "user", "port", "probes", "limits", "restart", "stop_grace",
    "details", "env_base", "log", "lock", "journal",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a service of another room leaves its traces and what it inherits.

    Args:
        owner: key of its processes, port and events; by default `service/NAME`.
        log, lock, journal: files shared with launch scripts; by default files under the home.
        env_base: what it inherits (`processes.states.EnvironmentBase`).
    """

    owner: str = ""
    log: Path | None = None
    lock: Path | None = None
    journal: Path | None = None
    env_base: str = EnvironmentBase.CLEAN


def register(spec: ServiceSpec, *, start: bool = False, place: Place | None = None) -> Service:
    """Make a service known, lease its port and, if wanted, have it up.

    Args:
        start: also ask for its start.
        place: for services of other rooms.

    Raises: Conflict when there is one of that name, its port is taken, or services would wait for each other in a
    ring; NotFound when it depends on one that does not exist; InvalidInput for an unknown account.
    """
    node, chosen = ensure_node(), place or Place()
    owner = chosen.owner or f"{OWNER}{spec.name}"
    _check_new(spec, node, owner)
    depends_on = _find_dependencies(spec)
    port = spec.port if _leases(spec.kind) else None
    if port is not None:
        _check_port(node, owner, port)
    try:
        with log.atomic():
            service = Service(node=node, name=spec.name, owner=owner, **_columns(spec, chosen, {}))
            service.save(force_insert=True)
            _check_rings(spec.name, [each.name for each in spec.depends_on])
            _write_dependencies(service, spec.depends_on, depends_on)
            if port is not None:
                lease_ports(node, {owner: port})
            log.emit("service.registered", subject=owner, message=f"{service.sentence} was registered")
    except IntegrityError:
        raise _exists(spec.name) from None
    return start_service(service) if start else service


def redefine(service: Service, spec: ServiceSpec, *, place: Place | None = None) -> Service:
    """Give a service another definition. What runs goes on as it was started until it is restarted.

    A service that was given up is tried again, as what kept it from starting may be mended. Secrets that the new
    definition names without a value keep the one they have; those it does not name are forgotten.

    Raises: as `register`; InvalidInput when the name is another one.
    """
    if spec.name != service.name:
        raise InvalidInput(
            f"the definition is of {spec.name}, not of {service.name}",
            meaning="A service keeps its name: its log, its events and what depends on it go by it.",
            fix=f"Write the name {service.name!r}, or register {spec.name!r} as another service.",
        )
    depends_on = _find_dependencies(spec)
    leases = _leases(service.kind)
    if leases and spec.port is not None and spec.port != service.port:
        _check_port(service.node, service.owner, spec.port)
    with log.atomic():
        service.refresh_from_db()
        changed = _changes(service, spec, place or place_of(service))
        edges = _edges_of(service) != {each.name: (each.condition, each.pattern) for each in spec.depends_on}
        if not changed and not edges:
            return service
        if edges:
            _check_rings(spec.name, [each.name for each in spec.depends_on])
            service.dependencies.all().delete()
            _write_dependencies(service, spec.depends_on, depends_on)
        if leases and "port" in changed:
            _move_port(service, spec.port)
        fields = changed | {"revision": service.revision + 1, "ever_ready": False}
        Service.objects.filter(pk=service.pk).update(**fields)
        names = sorted([*changed, *(["depends_on"] if edges else [])])
        log.emit(
            "service.redefined",
            subject=service.owner,
            message=f"{service.sentence} was changed: {', '.join(names)}",
            fields=names,
        )
    service.refresh_from_db()
    if service.state == ServiceState.FAILED and service.desired == Desired.UP:
        return start_service(service)
    return service


def unregister(service: Service) -> None:
    """Stop a service and forget it; its log and its events are kept. Blocks until it has stopped.

    Raises: Conflict while something depends on it; Unavailable when it cannot be ended.
    """
    _check_unneeded(service)
    _bring_down(service)
    with log.atomic():
        _check_unneeded(service)
        live = Process.objects.active().filter(node=service.node, owner=service.owner).exists()
        if live:
            raise Conflict(f"{service.called} has just been started again", fix="Stop it and try again.")
        if _leases(service.kind):
            release_ports(service.owner)
        log.emit("service.unregistered", subject=service.owner, message=f"{service.sentence} was unregistered")
        Service.objects.filter(pk=service.pk).delete()


def place_of(service: Service) -> Place:
    """Where a service leaves its traces now."""
    return Place(
        owner=service.owner,
        log=Path(service.log) if service.log else None,
        lock=Path(service.lock) if service.lock else None,
        journal=Path(service.journal) if service.journal else None,
        env_base=service.env_base,
    )


def missing_secrets(service: Service) -> list[str]:
    """Names of its secrets that have no value yet."""
    return sorted(name for name, value in service.secrets.items() if value is None)


def _check_new(spec: ServiceSpec, node: Node, owner: str) -> None:
    if Service.objects.filter(name=spec.name).exists():
        raise _exists(spec.name)
    other = Service.objects.filter(node=node, owner=owner).first()
    if other is not None:
        raise Conflict(f"{other.called} has the key {owner} already", fix="Change that one instead.")


def _exists(name: str) -> Conflict:
    return Conflict(
        f"there is a service {name!r} already",
        meaning="Nothing was changed.",
        fix=f"Change it instead (gaia service redefine {name}), or choose another name.",
        name=name,
    )


def _find_dependencies(spec: ServiceSpec) -> dict[str, Service]:
    names = [each.name for each in spec.depends_on]
    found = {each.name: each for each in Service.objects.filter(name__in=names)}
    missing = [name for name in names if name not in found]
    if missing:
        raise NotFound(
            f"{spec.name} depends on {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not registered",
            meaning="It would wait for ever, so nothing was changed.",
            fix="Register that first, or leave it out of depends_on.",
            missing=missing,
        )
    return found


def _check_rings(name: str, depends_on: list[str]) -> None:
    """Within the transaction, so that two that are registered at once cannot close a ring together."""
    wanted: dict[str, list[str]] = {}
    for one, other in Dependency.objects.values_list("service__name", "on__name"):
        if one != name:
            wanted.setdefault(one, []).append(other)
    check_acyclic(wanted | {name: depends_on})


def _write_dependencies(service: Service, wanted: list[DependsOn], found: Mapping[str, Service]) -> None:
    Dependency.objects.bulk_create(
        [
            Dependency(service=service, on=found[each.name], condition=each.condition, pattern=each.pattern)
            for each in wanted
        ]
    )


def _edges_of(service: Service) -> dict[str, tuple[str, str]]:
    edges = service.dependencies.select_related("on")
    return {edge.on.name: (edge.condition, edge.pattern) for edge in edges}


def _leases(kind: str) -> bool:
    """Whether its port is leased with its definition. A stage has its port from its environment, the console from the
    settings."""
    return kind not in (ServiceKind.STAGE, ServiceKind.PLATFORM)


def _check_port(node: Node, owner: str, port: int) -> None:
    """Raise Conflict naming who has the port."""
    lease = PortLease.objects.filter(node=node, port=port).exclude(owner=owner).first()
    fix = "Write another port, or none, and stop or move who has this one (gaia ports list)."
    if lease is not None:
        raise Conflict(f"port {port} is leased to {_holder(lease.owner)}", fix=fix, port=port, holder=lease.owner)
    try:
        check_free(node, {owner: port})
    except Conflict as error:
        raise Conflict(error.what, meaning=error.meaning, fix=fix, **error.detail) from None


def _holder(owner: str) -> str:
    service = Service.objects.filter(owner=owner).first()
    return service.called if service is not None else owner


def _move_port(service: Service, port: int | None) -> None:
    if port is None:
        release_ports(service.owner)
    elif service.port is None:
        lease_ports(service.node, {service.owner: port})
    else:
        move_lease(service.node, service.owner, before=service.port, port=port)


def _columns(spec: ServiceSpec, place: Place, secrets: Mapping[str, Any]) -> dict[str, Any]:
    """The row's columns for a definition.

    Args:
        secrets: the values there are, for names without one.
    """
    return {
        "title": spec.title,
        "kind": spec.kind.value,
        "argv": list(spec.command),
        "cwd": str(spec.cwd),
        "env": dict(spec.env),
        "secrets": {name: secrets.get(name) if value is None else value for name, value in spec.secrets.items()},
        "user": spec.user,
        "port": spec.port,
        "probes": [stored_probe(probe) for probe in spec.named_probes],
        "limits": dict(spec.limits),
        "restart": spec.restart.value,
        "stop_grace": spec.stop_grace,
        "details": {"mcp": spec.mcp.model_dump(mode="json")} if spec.mcp is not None else {},
        "env_base": place.env_base,
        "log": str(place.log or ""),
        "lock": str(place.lock or ""),
        "journal": str(place.journal or ""),
    }


def stored_probe(probe: Probe) -> dict[str, Any]:
    """A probe as `Service.probes` has it; `Probe.model_validate` reads it again."""
    return probe.model_dump(mode="json")


def _changes(service: Service, spec: ServiceSpec, place: Place) -> dict[str, Any]:
    wanted = _columns(spec, place, service.secrets)
    return {name: wanted[name] for name in _ROW_FIELDS if getattr(service, name) != wanted[name]}


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
