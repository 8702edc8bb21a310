"""`gaia layer …`."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from common.errors import InvalidInput
from gaia_site.cli import pictures
from gaia_site.cli.ground import confirm, given, ready, say

if TYPE_CHECKING:
    from environments.models import Layer

_ENGINES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


def list_(arguments: Namespace) -> int:
    """Layers. Returns: the exit code."""
    ready()
    from environments.actions.layers import layers_overview

    found = layers_overview()
    if arguments.json:
        print(json.dumps(found))
        return 0
    for one in found:
        ports = f"{one['ports'][0]}–{one['ports'][1]}" if one["ports"] else "their own"
        count = len(one["environments"])
        members = f"{count} environment{'' if count == 1 else 's'}" if count else "-"
        print(f"{one['name']:<14} {_ENGINES[one['engine']]:<11} ports {ports:<11} MCP {one['mcp']:<6} {members}")
        for line in pictures.wrapped("  ", one["purpose"]) if one["purpose"] else []:
            print(line)
    return 0


def show(arguments: Namespace) -> int:
    """Everything about one layer. Returns: the exit code."""
    ready()
    from environments.actions.layers import describe, find_layer

    one = describe(find_layer(arguments.name))
    print(json.dumps(one) if arguments.json else "\n".join(_facts(one)))
    return 0


def _facts(one: dict[str, Any]) -> Iterator[str]:
    ports = f"{one['ports'][0]} to {one['ports'][1]}" if one["ports"] else "those of their project"
    mcp = f"{one['mcp']}: {', '.join(one['mcp_servers'])}" if one["mcp"] == "basic" else one["mcp"]
    rows = [
        ("layer", one["name"]), ("purpose", one["purpose"]), ("engine", _ENGINES[one["engine"]]),
        ("server", one["server"] or ("none is configured" if one["engine"] == "postgresql" else "")), ("ports", ports),
        ("MCP", mcp), ("services", ", ".join(one["services"])), ("needs", ", ".join(one["needs"])),
        ("variables", ", ".join(f"{name}={value}" for name, value in one["variables"].items())),
        ("production", "its data is kept from every other layer" if one["production"] else ""),
        ("environments", ", ".join(one["environments"]) or "none"),
    ]  # fmt: skip
    for name, text in rows:
        if text:
            yield from pictures.wrapped(f"{name:<13} ", text)


def set_(arguments: Namespace) -> int:
    """Put an environment into a layer. Returns: the exit code."""
    ready()
    from environments.actions import layer_change, stages
    from environments.actions.layers import find_layer
    from environments.reconcile import look_at_stages
    from gaia_site import platform
    from gaia_site.cli.following import finish
    from processes.actions.nodes import ensure_node

    detached = platform.daemon_runs()
    if not detached:
        look_at_stages(ensure_node())
    environment = stages.find_environment(arguments.environment, arguments.project)
    layer = find_layer(arguments.layer)
    if arguments.dry_run:
        plan = layer_change.plan(environment, layer).as_dict()
        print(json.dumps(plan) if arguments.json else "\n".join(_planned(plan)))
        return 0
    operation = layer_change.request_layer(environment, layer, restart=arguments.restart, detached=detached)
    told = finish(operation, detached=detached).result
    if arguments.json:
        print(json.dumps({**told, "stages": layer_change.described(environment)}))
        return 0
    print(f"{told['environment']} is in layer {told['layer']}.")
    for one in told["moved"]:
        print(f"  {one['stage']:<8} port {one['before']} → {one['port']}")
    for name in told["made"]:
        print(f"  database {name} was made")
    for note in told["notes"]:
        say(note)
    return 0


def _planned(plan: dict[str, Any]) -> Iterator[str]:
    again = plan["before"] == plan["layer"]
    yield f"{plan['environment']} {'stays in' if again else 'would go from ' + plan['before'] + ' to'} {plan['layer']}:"
    for one in plan["ports"]:
        yield f"  {one['stage']:<8} port {one['before']} → {one['port']}"
    for one in plan["databases"]:
        how = "is there" if one["exists"] else "is made"
        yield f"  {one['stage']:<8} {_ENGINES[one['engine']]} {one['name']} {how}"
    yield f"  MCP      {', '.join(plan['mcp']) or 'no server'}"
    if plan["running"]:
        yield f"  {', '.join(plan['running'])} run: say --restart to have them stopped and started again"
    for note in plan["notes"]:
        yield from pictures.wrapped("  · ", note)


def drift(arguments: Namespace) -> int:
    """What is not as layers say. Returns: 0 when all is, 1 when something is not."""
    from gaia_site.cli.show import look_at_environments

    look_at_environments()
    from environments.actions import health, stages

    chosen = None
    if arguments.environment:
        chosen = [stages.find_environment(arguments.environment, arguments.project)]
    found = health.drift(chosen)
    if arguments.project and not arguments.environment:
        names = {each.directory for each in health.live() if each.project.name == arguments.project}
        found = [one for one in found if one["environment"] in names]
    print(json.dumps(found) if arguments.json else "\n".join(_drifted(found)))
    return 1 if any(one["findings"] for one in found) else 0


def _drifted(found: list[dict[str, Any]]) -> Iterator[str]:
    from gaia_site.cli.health import finding_lines

    if not found:
        yield "There are no environments."
    for one in found:
        state = "warning" if one["findings"] else "ok"
        yield f"{pictures.icon(state)} {one['environment']:<28} {one['layer']:<14} " + (
            "" if one["findings"] else "as its layer says"
        )
        for each in one["findings"]:
            yield from finding_lines(each)


def add(arguments: Namespace) -> int:
    """Make a layer. Returns: the exit code."""
    ready()
    from environments.actions import layers
    from environments.models import Layer

    made = layers.add(arguments.name, _changes(arguments, Layer(name=arguments.name)))
    return _told(arguments, layers.describe(made), f"Layer {made.name} was added.")


def change(arguments: Namespace) -> int:
    """Change a layer. Returns: the exit code."""
    ready()
    from environments.actions import layers

    layer = layers.find_layer(arguments.name)
    changed = layers.change(layer, _changes(arguments, layer))
    told = layers.describe(layer)
    what = f"Layer {layer.name} has changed: {', '.join(changed)}." if changed else "Nothing to do: it is like that."
    code = _told(arguments, told, what)
    if changed and told["environments"]:
        say(f"Its environments follow with: gaia layer set ENV {layer.name}; gaia layer drift shows which do not yet.")
    return code


def remove(arguments: Namespace) -> int:
    """Forget a layer. Returns: the exit code."""
    ready()
    from environments.actions import layers

    layer = layers.find_layer(arguments.name)
    confirm(f"Forget layer {layer.name}?", yes=arguments.yes)
    told = layers.describe(layer)
    layers.remove(layer)
    return _told(arguments, told, f"Layer {layer.name} was removed.")


def _told(arguments: Namespace, told: dict[str, Any], text: str) -> int:
    print(json.dumps(told) if arguments.json else text)
    return 0


def _changes(arguments: Namespace, layer: Layer) -> dict[str, Any]:
    """What the options say, as `layers.add` and `layers.change` take it."""
    changes: dict[str, Any] = {
        name: getattr(arguments, name) for name in ("purpose", "engine", "mcp") if getattr(arguments, name) is not None
    }
    if arguments.ports is not None:
        changes["first_port"], changes["last_port"] = arguments.ports
    if arguments.mcp_server is not None:
        changes["mcp_servers"] = arguments.mcp_server
    if arguments.production is not None:
        changes["production"] = arguments.production == "yes"
    if arguments.postgresql_url is not None:
        changes["postgresql_url"] = given(arguments.postgresql_url, "Address of the PostgreSQL server")
    for field, more, less in (("services", "service", "no_service"), ("needs", "need", "no_need")):
        added, taken = getattr(arguments, more) or [], getattr(arguments, less) or []
        if added or taken:
            changes[field] = [name for name in [*getattr(layer, field), *added] if name not in taken]
    if arguments.set or arguments.unset:
        kept = {name: value for name, value in layer.variables.items() if name not in (arguments.unset or [])}
        changes["variables"] = {**kept, **dict(_pair(text) for text in arguments.set or [])}
    return changes


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidInput(f"{text!r} is no variable with its value", fix="Write it like LOG_LEVEL=debug.")
    return name, value
