"""Which MCP servers the environments of a layer may use, and that they run."""

from __future__ import annotations

from collections.abc import Iterable

from environments.models import Layer
from environments.states import McpSet
from services.models import Service
from services.states import Desired, ServiceKind


def allowed(layer: Layer, names: Iterable[str]) -> list[str]:
    """Those of these MCP servers that environments of the layer may use.

    Args:
        names: of registered MCP servers.
    """
    if layer.mcp == McpSet.OFF:
        return []
    if layer.mcp == McpSet.ALL:
        return list(names)
    return [name for name in names if name in layer.mcp_servers]


def mcp_of(layer: Layer) -> list[str]:
    """Names of the registered MCP servers that environments of the layer may use."""
    return allowed(layer, Service.objects.filter(kind=ServiceKind.MCP).order_by("name").values_list("name", flat=True))


def follow_mcp(layer: Layer) -> list[str]:
    """Have the layer's MCP servers and services started that are to be up and are not; their names.

    None is ever stopped for a layer: they are the node's, and others may use them.
    """
    wanted = {*mcp_of(layer), *layer.services}
    down = list(Service.objects.filter(name__in=wanted, desired=Desired.DOWN))
    if not down:
        return []
    from services.actions.running import start

    for service in down:
        start(service)
    return [service.name for service in down]
