"""How each kind of probe is asked: from a definition to a driver. Other rooms add kinds of their own to `KINDS`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.patterns import compile_pattern
from processes.actions.traces import trace
from processes.models import Process
from processes.starting import environment_of
from services.actions.recording import environment
from services.drivers import probe_exec, probe_http, probe_log, probe_mcp, probes
from services.drivers.probes import Result
from services.mcp import STDIO, transport_of, url_of
from services.models import Service
from services.spec import Probe
from services.states import ProbeKind, ServiceState


@dataclass(frozen=True)
class Target:
    """A start of a service that is asked, as plain data: it is read by another thread than that of the rows.

    Args:
        process_id: 0 for a service of which no process runs.
        started, ready: what was known of it when it was taken up.
        secrets: values that no answer may show.
    """

    service_id: int
    process_id: int
    revision: int
    name: str
    probes: tuple[Probe, ...]
    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    user: str
    port: int | None
    details: Mapping[str, Any]
    log: Path
    log_offset: int
    started: bool = False
    ready: bool = False
    secrets: tuple[str, ...] = field(default=(), repr=False)


def target_of(service: Service, process: Process | None) -> Target:
    """What there is to know of a service, and of a start of it, to ask: as it was started, whatever its definition
    says by now."""
    service = service.as_started() if process is not None else service
    port = process.port if process is not None and process.port is not None else service.port
    inherits = Process(env_base=service.env_base, user=service.user, env=environment(service, port))
    return Target(
        service_id=service.pk,
        process_id=process.pk if process is not None else 0,
        revision=service.revision,
        name=service.name,
        probes=tuple(Probe.model_validate(each) for each in service.probes),
        argv=tuple(service.argv),
        cwd=service.cwd,
        env=environment_of(inherits),
        user=service.user,
        port=port,
        details=service.details,
        log=trace(process, process.log) if process is not None else Path(),
        log_offset=process.log_offset if process is not None else 0,
        started=service.state in (ServiceState.RUNNING, ServiceState.UNREADY),
        ready=service.state == ServiceState.RUNNING,
        secrets=tuple(service.secret_values),
    )


Question = Callable[[], Coroutine[Any, Any, Result]]
"""Asks once."""
Kind = Callable[[Target, Probe], Question]
"""Makes the question of a probe; called once for each start, so that it may remember something."""


def _http(target: Target, probe: Probe) -> Question:
    own = f"http://{probes.LOOPBACK}:{target.port}{probe.endpoint}"
    url = own if probe.endpoint.startswith("/") else probe.endpoint
    wanted = probe_http.Wanted(tuple(probe.status), probe.text)
    return lambda: probe_http.http(url, wanted=wanted, any_certificate=probe.any_certificate)


def _tcp(target: Target, probe: Probe) -> Question:
    host, _, port = (probe.endpoint or str(target.port)).rpartition(":")
    return lambda: probes.tcp(host.strip("[]") or probes.LOOPBACK, int(port))


def _exec(target: Target, probe: Probe) -> Question:
    return lambda: probe_exec.command(probe.command, cwd=target.cwd, env=target.env, user=target.user)


def _log(target: Target, probe: Probe) -> Question:
    watch = probe_log.LogWatch(target.log, target.log_offset, compile_pattern(probe.pattern))
    return lambda: asyncio.to_thread(watch.look)


def _mcp(target: Target, probe: Probe) -> Question:
    if transport_of(target.details) == STDIO:
        return lambda: probe_mcp.over_stdio(
            target.argv, cwd=target.cwd, env=target.env, user=target.user, seconds=probe.timeout
        )
    url = probe.endpoint or url_of(target.details, target.port)
    return lambda: probe_mcp.over_http(url, seconds=probe.timeout, any_certificate=probe.any_certificate)


KINDS: Mapping[str, Kind] = {
    ProbeKind.HTTP: _http,
    ProbeKind.TCP: _tcp,
    ProbeKind.EXEC: _exec,
    ProbeKind.LOG: _log,
    ProbeKind.MCP: _mcp,
}
