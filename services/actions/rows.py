"""The rows of a definition: what is checked before a transaction, and what is written within one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import Conflict, InvalidInput, NotFound
from events import log
from processes.actions.ports import check_free, lease_ports, move_lease, release_ports
from processes.drivers.account import account
from processes.models import Node, PortLease, Process
from processes.states import EnvironmentBase
from services.actions import former_secrets
from services.dependencies import check_acyclic
from services.mcp import runs_for_clients_only
from services.models import Dependency, Service
from services.spec import ServiceSpec
from services.states import SERVICE_UP, ServiceKind

OWNER = "service/"
MADE_ELSEWHERE = (ServiceKind.STAGE, ServiceKind.PLATFORM)
"""Kinds that other rooms register, under owner keys of theirs."""
_MADE_OF = {
    ServiceKind.STAGE: "Change gaia.yaml or .env.local of its environment; its next launch follows.",
    ServiceKind.PLATFORM: "Change GAIA's settings: gaia config.",
}

_FIELDS = (
    "title", "kind", "argv", "cwd", "env", "secrets", "user", "port", "probes", "limits", "restart", "stop_grace",
    "details", "env_base", "log", "lock", "journal",
)  # fmt: skip


_AS_STARTED = (
    "revision", "kind", "argv", "cwd", "env", "secrets", "env_base", "user", "port", "probes", "details", "limits",
)  # fmt: skip
"""What a running start and its checks go by until it is restarted."""


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

    @classmethod
    def of(cls, service: Service) -> Place:
        """Where a service leaves its traces now."""
        return cls(
            owner=service.owner,
            log=Path(service.log) if service.log else None,
            lock=Path(service.lock) if service.lock else None,
            journal=Path(service.journal) if service.journal else None,
            env_base=service.env_base,
        )


# -- before


def check_kind(spec: ServiceSpec, place: Place | None) -> None:
    """Raise InvalidInput for a service that only GAIA itself makes."""
    if spec.kind in MADE_ELSEWHERE and (place is None or not place.owner):
        raise InvalidInput(
            f"{spec.name} cannot be registered as {spec.kind.value}",
            meaning="Stages and GAIA's own parts become services by themselves.",
            fix='Write "kind": "process", or leave it out.',
        )


def check_own(service: Service, place: Place | None) -> None:
    """Raise Conflict when a service is another room's, and it is not that room that changes or forgets it."""
    if service.kind in MADE_ELSEWHERE and place is None:
        raise Conflict(
            f"{service.called} is made by GAIA itself",
            meaning="It can be started and stopped here, not changed or unregistered. Nothing was changed.",
            fix=_MADE_OF[ServiceKind(service.kind)],
        )


def check_account(spec: ServiceSpec) -> None:
    """Raise InvalidInput for an account there is not, Refused when GAIA may not run anything as it."""
    if spec.user:
        account(spec.user)


def check_new(spec: ServiceSpec, node: Node, owner: str) -> None:
    """Raise Conflict when the name or the key is taken."""
    if Service.objects.filter(name=spec.name).exists():
        raise exists(spec.name)
    other = Service.objects.filter(node=node, owner=owner).first()
    if other is not None:
        raise Conflict(f"{other.called} has the key {owner} already", fix="Change that one instead.")


def exists(name: str) -> Conflict:
    """The error for a name that is taken."""
    return Conflict(
        f"there is a service {name!r} already",
        meaning="Nothing was changed.",
        fix="Change it instead (gaia service register FILE --replace), or choose another name.",
        name=name,
    )


def check_dependencies(specs: Iterable[ServiceSpec]) -> None:
    """Raise for what cannot be waited for: NotFound for a name nobody has, Conflict for a ring.

    Args:
        specs: all that are to be written together; they may depend on each other.
    """
    wanted = {spec.name: [each.name for each in spec.depends_on] for spec in specs}
    asked = {name for names in wanted.values() for name in names} - wanted.keys()
    known = set(Service.objects.filter(name__in=asked).values_list("name", flat=True))
    for name, names in wanted.items():
        missing = [each for each in names if each not in known and each not in wanted]
        if missing:
            verb = "is" if len(missing) == 1 else "are"
            raise NotFound(
                f"{name} depends on {', '.join(missing)}, which {verb} not registered",
                meaning="It would wait for ever, so nothing was changed.",
                fix="Register that first, or leave it out of depends_on.",
                missing=missing,
            )
    check_rings(wanted)


def check_rings(changed: Mapping[str, list[str]]) -> None:
    """Raise Conflict that prints the ring, when services would wait for each other.

    Args:
        changed: for each of these names what it depends on; of all others what the rows say.
    """
    wanted: dict[str, list[str]] = {}
    for one, other in Dependency.objects.values_list("service__name", "on__name"):
        wanted.setdefault(one, []).append(other)
    check_acyclic(wanted | dict(changed))


def leases_port(kind: str) -> bool:
    """Whether a port comes with the definition: a stage has it from its environment, the console from the settings."""
    return kind not in (ServiceKind.STAGE, ServiceKind.PLATFORM)


def check_port(node: Node, owner: str, port: int) -> None:
    """Raise Conflict naming who has the port: by a lease, or by listening there. Opens sockets."""
    lease = PortLease.objects.filter(node=node, port=port).exclude(owner=owner).first()
    fix = "Write another port, or none, and stop or move who has this one (gaia ports list)."
    if lease is not None:
        raise Conflict(f"port {port} is leased to {_holder(lease.owner)}", fix=fix, port=port, holder=lease.owner)
    if Process.objects.active().filter(node=node, owner=owner, port=port).exists():
        return  # whoever listens is it
    try:
        check_free(node, {owner: port})
    except Conflict as error:
        raise Conflict(error.what, meaning=error.meaning, fix=fix, **error.detail) from None


def _holder(owner: str) -> str:
    service = Service.objects.filter(owner=owner).first()
    return service.called if service is not None else owner


# -- within


def write_new(spec: ServiceSpec, node: Node, place: Place) -> Service:
    """The row of a new service and the lease of its port, without what it depends on."""
    owner = place.owner or f"{OWNER}{spec.name}"
    service = Service(node=node, name=spec.name, owner=owner, **_columns(spec, place, {}))
    service.save(force_insert=True)
    if spec.port is not None and leases_port(spec.kind):
        lease_ports(node, {owner: spec.port})
    log.emit("service.registered", subject=owner, message=f"{service.sentence} was registered")
    return service


def write_changes(service: Service, spec: ServiceSpec, place: Place) -> list[str]:
    """What is different in the new definition, written into the row. Returns: names of the fields."""
    service.refresh_from_db(from_queryset=Service.objects.select_for_update())  # nobody starts it in between
    changed = changes(service, spec, place)
    edges = edges_differ(service, spec)
    if not changed and not edges:
        return []
    if "secrets" in changed:
        former_secrets.note(service, changed["secrets"].values())
    if edges:
        write_edges(service, spec)
    if "port" in changed and leases_port(spec.kind):
        _move_port(service, spec.port)
    fresh = {"ever_ready": False, "last_death": service.last_death | {"repeated": 0}}  # that was another definition's
    fresh |= {"started_as": _as_started(service)} if _runs(service) else {}
    Service.objects.filter(pk=service.pk).update(**changed, **fresh, revision=service.revision + 1)
    names = sorted([*changed, *(["depends_on"] if edges else [])])
    log.emit(
        "service.redefined",
        subject=service.owner,
        message=f"{service.sentence} was changed: {', '.join(names)}",
        fields=names,
    )
    service.refresh_from_db()
    return names


def _runs(service: Service) -> bool:
    """Whether something of it goes on as it was started."""
    return service.state in SERVICE_UP and not runs_for_clients_only(service.kind, service.details)


def _as_started(service: Service) -> dict[str, Any]:
    return service.started_as or {name: getattr(service, name) for name in _AS_STARTED}


def write_edges(service: Service, spec: ServiceSpec) -> None:
    """What it depends on, in place of what it did; those have to be there."""
    found = {each.name: each for each in Service.objects.filter(name__in=[each.name for each in spec.depends_on])}
    service.dependencies.all().delete()
    Dependency.objects.bulk_create(
        [
            Dependency(service=service, on=found[each.name], condition=each.condition, pattern=each.pattern)
            for each in spec.depends_on
        ]
    )


def changes(service: Service, spec: ServiceSpec, place: Place) -> dict[str, Any]:
    """The columns that a new definition changes, with their new values."""
    wanted = _columns(spec, place, service.secrets)
    return {name: wanted[name] for name in _FIELDS if getattr(service, name) != wanted[name]}


def edges_differ(service: Service, spec: ServiceSpec) -> bool:
    """Whether it depends on something else, or on the same in another way."""
    edges = service.dependencies.select_related("on").order_by("id")
    known = [(edge.on.name, edge.condition, edge.pattern) for edge in edges]
    return known != [(each.name, each.condition, each.pattern) for each in spec.depends_on]


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
        "probes": [probe.model_dump(mode="json") for probe in spec.named_probes],
        "limits": dict(spec.limits),
        "restart": spec.restart.value,
        "stop_grace": spec.stop_grace,
        "details": {"mcp": spec.mcp.model_dump(mode="json")} if spec.mcp is not None else {},
        "env_base": str(place.env_base),
        "log": str(place.log or ""),
        "lock": str(place.lock or ""),
        "journal": str(place.journal or ""),
    }


def _move_port(service: Service, port: int | None) -> None:
    if port is None:
        release_ports(service.owner)
    elif service.port is None:
        lease_ports(service.node, {service.owner: port})
    elif not PortLease.objects.filter(node=service.node, owner=service.owner, port=port).exists():
        move_lease(service.node, service.owner, before=service.port, port=port)
