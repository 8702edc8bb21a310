"""What the verdict of its probes changes for a service whose process runs, and when its failures are forgotten."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from events import log
from events.models import Level
from processes.actions.processes import request_stop
from processes.models import Process
from processes.states import StopCause
from services import backoff
from services.actions.recording import move
from services.models import Service
from services.states import ServiceState
from services.verdict import Health


def see_health(service: Service, process: Process, health: Health, now: datetime) -> None:
    """Move a service to where the verdict on its running process puts it.

    Args:
        now: what time it is.
    """
    if health.live is False:
        _restart(service, process, health)
    elif service.state == ServiceState.STARTING:
        if health.startup:
            _started(service, process, now, ready=bool(health.ready))
    elif service.state == ServiceState.UNREADY and health.ready:
        _ready(service, process, now)
    elif service.state == ServiceState.RUNNING and health.ready is False:
        _unready(service, health)
    elif service.state == ServiceState.RUNNING:
        _forget_failures(service, process, now)


def _started(service: Service, process: Process, now: datetime, *, ready: bool) -> None:
    pid = f" as pid {process.pid}" if process.pid else ""
    fields: dict[str, Any] = {"problem": "" if ready else "it is not ready yet"}
    if ready:
        fields |= {"ready_at": now, "ever_ready": service.ever_ready or bool(service.probes_asked)}
    move(
        service,
        ServiceState.RUNNING if ready else ServiceState.UNREADY,
        kind="started",
        message=f"{service.sentence} runs{pid}" + ("" if ready else " and is not ready yet"),
        fields=fields,
        told={"pid": process.pid, "attempt": process.attempt, "ready": ready},
        silent=process.silent,
    )


def _ready(service: Service, process: Process, now: datetime) -> None:
    took = (now - (process.started_at or now)).total_seconds()
    move(
        service,
        ServiceState.RUNNING,
        kind="ready",
        message=f"{service.sentence} is ready",
        fields={"ready_at": now, "ever_ready": True, "problem": ""},
        told={"attempt": process.attempt, "after_s": round(took, 3)},
        silent=process.silent,
    )


def _unready(service: Service, health: Health) -> None:
    answer = f": {health.probe}: {health.answer}" if health.probe or health.answer else ""
    move(
        service,
        ServiceState.UNREADY,
        kind="unready",
        message=f"{service.sentence} is not ready any more{answer}",
        level=Level.WARNING,
        fields={"ready_at": None, "problem": f"it is not ready{answer}"},
        told={"probe": health.probe, "answer": health.answer},
    )


def _restart(service: Service, process: Process, health: Health) -> None:
    answer = f"{health.probe}: {health.answer}" if health.probe else health.answer
    with log.atomic():
        moved = move(
            service,
            ServiceState.STOPPING,
            kind="liveness_failed",
            message=f"{service.sentence} does not answer any more and is restarted: {answer}",
            level=Level.WARNING,
            fields={"ready_at": None, "problem": f"its liveness probe failed: {answer}"},
            told={"probe": health.probe, "answer": health.answer, "attempt": process.attempt},
            silent=process.silent,
        )
        if moved:
            request_stop(process, cause=StopCause.LIVENESS)


def _forget_failures(service: Service, process: Process, now: datetime) -> None:
    """It has been well for so long that what was before does not count any more."""
    if (not service.failures and service.alarmed_at is None) or service.ready_at is None:
        return
    startup = (service.ready_at - (process.started_at or service.ready_at)).total_seconds()
    healthy = (now - service.ready_at).total_seconds()
    if healthy < backoff.steady_after(startup):
        return
    with log.atomic():
        changed = Service.objects.filter(pk=service.pk, state=service.state, failures=service.failures).update(
            failures=0, failed_at=[], alarmed_at=None, ever_ready=True
        )
        if changed and process.silent:  # what happens to it from now on is news
            Process.objects.filter(pk=process.pk).update(silent=False)
        if changed and service.alarmed_at is not None:
            tell_recovery(service, f"it has been ready for {healthy:.0f} s")


def tell_recovery(service: Service, why: str) -> None:
    """Whoever was told that it does not stay up hears that this is over. In the transaction that says so."""
    log.emit("service.recovered", subject=service.key, message=f"{service.sentence} is well again: {why}")
