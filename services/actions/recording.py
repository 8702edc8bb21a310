"""What becomes of services, written down: each state change by compare-and-swap with its event.

The supervisor decides, this writes. `desired` is part of every comparison, so that what somebody asks for in the
meantime is never overwritten: the next look decides anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.db import IntegrityError
from django.utils import timezone

from common.errors import Conflict
from events import log
from events.models import Level
from processes.actions.processes import request_start
from processes.models import Process
from services.mcp import runs_for_clients_only
from services.models import Service
from services.states import SERVICE_DOWN, Desired, ServiceState


def move(
    service: Service,
    after: str,
    *,
    kind: str,
    message: str,
    level: str = Level.INFO,
    fields: Mapping[str, Any] | None = None,
    told: Mapping[str, Any] | None = None,
    silent: bool = False,
) -> bool:
    """Change a service's state, if it still is as it was read.

    Args:
        kind: the event's, without `service.` in front.
        fields: what else is written.
        told: the event's data.
        silent: there is no event, as in `log.change`.

    Returns: False when somebody was faster; the row is to be read again then.
    """
    if service.started_as and (after == ServiceState.STARTING or after in SERVICE_DOWN):
        fields = {"started_as": {}, **(fields or {})}  # what was started so runs no more
    return log.change(
        service,
        after,
        before=[service.state],
        only={"desired": service.desired, "revision": service.revision},
        kind=f"service.{kind}",
        message=message,
        level=level,
        fields={"state_since": timezone.now(), **(fields or {})},
        silent=silent,
        **(told or {}),
    )


def begin(
    service: Service,
    *,
    message: str,
    fields: Mapping[str, Any] | None = None,
    kind: str = "start_requested",
    silent: bool = False,
) -> Process | None:
    """Ask for a start of a service that has none, in one transaction with its new state.

    Args:
        silent: a trial in a crash loop: one event tells of it, when it is over.

    Returns: the process that is to be started; None when somebody was faster, or when none ever runs of it.
    """
    reset = {"problem": "", "next_start_at": None, "ready_at": None, "desired": Desired.UP}
    try:
        with log.atomic():
            written = reset | dict(fields or {})
            if not move(service, ServiceState.STARTING, kind=kind, message=message, fields=written, silent=silent):
                return None
            return None if runs_for_clients_only(service.kind, service.details) else _request(service, silent=silent)
    except (Conflict, IntegrityError):  # a script has started it in this moment: the next look follows it
        return None


def _request(service: Service, *, silent: bool) -> Process:
    return request_start(
        service.node,
        service.owner,
        service.argv,
        title=service.called,
        cwd=Path(service.cwd),
        env=environment(service, service.port),
        env_base=service.env_base,
        log_file=Path(service.log) if service.log else None,
        lock=Path(service.lock) if service.lock else None,
        journal=Path(service.journal) if service.journal else None,
        port=service.port,
        stop_grace=service.stop_grace,
        limits=service.limits,
        user=service.user,
        silent=silent,
    )


def environment(service: Service, port: int | None) -> dict[str, str]:
    """The variables a service is started with: its own, its secrets and, unless it sets one, PORT.

    Args:
        port: the one it listens on.
    """
    own = service.env | service.secrets
    given = {"PORT": str(port)} if port is not None else {}
    return given | {name: str(value) for name, value in own.items() if value is not None}


def hold(service: Service, why: str, *, fields: Mapping[str, Any] | None = None) -> bool:
    """Have a service wait for what it depends on, or say anew what it waits for.

    Args:
        why: as `dependencies.closed` has it.
    """
    if service.state == ServiceState.HELD:
        return note_problem(service, why)
    reset = {"problem": why, "next_start_at": None, "ready_at": None, "desired": Desired.UP}
    return move(
        service, ServiceState.HELD, kind="held", message=f"{service.sentence} {why}", fields=reset | dict(fields or {})
    )


def note_problem(service: Service, problem: str) -> bool:
    """Say what is wrong in other words; nothing happened, so there is no event."""
    if service.problem == problem:
        return False
    changed = Service.objects.filter(pk=service.pk, state=service.state, problem=service.problem).update(
        problem=problem
    )
    service.problem = problem
    return bool(changed)
