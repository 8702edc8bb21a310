"""What django-q2 does by the clock. Each job is short and idempotent.

A new job is one more entry of `SCHEDULES`: the function, when it runs to begin with, and one sentence for the console
that says what it does. What an operator changed (when, on or off) is kept over restarts.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from django.conf import settings
from django_q.models import Schedule

from events import log
from gaia_site import timetable


class BuiltIn(TypedDict):
    """A job that comes with GAIA."""

    func: str
    """Where it is: module.function"""
    does: str
    """What it does, as one sentence an operator reads"""
    schedule_type: str
    """When, to begin with: one of django-q2's types"""
    minutes: NotRequired[int]
    """Between two runs, for `Schedule.MINUTES`"""
    cron: NotRequired[str]
    """For `Schedule.CRON`"""
    at: NotRequired[str]
    """Time of day of the first run, `03:10`, of a weekly one on a Sunday, of a monthly one on the 1st; else at once"""


SCHEDULES: dict[str, BuiltIn] = {
    "purge-trash": {
        "func": "environments.jobs.purge",
        "does": "Deletes what has been in the trash for longer than it is kept.",
        "schedule_type": Schedule.DAILY,
    },
    "health": {
        "func": "environments.jobs.look_at_health",
        "does": "Looks at every environment and tells when one is not well, or well again.",
        "schedule_type": Schedule.MINUTES,
        "minutes": settings.GAIA["health.interval"],
    },
    "health-history": {
        "func": "environments.jobs.forget_health",
        "does": "Forgets how environments were longer ago than health.history_days.",
        "schedule_type": Schedule.DAILY,
    },
    "backups": {
        "func": "environments.jobs.request_backups",
        "does": "Backs up every database whose last backup is older than backups.interval.",
        "schedule_type": Schedule.HOURLY,
    },
    "prune-backups": {
        "func": "environments.jobs.prune_backups",
        "does": "Deletes backups that are not kept any longer.",
        "schedule_type": Schedule.DAILY,
    },
    "drop-snapshots": {
        "func": "environments.jobs.drop_snapshots",
        "does": "Forgets snapshots of git verbs that are old and not among the newest of their environment.",
        "schedule_type": Schedule.DAILY,
    },
    "weekly-sync": {
        "func": "environments.jobs.weekly_sync",
        "does": "Fetches every source; merges into no branch unless environments.weekly_sync_merges says so.",
        "schedule_type": Schedule.WEEKLY,
        "at": "04:00",
    },
    "monthly-clean": {
        "func": "environments.jobs.monthly_clean",
        "does": "Deletes local branches of environments whose commits the hub's default branch has.",
        "schedule_type": Schedule.MONTHLY,
        "at": "04:30",
    },
    "renew-certificates": {
        "func": "environments.jobs.renew_certificates",
        "does": "Renews the HTTPS certificates of environments that end within 30 days.",
        "schedule_type": Schedule.DAILY,
    },
    "forget-old": {
        "func": "gaia_site.jobs.forget_old",
        "does": "Forgets what has been over for longer than jobs.keep_days: rows of lists, never anybody's work.",
        "schedule_type": Schedule.MONTHLY,
        "at": "05:00",
    },
}


def ensure_schedules() -> None:
    """Make the schedules that are missing; what an operator changed is kept."""
    known = set(Schedule.objects.filter(name__in=SCHEDULES).values_list("name", flat=True))
    for name, built_in in SCHEDULES.items():
        if name in known:
            continue
        when = {key: value for key, value in built_in.items() if key not in {"does", "at"}}
        if "at" in built_in:
            when["next_run"] = timetable.first_run(built_in["schedule_type"], built_in["at"])
        with log.atomic():
            Schedule.objects.create(name=name, **when)
            log.emit("schedule.created", subject=f"schedule/{name}", message=f"Schedule {name} was set up")
