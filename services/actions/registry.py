"""Definitions of services in a file: `$GAIA_HOME/services/registry.json`, written by GAIA and read on request.

    {"services": [{"name": "api-server", "command": ["go", "run", "./cmd/api"], …}, …]}

A secret has no value in there; what is imported without one keeps the value it has.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from common.errors import Conflict, InvalidInput, NotFound
from common.files import write_if_changed
from common.home import gaia_home
from events import log
from processes.actions.nodes import ensure_node
from processes.models import Node
from services.actions import rows
from services.actions.definitions import try_anew
from services.actions.rows import Place
from services.models import Service
from services.spec import Probe, ServiceSpec, parse_spec
from services.states import SERVICE_UP, Condition, ServiceKind

_MOST_BYTES = 16 << 20
_ALWAYS_SAID = ("type", "purpose", "name", "interval", "timeout", "retries")
_DURATIONS = ("interval", "timeout", "delay")


@dataclass(frozen=True)
class Imported:
    """What an import has done, or would do.

    Args:
        registered, redefined, unchanged: names.
        missing_secrets: by name of the service those of its secrets that have no value.
        outdated: names of those that run as they were defined before, until they are restarted.
    """

    registered: list[str] = field(default_factory=list)
    redefined: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    missing_secrets: dict[str, list[str]] = field(default_factory=dict)
    outdated: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """As the API and `--json` show it."""
        return asdict(self)


def registry_path() -> Path:
    """Where definitions are exported."""
    return gaia_home().root / "services" / "registry.json"


# -- writing


def definition_of(service: Service) -> dict[str, Any]:
    """The definition of a service as it is written; secrets without their values. `parse_spec` reads it again."""
    edges = service.dependencies.all()
    found = {
        "name": service.name,
        "title": service.title,
        "kind": service.kind if service.kind != ServiceKind.PROCESS else "",
        "command": service.argv,
        "cwd": service.cwd,
        "env": service.env,
        "secrets": dict.fromkeys(sorted(service.secrets)),
        "user": service.user,
        "port": service.port,
        "probes": [_probe(each) for each in service.probes],
        "limits": service.limits,
        "depends_on": [_edge(edge.on.name, edge.condition, edge.pattern) for edge in edges],
        "restart": service.restart,
        "stop_grace": _duration(service.stop_grace),
        "mcp": service.details.get("mcp"),
    }
    needed = ("name", "command", "cwd", "restart")
    return {name: value for name, value in found.items() if name in needed or value not in ("", None, {}, [])}


def _probe(probe: dict[str, Any]) -> dict[str, Any]:
    """A probe without what goes without saying."""
    told = {"type": probe["kind"], **{name: value for name, value in probe.items() if name != "kind"}}
    defaults = {name: field.default for name, field in Probe.model_fields.items()}
    return {
        name: _duration(value) if name in _DURATIONS else value
        for name, value in told.items()
        if name in _ALWAYS_SAID or value != defaults[name]
    }


def _edge(name: str, condition: str, pattern: str) -> Any:
    if condition == Condition.HEALTHY:
        return name
    return {"name": name, "condition": condition, **({"pattern": pattern} if pattern else {})}


def _duration(seconds: float) -> str | float:
    return f"{int(seconds)}s" if float(seconds).is_integer() else seconds


def registry() -> dict[str, Any]:
    """All definitions that people made."""
    services = Service.objects.exclude(kind__in=rows.MADE_ELSEWHERE).order_by("name")
    return {"services": [definition_of(each) for each in services.prefetch_related("dependencies__on")]}


def export_registry() -> Path:
    """Write all definitions into `registry_path()`, atomically; where it was written.

    A file that somebody has changed since GAIA wrote it is not lost: it lies beside the new one as
    `registry.edited.json`.
    """
    path = registry_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = registry()
    text = _text({"digest": _digest(content), **content})
    if _is_edited(path):
        os.replace(path, path.with_name("registry.edited.json"))
    write_if_changed(path, text)
    return path


def _is_edited(path: Path) -> bool:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except (OSError, ValueError, RecursionError):
        return True
    return not isinstance(found, dict) or found.pop("digest", None) != _digest(found)


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


class Export:
    """The daemon's loop: writes the file when definitions have changed since it last looked; one query otherwise."""

    def __init__(self) -> None:
        self._seen: tuple[Any, ...] | None = None

    def turn(self) -> None:
        """Look once."""
        now = tuple(Service.objects.order_by("pk").values_list("pk", "revision"))
        if now != self._seen:
            export_registry()
            self._seen = now


# -- reading


def import_registry(path: Path, *, dry_run: bool = False) -> Imported:
    """Register and redefine services as a file says, all or none. Those it does not name stay as they are.

    What runs goes on as it was started until it is restarted; nothing is started.

    Args:
        path: JSON: `{"services": [...]}`, a list of definitions, or a single one.
        dry_run: only say what would be done.

    Raises: NotFound when there is no such file; InvalidInput that names what is wrong in it; Conflict as `register`.
    """
    return import_definitions(read_definitions(path), dry_run=dry_run)


def import_definitions(data: Any, *, dry_run: bool = False) -> Imported:
    """`import_registry` of what was read already."""
    specs, node = _specs(data), ensure_node()
    known = {
        each.name: each for each in Service.objects.select_related("node").filter(name__in=[s.name for s in specs])
    }
    _check(specs, known, node)
    if dry_run:
        return _plan(specs, known)
    with log.atomic():
        done = _write(specs, known, node)
    for name in done.redefined:
        try_anew(Service.objects.select_related("node").get(name=name))
    return done


def read_definitions(path: Path) -> Any:
    """What a file of definitions holds. Raises: NotFound, or InvalidInput with line and column."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InvalidInput(f"{path} is larger than {_MOST_BYTES >> 20} MB: these are no definitions of services")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFound(
            f"there is no file {path}", fix="Write one, or export what there is: gaia service export."
        ) from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{path} is no text in UTF-8") from None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}:{error.colno}"
        raise InvalidInput(f"{where}: this is no JSON: {error.msg}", fix="Mend it there.") from None
    except RecursionError:
        raise InvalidInput(f"{path} is nested too deeply to be definitions of services") from None


def _specs(data: Any) -> list[ServiceSpec]:
    if isinstance(data, dict) and "services" in data:
        unknown = sorted(set(data) - {"services", "digest"})
        if unknown:
            raise InvalidInput(f'{unknown[0]!r} does not belong beside "services"', fix="Take it out.")
        data = data["services"]
        if isinstance(data, dict):  # by name
            data = [{"name": name, **each} if isinstance(each, dict) else each for name, each in data.items()]
    items = data if isinstance(data, list) else [data]
    specs, mistakes = [], []
    for number, each in enumerate(items, 1):
        try:
            specs.append(parse_spec(each))
        except InvalidInput as error:
            named = isinstance(each, dict) and each.get("name")
            mistakes += [f"{each['name'] if named else f'service {number}'}: {one}" for one in error.detail["mistakes"]]
    if mistakes:
        raise InvalidInput(
            f"the definitions have {len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}: {mistakes[0]}",
            meaning="; ".join(mistakes[1:]),
            fix="Nothing was imported. Mend them and import again.",
            mistakes=mistakes,
        )
    return specs


def _check(specs: list[ServiceSpec], known: dict[str, Service], node: Node) -> None:
    """All that can be known to be wrong before anything is written."""
    names = [spec.name for spec in specs]
    ports = [spec.port for spec in specs if spec.port is not None]
    for name in names:
        if names.count(name) > 1:
            raise Conflict(f"{name} is defined twice", fix="Leave one of them out.")
    for port in ports:
        if ports.count(port) > 1:
            raise Conflict(f"port {port} is wanted by two of them", fix="Give one of them another port.")
    for spec in specs:
        service = known.get(spec.name)
        if service is None or spec.kind != service.kind:
            rows.check_kind(spec, None)
        rows.check_account(spec)
        if service is not None and service.kind in rows.MADE_ELSEWHERE:
            raise Conflict(f"{service.called} is made by GAIA itself", fix=f"Leave {spec.name} out, or rename it.")
        owner = service.owner if service is not None else f"{rows.OWNER}{spec.name}"
        if spec.port is not None and (service is None or service.port != spec.port):
            rows.check_port(node, owner, spec.port)
    rows.check_dependencies(specs)


def _plan(specs: list[ServiceSpec], known: dict[str, Service]) -> Imported:
    plan = Imported()
    for spec in specs:
        service = known.get(spec.name)
        if service is None:
            plan.registered.append(spec.name)
        elif rows.changes(service, spec, Place.of(service)) or rows.edges_differ(service, spec):
            plan.redefined.append(spec.name)
        else:
            plan.unchanged.append(spec.name)
        _note(plan, spec, service)
    return plan


def _write(specs: list[ServiceSpec], known: dict[str, Service], node: Node) -> Imported:
    """Rows first, then what they depend on: they may depend on each other in any order."""
    done = Imported()
    new = {spec.name: rows.write_new(spec, node, Place()) for spec in specs if spec.name not in known}
    rows.check_dependencies(specs)
    for spec in specs:
        if spec.name in new:
            rows.write_edges(new[spec.name], spec)
            done.registered.append(spec.name)
        else:
            service = known[spec.name]
            service.refresh_from_db()
            changed = rows.write_changes(service, spec, Place.of(service))
            (done.redefined if changed else done.unchanged).append(spec.name)
        _note(done, spec, known.get(spec.name))
    return done


def _note(plan: Imported, spec: ServiceSpec, service: Service | None) -> None:
    have = service.secrets if service is not None else {}
    missing = sorted(name for name, value in spec.secrets.items() if value is None and have.get(name) is None)
    if missing:
        plan.missing_secrets[spec.name] = missing
    if service is not None and spec.name in plan.redefined and service.state in SERVICE_UP:
        plan.outdated.append(spec.name)
