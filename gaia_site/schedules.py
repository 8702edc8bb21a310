"""What django-q2 does by the clock. Each job is short and idempotent."""

from __future__ import annotations

from django_q.models import Schedule

from events import log

SCHEDULES = {
    "purge-trash": {"func": "environments.jobs.purge", "schedule_type": Schedule.DAILY},
}


def ensure_schedules() -> None:
    """Make the schedules that are missing; what an operator changed is kept."""
    known = set(Schedule.objects.filter(name__in=SCHEDULES).values_list("name", flat=True))
    for name, fields in SCHEDULES.items():
        if name in known:
            continue
        with log.atomic():
            Schedule.objects.create(name=name, **fields)
            log.emit("schedule.created", subject=f"schedule/{name}", message=f"Schedule {name} was set up")
