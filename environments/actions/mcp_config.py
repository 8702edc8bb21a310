"""Which MCP servers an environment's agents may use, and the file in its checkout that tells them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from common.errors import GaiaError
from environments.actions.layer_mcp import allowed
from environments.drivers import mcp_file
from environments.models import Environment
from environments.states import EnvironmentState
from services.mcp_status import all_servers, client_config, usable
from services.models import Service


def servers_for(environment: Environment, servers: Iterable[Service] | None = None) -> list[Service]:
    """The MCP servers that its sessions may use: those its layer allows that are meant to be up.

    Args:
        servers: all there are, for who asks about many environments.
    """
    known = {service.name: service for service in usable(all_servers() if servers is None else servers)}
    return [known[name] for name in allowed(environment.layer, known)]


def config_for(environment: Environment) -> dict[str, Any]:
    """What its `.mcp.json` is to say."""
    return client_config(servers_for(environment))


def write_config(environment: Environment, servers: Iterable[Service] | None = None) -> mcp_file.Written:
    """Bring the checkout's `.mcp.json` into line. One that is not GAIA's stays as it is.

    Raises: Unavailable or Refused when nothing can be written.
    """
    return mcp_file.write(Path(environment.path), client_config(servers_for(environment, servers)))


def write_configs(environments: Iterable[int]) -> dict[int, str]:
    """Before sessions start: the file of each environment that is usable.

    Args:
        environments: their ids.

    Returns: by id what there is to say about it, where it could not be as it should.
    """
    wanted = set(environments)
    if not wanted:
        return {}
    servers = list(all_servers())
    told = {}
    for each in Environment.objects.filter(pk__in=wanted, state=EnvironmentState.READY).select_related("layer"):
        try:
            kept = write_config(each, servers).kept
        except (GaiaError, OSError) as error:  # a session without MCP servers is better than none
            kept = str(error)
        if kept:
            told[each.pk] = f"its {mcp_file.NAME} does not tell of GAIA's MCP servers: {kept}"
    return told
