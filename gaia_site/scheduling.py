"""What operators do with jobs that run by the clock, and what became of their last run."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db.models import Max
from django.utils import timezone
from django_q.models import OrmQ, Schedule, Task
from django_q.tasks import async_task

from common.errors import Conflict, NotFound
from events import log
from events.actor import acting_as
from events.models import Event, Level
from gaia_site import timetable
from gaia_site.schedules import SCHEDULES

OFF, FOREVER = 0, -1  # values of `Schedule.repeats`
FAILED, RECOVERED = "schedule.failed", "schedule.recovered"
_TOLD_AGAIN = timedelta(days=1)
_PROBLEM_CHARS = 300


def key_of(schedule: Schedule) -> str:
    """Subject of its events."""
    return f"schedule/{schedule.name}"


def find(name: str) -> Schedule:
    """The schedule of that name. Raises: NotFound that lists what there is."""
    found = Schedule.objects.filter(name=name).first()
    if found is None:
        names = ", ".join(Schedule.objects.exclude(name=None).order_by("name").values_list("name", flat=True)[:20])
        fix = f"There are: {names}." if names else "gaia up makes those that come with GAIA."
        raise NotFound(f"there is no schedule {name!r}", fix=fix)
    return found


def turn(schedule: Schedule, *, on: bool) -> bool:
    """Switch it on, from its next time on, or off. Returns: whether that changed anything."""
    stored = Schedule.objects.filter(pk=schedule.pk)
    stored = stored.filter(repeats=OFF) if on else stored.exclude(repeats=OFF)
    fields = {"repeats": FOREVER, "next_run": timetable.next_after(schedule)} if on else {"repeats": OFF}
    word = "on" if on else "off"
    with log.atomic():
        changed = bool(stored.update(**fields))
        if changed:
            log.emit(
                f"schedule.turned_{word}",
                subject=key_of(schedule),
                message=f"Schedule {schedule.name} was turned {word}",
            )
    schedule.refresh_from_db()
    return changed


def change(schedule: Schedule, when: str) -> bool:
    """Let it run at other times.

    Args:
        when: in the words of `gaia_site.timetable`.

    Returns: whether that changed anything. Raises: InvalidInput.
    """
    wanted, before = timetable.parse(when), timetable.words(schedule)
    after = timetable.words(Schedule(**wanted.fields()))
    if before == after:
        return False
    with log.atomic():
        Schedule.objects.filter(pk=schedule.pk).update(**wanted.fields())
        log.emit(
            "schedule.changed",
            subject=key_of(schedule),
            message=f"Schedule {schedule.name} runs {after}, no longer {before}",
            before=before,
            after=after,
        )
    schedule.refresh_from_db()
    return True


def run_now(schedule: Schedule) -> str:
    """Put its job into the queue at once; its own times stay. Returns: the task's id.

    Raises: Conflict when it waits there already.
    """
    with log.atomic():
        if schedule.name in _queued():
            raise Conflict(
                f"schedule {schedule.name} waits to run, or runs, already",
                meaning="Nothing was done.",
                fix="gaia status says whether the jobs run.",
            )
        log.emit(
            "schedule.run_requested", subject=key_of(schedule), message=f"Schedule {schedule.name} was asked to run now"
        )
        task: str = async_task(schedule.func, q_options={"group": schedule.name})
        Schedule.objects.filter(pk=schedule.pk).update(task=task)
    return task


def remove(schedule: Schedule) -> None:
    """Forget one that does not come with GAIA. Raises: Conflict for the others, which would come back."""
    if schedule.name in SCHEDULES:
        raise Conflict(
            f"schedule {schedule.name} comes with GAIA",
            meaning="Removed, it would be back after the next start.",
            fix=f"Turn it off: gaia schedule off {schedule.name}.",
        )
    with log.atomic():
        Schedule.objects.filter(pk=schedule.pk).delete()
        log.emit("schedule.removed", subject=key_of(schedule), message=f"Schedule {schedule.name} was removed")


def describe_all(schedules: Iterable[Schedule]) -> list[dict[str, Any]]:
    """The schedules as every door shows them; three queries however many there are."""
    rows = list(schedules)
    last, queued = _last_runs([row.name for row in rows]), _queued()
    return [_describe(row, last.get(row.name), queued=row.name in queued) for row in rows]


def _describe(schedule: Schedule, last: Task | None, *, queued: bool) -> dict[str, Any]:
    on = schedule.repeats != OFF
    built_in = SCHEDULES.get(schedule.name)
    return {
        "name": schedule.name,
        "does": built_in["does"] if built_in else "",
        "built_in": built_in is not None,
        "func": schedule.func,
        "enabled": on,
        "when": timetable.words(schedule),
        "next_run": timetable.upcoming(schedule, 1)[0].isoformat() if on else None,
        "state": _state(on, last, queued=queued),
        "last": last and _told(last),
    }


def _state(on: bool, last: Task | None, *, queued: bool) -> str:
    if queued:
        return "queued"
    if last is not None and not last.success:
        return "failed"
    if not on:
        return "off"
    return "succeeded" if last is not None else "not_run"


def _told(task: Task) -> dict[str, Any]:
    return {
        "at": task.started.isoformat(),
        "took": round(task.time_taken(), 3),
        "ok": task.success,
        "result": result_of(task) if task.success else "",
        "problem": "" if task.success else problem_of(task),
    }


def result_of(task: Task) -> str:
    """What it returned, in short."""
    return "" if task.result is None else str(task.result)[:_PROBLEM_CHARS]


def problem_of(task: Task) -> str:
    """Why it failed, without the traceback, which is in the log of the jobs."""
    return str(task.result).partition(" : Traceback")[0].strip()[:_PROBLEM_CHARS] or "it said nothing"


def _last_runs(names: list[str]) -> dict[str, Task]:
    newest = Task.objects.filter(group__in=names).values("group").annotate(newest=Max("stopped"))
    moments = {row["group"]: row["newest"] for row in newest}
    rows = Task.objects.filter(group__in=moments, stopped__in=moments.values())
    return {row.group: row for row in rows if row.stopped == moments[row.group]}


def _queued() -> set[str]:
    """Groups of what waits in the queue or is being done: a message stays there until it was acknowledged."""
    return {str(message.group()) for message in OrmQ.objects.all()[:200]}


def record_end(task: Task) -> None:
    """Tell of a scheduled job's failure: the first of a row of them, again after a day, and that it is over."""
    if not task.group or not Schedule.objects.filter(name=task.group).exists():
        return
    subject = f"schedule/{task.group}"
    told = Event.objects.filter(subject=subject, kind__in=(FAILED, RECOVERED)).order_by("-id").first()
    failing = told is not None and told.kind == FAILED
    if task.success and not failing:
        return
    if not task.success and failing and told is not None and timezone.now() - told.at < _TOLD_AGAIN:
        return
    with acting_as(f"jobs:{task.group}"), log.atomic():
        if task.success:
            log.emit(RECOVERED, subject=subject, message=f"Schedule {task.group} works again")
        else:
            message = f"Schedule {task.group} failed: {problem_of(task)}"
            log.emit(FAILED, subject=subject, message=message, level=Level.WARNING)
