"""Layers as data: what there is, making, changing and removing one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from django.db.models import ProtectedError

from common.errors import Conflict, InvalidInput, NotFound
from common.names import check_name
from common.redaction import MASK, mask_url
from environments.actions.layer_servers import configured_url, refuse_production
from environments.drivers import postgres
from environments.models import Environment, Layer
from environments.states import ENVIRONMENT_ACTIVE, LOCAL, Engine, McpSet, Need
from events import log

LOWEST, HIGHEST = 1024, 65_535
LONGEST_NAME = 40
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_RESERVED = re.compile(
    r"GAIA_.*|STAGE|APP_ENV|PORT|[A-Z0-9]+_PORT|LOG_FILE|COMMAND|HEALTH_PATH|([A-Z0-9]+_)?DATABASE_(PATH|URL|ENGINE)|"
    r"USE_HTTPS|TLS_(CERT|KEY)|IFS|PATH|HOME|LD_.*"
)
_SECRET = re.compile(r"secret|token|passw|key|credential", re.IGNORECASE)
_FIELDS = (
    "purpose", "position", "engine", "first_port", "last_port", "mcp", "mcp_servers", "services", "needs", "variables",
    "postgresql_url", "production",
)  # fmt: skip
_MOST_VARIABLES, _LONGEST_VALUE, _MOST_NAMES = 100, 2000, 100


def find_layer(name: str) -> Layer:
    """The layer of that name. Raises: NotFound with what there is."""
    found = Layer.objects.filter(name=name).first()
    if found is None:
        have = ", ".join(Layer.objects.values_list("name", flat=True))
        raise NotFound(f"there is no layer {name!r}", fix=f"There are: {have}. Another one: gaia layer add NAME")
    return found


def layers_overview() -> list[dict[str, Any]]:
    """Every layer as every door shows it; a bounded number of queries."""
    members: dict[str, list[str]] = {}
    for environment in Environment.objects.filter(state__in=ENVIRONMENT_ACTIVE).order_by("path"):
        members.setdefault(environment.layer_name, []).append(environment.directory)
    return [describe(layer, members.get(layer.name, [])) for layer in Layer.objects.all()]


def describe(layer: Layer, members: list[str] | None = None) -> dict[str, Any]:
    """One layer as every door shows it: no password, no secret variable.

    Args:
        members: directories of its environments; default looked up.
    """
    if members is None:
        live = Environment.objects.filter(layer=layer, state__in=ENVIRONMENT_ACTIVE).order_by("path")
        members = [environment.directory for environment in live]
    shown = {name: shown_value(name, str(text)) for name, text in layer.variables.items()}
    return {
        "name": layer.name,
        "purpose": layer.purpose,
        "position": layer.position,
        "engine": layer.engine,
        "server": mask_url(configured_url(layer)) if layer.engine == Engine.POSTGRESQL else "",
        "ports": [layer.first_port, layer.last_port] if layer.ports else None,
        "mcp": layer.mcp,
        "mcp_servers": list(layer.mcp_servers),
        "services": list(layer.services),
        "needs": list(layer.needs),
        "variables": shown,
        "production": layer.production,
        "environments": members,
    }


def shown_value(name: str, value: str) -> str:
    """A variable's value as people may see it."""
    return MASK if _SECRET.search(name) else mask_url(value)


def add(name: str, changes: Mapping[str, Any]) -> Layer:
    """Make a layer; what is not said is as in `local`.

    Raises: InvalidInput; Conflict when there is one of that name.
    """
    if len(check_name(name, what="name of a layer")) > LONGEST_NAME:
        raise InvalidInput(f"a layer's name has at most {LONGEST_NAME} characters", fix="Choose a shorter one.")
    if Layer.objects.filter(name=name).exists():
        raise Conflict(f"there is a layer {name} already", fix=f"Change it: gaia layer change {name}")
    layer = Layer(name=name, **_checked(Layer(name=name), changes))
    with log.atomic():
        layer.save()
        log.emit("layer.added", subject=layer.key, message=f"Layer {name} was added", layer=describe(layer, []))
    return layer


def change(layer: Layer, changes: Mapping[str, Any]) -> list[str]:
    """Change what a layer is. Its environments follow when it is set again; until then they are shown as drifted.

    Returns: names of the fields that changed. Raises: InvalidInput; Conflict for what cannot be.
    """
    checked = _checked(layer, changes)
    differing = {name: value for name, value in checked.items() if getattr(layer, name) != value}
    if not differing:
        return []
    with log.atomic():
        Layer.objects.filter(pk=layer.pk).update(**differing)
        for name, value in differing.items():
            setattr(layer, name, value)
        shown = describe(layer, [])
        told = {name: shown[name] for name in differing if name in shown}
        message = f"Layer {layer.name} was changed: {', '.join(sorted(differing))}"
        log.emit("layer.changed", subject=layer.key, message=message, changes=told)
    return sorted(differing)


def remove(layer: Layer) -> None:
    """Forget a layer nothing belongs to. Raises: Conflict for `local`, and for one that has environments."""
    if layer.name == LOCAL:
        raise Conflict("layer local stays", meaning="New environments belong to it.")
    live = [each.directory for each in Environment.objects.filter(layer=layer, state__in=ENVIRONMENT_ACTIVE)]
    if live:
        fix = " && ".join(f"gaia layer set {name} {LOCAL}" for name in live)
        raise Conflict(f"{len(live)} environments belong to layer {layer.name}", fix=fix, environments=live)
    key = layer.key
    try:
        with log.atomic():
            Environment.objects.filter(layer=layer).update(layer=LOCAL)  # those that have been removed
            layer.delete()
            log.emit("layer.removed", subject=key, message=f"Layer {layer.name} was removed")
    except ProtectedError as error:
        raise Conflict(f"an environment has just been put into layer {layer.name}", fix="Run it again.") from error


def _checked(layer: Layer, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as they are stored. Raises: InvalidInput, Conflict, Refused."""
    unknown = sorted(set(changes) - set(_FIELDS))
    if unknown:
        raise InvalidInput(f"a layer has no {', '.join(unknown)}", fix=f"It has: {', '.join(_FIELDS)}.")
    checked = {name: _CHECKS[name](name, value) for name, value in changes.items()}
    after = {name: checked.get(name, getattr(layer, name)) for name in _FIELDS}
    _check_ports(layer.name, after["first_port"], after["last_port"])
    if layer.name == LOCAL and (after["engine"] != Engine.SQLITE or after["production"]):
        raise Conflict(
            "layer local works with SQLite",
            meaning="Every environment begins there, and needs nothing that has to be configured.",
            fix="Add a layer of your own: gaia layer add NAME --engine postgresql",
        )
    _check_servers(layer.name, after)
    return checked


def _check_ports(name: str, first: int | None, last: int | None) -> None:
    if first is None and last is None:
        return
    if first is None or last is None or not LOWEST <= first <= last <= HIGHEST:
        raise InvalidInput(
            f"{first} to {last} is no range of ports",
            meaning=f"GAIA hands out ports from {LOWEST} to {HIGHEST}.",
            fix="Write it like 8000-8044.",
        )
    for other in Layer.objects.exclude(name=name).exclude(first_port=None):
        if other.ports and other.ports.start <= last and first < other.ports.stop:
            raise Conflict(
                f"ports {first} to {last} overlap with those of layer {other.name}",
                meaning=f"It has {other.first_port} to {other.last_port}: nobody could tell whose a port is.",
                fix="Choose others.",
            )


def _check_servers(name: str, after: Mapping[str, Any]) -> None:
    """No layer but production may come to its data, whichever of the two is changed."""
    if not after["production"] and after["postgresql_url"]:
        refuse_production(name, after["postgresql_url"])
    if after["production"] and after["postgresql_url"]:
        probe = Layer(name=name, production=True, postgresql_url=after["postgresql_url"])
        for other in Layer.objects.filter(production=False, engine=Engine.POSTGRESQL).exclude(name=name):
            theirs = configured_url(other)
            if theirs and postgres.same_account(postgres.check_url(theirs), probe.postgresql_url):
                raise Conflict(
                    f"layer {other.name} uses the same account of the same server",
                    meaning="No process of another layer may reach production's data.",
                    fix=f"Give {name} a server, or an account, of its own.",
                )


def _text(name: str, value: Any) -> str:
    text = str(value).strip()
    if len(text) > 300 or not text.isprintable():
        raise InvalidInput(f"{name} is one line of at most 300 characters")
    return text


def _number(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1_000_000:
        raise InvalidInput(f"{name} is a whole number, not {value!r}")
    return value


def _truth(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"{name} is true or false, not {value!r}")
    return value


def _one_of(name: str, value: Any) -> str:
    known = _CHOICES[name]
    if value not in known:
        raise InvalidInput(f"{name} is none of {', '.join(known)}: {value!r}")
    return str(value)


def _names(name: str, value: Any) -> list[str]:
    if not isinstance(value, list) or len(value) > _MOST_NAMES:
        raise InvalidInput(f"{name} is a list of at most {_MOST_NAMES} names")
    for each in value:
        check_name(str(each), what=f"name in {name}")
    return list(dict.fromkeys(str(each) for each in value))


def _needs(name: str, value: Any) -> list[str]:
    known = list(Need.values)
    if not isinstance(value, list) or not set(value) <= set(known):
        raise InvalidInput(f"needs are some of {', '.join(known)}, not {value!r}")
    return [each for each in known if each in value]


def _variables(name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > _MOST_VARIABLES:
        raise InvalidInput(f"variables are at most {_MOST_VARIABLES} names with values")
    for key, text in value.items():
        if not isinstance(key, str) or not _VARIABLE.fullmatch(key):
            raise InvalidInput(f"{key!r} is no name of a variable", fix="Letters, digits and _, such as LOG_LEVEL.")
        if _RESERVED.fullmatch(key):
            raise InvalidInput(f"{key} is decided by GAIA or by the system", fix="Choose another name.")
        if not isinstance(text, str) or len(text) > _LONGEST_VALUE or not text.isprintable():
            raise InvalidInput(f"the value of {key} is one line of at most {_LONGEST_VALUE} characters")
    return dict(value)


def _url(name: str, value: Any) -> str:
    return postgres.check_url(str(value)) if value else ""


_CHOICES: dict[str, list[str]] = {"engine": list(Engine.values), "mcp": list(McpSet.values)}
_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "purpose": _text,
    "position": _number,
    "engine": _one_of,
    "first_port": _number,
    "last_port": _number,
    "mcp": _one_of,
    "mcp_servers": _names,
    "services": _names,
    "needs": _needs,
    "variables": _variables,
    "postgresql_url": _url,
    "production": _truth,
}
