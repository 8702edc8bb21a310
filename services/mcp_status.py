"""What there is to say of MCP servers, as every door shows it, and as agents are told of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from services.mcp import HTTP, STDIO, transport_of, url_of
from services.models import ProbePeriod, Service
from services.overview import services_overview
from services.states import Desired, ProbeKind, ServiceKind


def mcp_status(servers: Sequence[Service] | None = None) -> list[dict[str, Any]]:
    """All MCP servers, or these, by name; the number of queries does not depend on how many there are.

    Returns: of each `{name, title, transport, url, state, desired, since, problem, tools, server, protocol, last_check,
    limits, pid, restarts}`. `tools` is how many it had when it was last asked, `server` its own name and version,
    `last_check` is `{ok, answer, took_ms, checked_at}`; each None when it was not asked yet.
    """
    rows = list(servers) if servers is not None else list(all_servers())
    facts = ProbePeriod.objects.newest([service.pk for service in rows])
    pairs = zip(rows, services_overview(rows), strict=True)
    return [_told(service, overview, facts.get(service.pk, {})) for service, overview in pairs]


def all_servers() -> Iterable[Service]:
    """The MCP servers that are registered, by name."""
    return Service.objects.select_related("node").filter(kind=ServiceKind.MCP).order_by("name")


def _told(service: Service, overview: dict[str, Any], periods: dict[str, ProbePeriod]) -> dict[str, Any]:
    check = next((each for each in overview["probes"] if each["kind"] == ProbeKind.MCP), None)
    learned = periods[check["name"]].facts if check is not None and check["name"] in periods else {}
    server = " ".join(part for part in (learned.get("name"), learned.get("version")) if part)
    runs = service.as_started()
    told = ("name", "title", "state", "desired", "since", "problem", "pid", "restarts", "limits")
    return {name: overview[name] for name in told} | {
        "transport": transport_of(runs.details),
        "url": url_of(runs.details, runs.port) or None,
        "tools": learned.get("tools"),
        "server": server or None,
        "protocol": learned.get("protocol"),
        "last_check": _asked(check) if check is not None else None,
    }


def _asked(check: dict[str, Any]) -> dict[str, Any] | None:
    told = {name: check[name] for name in ("ok", "answer", "took_ms", "checked_at")}
    return told if check["checked_at"] is not None else None


def client_config(servers: Iterable[Service]) -> dict[str, Any]:
    """How an agent reaches these servers, in the form that agents' `.mcp.json` has. Secrets are not in it.

    A server over stdio is started by the agent, in the directory it works in and with the variables it has.
    """
    return {"mcpServers": {service.name: _entry(service) for service in servers}}


def _entry(service: Service) -> dict[str, Any]:
    if transport_of(service.details) == STDIO:
        program, *arguments = service.argv
        variables = {name: str(value) for name, value in service.env.items()}
        return {"command": program, "args": arguments, "env": variables}
    runs = service.as_started()  # where it answers, until it is restarted
    return {"type": HTTP, "url": url_of(runs.details, runs.port)}


def without_secrets(servers: Iterable[Service]) -> list[str]:
    """Names of servers that an agent would start without the secrets they have as services."""
    return [each.name for each in servers if transport_of(each.details) == STDIO and each.secrets]


def usable(servers: Iterable[Service]) -> list[Service]:
    """Those that are meant to be up: an agent is told of them though they may be starting now."""
    return [service for service in servers if service.desired == Desired.UP]
