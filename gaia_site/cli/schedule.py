"""`gaia schedule …`: jobs that run by the clock."""

from __future__ import annotations

import json
import logging
from argparse import Namespace
from datetime import datetime
from typing import Any

from gaia_site.cli import pictures
from gaia_site.cli.ground import ready, say

_SIGNS = {"off": "stopped", "not_run": "unknown"}


def list_(arguments: Namespace) -> int:
    """Jobs, when they run, and what became of the last run. Returns: the exit code."""
    ready()
    from django_q.models import Schedule

    from gaia_site.scheduling import describe_all

    found = describe_all(Schedule.objects.exclude(name=None).order_by("name"))
    if arguments.json:
        print(json.dumps(found))
        return 0
    if not found:
        print("No jobs yet: gaia up makes those that come with GAIA.")
    for each in found:
        print("\n".join(_lines(each)))
    return 0


def _lines(each: dict[str, Any]) -> list[str]:
    when = each["when"] if each["enabled"] else f"off, else {each['when']}"
    lines = [f"{pictures.icon(_SIGNS.get(each['state'], each['state']))} {each['name']:<18} {when}"]
    lines += pictures.wrapped("    ", each["does"] or each["func"])
    if each["next_run"]:
        lines.append(f"    next {_moment(each['next_run'])}")
    if each["last"]:
        told = "" if each["last"]["ok"] else f": {each['last']['problem']}"
        word = "ran" if each["last"]["ok"] else "failed"
        lines += pictures.wrapped("    ", f"{word} {_moment(each['last']['at'])} in {each['last']['took']:.1f} s{told}")
    return lines


def _moment(text: str) -> str:
    from django.utils import timezone

    return f"{timezone.localtime(datetime.fromisoformat(text)):%Y-%m-%d %H:%M}"


def run(arguments: Namespace) -> int:
    """Run a job now, besides its own times. Returns: the exit code."""
    ready()
    from gaia_site import platform, scheduling

    schedule = scheduling.find(arguments.name)
    logging.getLogger("django-q").setLevel(logging.WARNING)  # it would say on the terminal that it was queued
    scheduling.run_now(schedule)
    if not platform.daemon_runs():
        say("GAIA is down: it runs when the job queue does. Start it: gaia up")
    _tell(arguments, schedule, f"{schedule.name} runs as soon as a worker is free.")
    return 0


def turn(arguments: Namespace) -> int:
    """Turn a job on or off; that stays over restarts. Returns: the exit code."""
    ready()
    from gaia_site import scheduling, timetable

    schedule = scheduling.find(arguments.name)
    scheduling.turn(schedule, on=arguments.on)
    told = f"is on: {timetable.words(schedule)}." if arguments.on else "is off."
    _tell(arguments, schedule, f"{schedule.name} {told}")
    return 0


def set_(arguments: Namespace) -> int:
    """Run a job at other times; that stays over restarts. Returns: the exit code."""
    ready()
    from gaia_site import scheduling, timetable

    schedule, when = scheduling.find(arguments.name), " ".join(arguments.when)
    runs = timetable.preview(when)
    if arguments.dry_run:
        if arguments.json:
            print(json.dumps({"next_runs": [run.isoformat() for run in runs]}))
        else:
            print("\n".join([f"  {run:%A %Y-%m-%d %H:%M}" for run in runs] + ["Nothing was done (--dry-run)."]))
        return 0
    scheduling.change(schedule, when)
    next_runs = ", ".join(f"{run:%Y-%m-%d %H:%M}" for run in runs)
    _tell(arguments, schedule, f"{schedule.name} runs {timetable.words(schedule)}: {next_runs} ….")
    return 0


def _tell(arguments: Namespace, schedule: Any, told: str) -> None:
    from gaia_site.scheduling import describe_all

    print(json.dumps(describe_all([schedule])[0]) if arguments.json else told)
