"""`gaia mcp …`: MCP servers, and what agents are told of them."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from common.errors import Conflict, InvalidInput, NotFound
from gaia_site.cli.ground import ready, say
from gaia_site.cli.pictures import icon
from gaia_site.cli.service_pictures import ago

if TYPE_CHECKING:
    from environments.models import Environment

_NONE = "No MCP server is registered. docs/mcp.md shows how: gaia service register FILE"


def status(arguments: Namespace) -> int:
    """How the MCP servers are. Returns: 0; 1 when one that should be up is not well."""
    servers = _servers()
    if arguments.json:
        print(json.dumps(servers))
    else:
        print("\n".join(line for each in servers for line in _lines(each)) or _NONE)
    bad = [each for each in servers if each["desired"] == "up" and each["state"] != "running"]
    return 1 if bad else 0


def list_(arguments: Namespace) -> int:
    """The MCP servers, a line each. Returns: the exit code."""
    servers = _servers()
    if arguments.json:
        print(json.dumps([{name: each[name] for name in ("name", "transport", "url", "state")} for each in servers]))
        return 0
    width = max((len(each["name"]) for each in servers), default=0)
    for each in servers:
        print(f"{icon(each['state'])} {each['name']:<{width}}  {each['transport']:<5}  {each['url'] or ''}".rstrip())
    if not servers:
        print(_NONE)
    return 0


def config(arguments: Namespace) -> int:
    """What the `.mcp.json` of a session or an environment says. Returns: the exit code."""
    ready()
    from environments.actions import mcp_config
    from services.mcp_status import without_secrets

    environment = _environment(arguments.name)
    print(json.dumps(mcp_config.config_for(environment), indent=2, ensure_ascii=False))
    if arguments.write:
        written = mcp_config.write_config(environment)
        if written.kept:
            raise Conflict(
                f"the .mcp.json of {environment.directory} was not written: {written.kept}",
                meaning="GAIA leaves what is not its own as it is.",
                fix="Put what is above into it yourself, or move it away and say this again.",
            )
        say(f"Written to {environment.path}/.mcp.json." if written.changed else "It says that already.")
    if not arguments.json:
        _remarks(environment, without_secrets(mcp_config.servers_for(environment)))
    return 0


def _remarks(environment: Environment, lacking: list[str]) -> None:
    layer = environment.layer
    if layer.mcp == "off":
        say(f"Layer {layer.name} lets its environments use no MCP server: gaia layer change {layer.name} --mcp all")
    if lacking:
        say(f"Agents start {', '.join(lacking)} themselves, without the secrets that GAIA keeps: set those for them.")


def _environment(name: str) -> Environment:
    """That of a session, or the one of that name. Raises: NotFound; InvalidInput for a session without one."""
    from environments.actions.stages import find_environment
    from sessions.models import Session

    session = Session.objects.live().managed().filter(name=name).select_related("environment__layer").first()
    if session is None:
        try:
            return find_environment(name)
        except NotFound as error:
            raise NotFound(f"there is no session and no environment {name!r}", fix=error.fix, name=name) from None
    if session.environment is None:
        raise InvalidInput(
            f"session {name} works in no environment",
            meaning="The file goes into an environment's checkout.",
            fix="Name an environment, or a session that works in one.",
        )
    environment: Environment = session.environment
    return environment


def _servers() -> list[dict[str, Any]]:
    ready()
    from services.mcp_status import mcp_status

    return mcp_status()


def _lines(each: dict[str, Any]) -> list[str]:
    where = each["url"] or "each client starts its own"
    lines = [f"{icon(each['state'])} {each['name']}  {each['state']}  {each['transport']}, {where}"]
    if each["server"]:
        count = each["tools"]
        lines.append(f"    {each['server']}, MCP {each['protocol']}, {count} tool{'' if count == 1 else 's'}")
    check = each["last_check"]
    if check is not None:
        lines.append(f"    checked {ago(check['checked_at'])}: {check['answer']} ({check['took_ms']:g} ms)")
    if each["problem"]:
        lines.append(f"    {each['problem']}")
    for limit in each["limits"]:
        used = "unknown" if limit["used"] is None else f"{limit['used']:g}"
        warning = "  ← over 80 %" if limit["warning"] else ""
        lines.append(f"    {limit['name']} {used} of {limit['limit']:g}{warning}")
    return lines
