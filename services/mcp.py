"""MCP servers among the services: how each is reached, how it is checked, and what can be said of it.

An MCP server over HTTP is a process like any other, on a port of its own. One over stdio is none: each client starts
its own instance and talks to it through pipes. GAIA keeps no instance of it running, which nobody could talk to; what
it keeps is the knowledge whether an instance that is started now would answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.states import ProbeKind, ProbePurpose, ServiceKind

STDIO = "stdio"
HTTP = "http"
CHECK_S = 30.0
"""Seconds between two checks."""
_TIMEOUT_S = 10.0  # a server may have to be started for the question


def default_probes(transport: str, *, restarts: bool) -> list[dict[str, Any]]:
    """The checks of a server whose definition names none: `initialize`, every 30 s.

    Args:
        restarts: whether it is to be restarted when it does not answer; an instance of a stdio server is not.
    """
    probe = {"kind": ProbeKind.MCP.value, "interval": CHECK_S, "timeout": _TIMEOUT_S}
    probes = [{**probe, "name": "mcp", "purpose": ProbePurpose.READINESS.value}]
    if restarts and transport != STDIO:
        probes.append({**probe, "name": "mcp-live", "purpose": ProbePurpose.LIVENESS.value})
    return probes


def transport_of(details: Mapping[str, Any]) -> str:
    """stdio or http, of a service's details."""
    return str((details.get("mcp") or {}).get("transport") or HTTP)


def url_of(details: Mapping[str, Any], port: int | None) -> str:
    """Where a server over HTTP answers; "" when nobody has said, and for one over stdio."""
    if transport_of(details) == STDIO:
        return ""
    given = (details.get("mcp") or {}).get("url") or ""
    return str(given) or (f"http://127.0.0.1:{port}/mcp" if port is not None else "")


def runs_for_clients_only(kind: str, details: Mapping[str, Any]) -> bool:
    """Whether no process of the service runs, because each client starts its own."""
    return kind == ServiceKind.MCP and transport_of(details) == STDIO
