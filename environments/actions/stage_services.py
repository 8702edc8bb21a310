"""Stages as services: GAIA keeps up what was up.

A stage becomes a service with its first launch, whoever launches it, and is one until its environment is removed. Each
launch takes over what `gaia.yaml` and `.env.local` say then, and so does whatever changes port, scheme or layer. Lock,
journal and log are those that its scripts use.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from pathlib import Path

from django.conf import settings

from common.errors import Conflict, GaiaError
from environments.actions import layer_servers
from environments.drivers.launching import StageStart, stage_start
from environments.models import Environment, Stage
from environments.overview import services_of
from events import log
from processes.drivers.shim import TOKEN_VARIABLE
from processes.models import Process
from services.actions import running
from services.actions.definitions import Place, redefine, register, unregister
from services.actions.recording import move
from services.models import Dependency, Service
from services.spec import ServiceSpec, parse_spec
from services.states import SERVICE_DOWN, SERVICE_UP, Desired, Restart, ServiceKind, ServiceState

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_NAME = 64
_INTERVAL_S, _TIMEOUT_S = 30, 5
_TRIES_AGAIN = (ServiceState.BACKOFF, ServiceState.CRASH_LOOP, ServiceState.HELD, ServiceState.STOPPED)


def service_of(stage: Stage) -> Service | None:
    """The service of a stage; None when it was never launched."""
    return Service.objects.select_related("node").filter(owner=stage.owner).first()


def define(stage: Stage, start: StageStart) -> Service:
    """Make a stage's service what its next start is to be.

    Raises: InvalidInput when its variables cannot be passed to a program; Refused when they lead to production's data,
    and the stage is of another layer.
    """
    layer_servers.require_apart(stage, start.env)
    service = service_of(stage)
    place = Place(owner=stage.owner, log=start.log, lock=start.lock, journal=start.journal)
    if service is None:
        return register(_spec(stage, start, _free_name(stage)), place=place)
    return redefine(service, _spec(stage, start, service.name), place=place)


def refresh(environment: Environment) -> None:
    """Have the services of an environment's stages start as their checkout says now.

    What does not even say how to start them keeps the definition they had: the next launch tells why.
    """
    stages = list(environment.stages.select_related("environment__project", "environment__layer"))
    known = services_of(stage.owner for stage in stages)
    for stage in stages:
        if stage.owner in known:
            with suppress(GaiaError, OSError):
                define(stage, stage_start(Path(environment.path), stage.name))


def start(stage: Stage, how: StageStart) -> Process | None:
    """Have a stage up: the daemon starts it at once, and keeps it up from the moment it has been ready.

    Returns: its newest start.
    """
    service = define(stage, how)
    with log.atomic():
        _forget_that_it_was_ready(service)
        running.start(service, prepared=True)
    return Process.objects.newest_by_owner([stage.owner]).get(stage.owner)


def prepare(stage: Stage, how: StageStart) -> None:
    """A stage is about to be started by somebody who asks its service: that is a launch, too."""
    _forget_that_it_was_ready(define(stage, how))


def launched_by_script(stage: Stage) -> None:
    """A script launches a stage: from now on it is kept up as if GAIA had."""
    with suppress(GaiaError, OSError):  # the script runs what was read when gaia.yaml was still in order
        prepare(stage, stage_start(Path(stage.environment.path), stage.name))


def stop(stage: Stage) -> bool:
    """Have a stage down. Returns: whether it ran, or was about to be started again."""
    service = service_of(stage)
    if service is None:
        return False
    ran = is_kept(service) or Process.objects.active().filter(owner=stage.owner).exists()
    running.stop(service)
    return ran


def stopped_by_script(stage: Stage) -> None:
    """A script was told to stop a stage that did not run in that moment: it is not to be started again.

    One that runs is left alone when nothing has failed: it was launched after that.
    """
    service = service_of(stage)
    if service is not None and service.desired == Desired.UP and (service.state in SERVICE_DOWN or service.failures):
        running.stop(service)


def is_kept(service: Service) -> bool:
    """Whether a service runs, or will be started again without anybody's doing."""
    if service.state in SERVICE_UP:
        return service.desired == Desired.UP
    return service.desired == Desired.UP and service.state in _TRIES_AGAIN


def settle(stage: Stage) -> None:
    """Write down that a stage has stopped, for when no daemon is there to do it."""
    service = service_of(stage)
    if service is not None and service.state == ServiceState.STOPPING:
        move(service, ServiceState.STOPPED, kind="stopped", message=f"{service.sentence} was stopped")


def require_unneeded(environment: Environment) -> None:
    """Raise Conflict when somebody's service waits for a stage of an environment that is to go."""
    owners = [stage.owner for stage in environment.stages.all()]
    edge = Dependency.objects.filter(on__owner__in=owners).select_related("service", "on").first()
    if edge is not None:
        raise Conflict(
            f"service {edge.service.name} depends on {edge.on.called}",
            meaning="It could not start any more, so nothing was changed.",
            fix=f"Take {edge.on.name} out of its depends_on, or run gaia service unregister {edge.service.name}.",
        )


def forget(environment: Environment) -> None:
    """The environment goes: none of its stages is a service any more."""
    owners = [stage.owner for stage in environment.stages.all()]
    for service in Service.objects.select_related("node").filter(owner__in=owners):
        unregister(service, place=Place.of(service))


def _forget_that_it_was_ready(service: Service) -> None:
    """So that a launch that fails at once is not tried again: whoever launched it is told, and mends it."""
    Service.objects.filter(pk=service.pk, state__in=SERVICE_DOWN).update(ever_ready=False)


def _spec(stage: Stage, start: StageStart, name: str) -> ServiceSpec:
    passed = {key: value for key, value in start.env.items() if _VARIABLE.fullmatch(key) and key != TOKEN_VARIABLE}
    return parse_spec(
        {
            "name": name,
            "title": stage.called,
            "kind": ServiceKind.STAGE,
            "command": list(start.argv),
            "cwd": start.cwd,
            "env": {key: value for key, value in passed.items() if key in start.shown},
            "secrets": {key: value for key, value in passed.items() if key not in start.shown},
            "port": start.port,
            "probes": [_probe(stage, start)],
            "restart": Restart.ALWAYS,
            "stop_grace": settings.GAIA["processes.stop_grace"],
        }
    )


def _probe(stage: Stage, start: StageStart) -> dict[str, object]:
    """Readiness, and never liveness: a stage that somebody has stopped in a debugger is nothing to restart."""
    scheme = "https" if start.https else "http"
    return {
        "type": "http",
        "name": "health",
        "purpose": "readiness",
        "endpoint": f"{scheme}://localhost:{start.port}{start.health_path}",
        "status": [200],
        "any_certificate": start.https,  # GAIA's own; that it fits is looked at when the stage is launched
        "interval": _INTERVAL_S,
        "timeout": _TIMEOUT_S,
    }


def _free_name(stage: Stage) -> str:
    """`shop-dev1-qa`; with a part of its key behind it when that is too long, or somebody's service has that name."""
    name = f"{stage.environment.directory}-{stage.name}"
    if len(name) <= _LONGEST_NAME and not Service.objects.filter(name=name).exists():
        return name
    return f"{name[: _LONGEST_NAME - 7]}-{hashlib.sha256(stage.owner.encode()).hexdigest()[:6]}"
