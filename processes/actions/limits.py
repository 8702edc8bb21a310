"""What follows when a process comes near a limit or over it, with the events that tell of it."""

from __future__ import annotations

from django.utils import timezone

from events import log
from events.models import Event, Level
from processes.limits import does, figure
from processes.models import Process


def stop_over_limit(process: Process, cause: str, *, name: str, limit: float, used: float) -> bool:
    """Write the intent to stop a process because it uses more than it may. False when it is stopping already.

    Args:
        cause: a `StopCause`.
        name: of the limit, as in `Limits`.
        limit, used: in the limit's own unit.
    """
    with log.atomic():
        changed = (
            Process.objects.active()
            .filter(pk=process.pk, stop_requested_at=None)
            .update(stop_requested_at=timezone.now(), cause=cause)
        )
        if changed and not process.silent:
            log.emit(
                "process.limit_exceeded",
                subject=process.owner,
                message=f"{process.sentence} is stopped: it {does(name, used)}, its limit is {figure(name, limit)}",
                level=Level.WARNING,
                limit=name,
                most=limit,
                used=used,
                cause=cause,
                attempt=process.attempt,
            )
    return bool(changed)


def warn_limit(process: Process, *, name: str, limit: float, used: float) -> None:
    """Say that a process comes near a limit, unless it is a trial of many; the figures are in the limit's own unit."""
    if process.silent:
        return
    with log.atomic():
        log.emit(
            "process.limit_warning",
            subject=process.owner,
            message=f"{process.sentence} {does(name, used)}, its limit is {figure(name, limit)}",
            level=Level.WARNING,
            limit=name,
            most=limit,
            used=used,
            attempt=process.attempt,
        )


def was_warned(process: Process, name: str) -> bool:
    """Whether somebody was warned about that limit of this start."""
    told = Event.objects.filter(kind="process.limit_warning", subject=process.owner)
    return told.filter(data__attempt=process.attempt, data__limit=name).exists()


def record_throttled(process: Process, *, limit: float, used: float, nice: int) -> None:
    """It uses more CPU than it may, and got a lower priority."""
    with log.atomic():
        log.emit(
            "process.throttled",
            subject=process.owner,
            message=f"{process.sentence} {does('cpu_percent', used)}, its limit is {figure('cpu_percent', limit)}: "
            f"it gets nice {nice}, and so less where others want to work",
            level=Level.WARNING,
            limit="cpu_percent",
            most=limit,
            used=used,
            attempt=process.attempt,
        )
