"""When a job runs, in words: `every 5 minutes`, `daily at 03:10`, `weekly on Sunday at 04:00`, `cron 0 3 * * 1-5`.

One form for all doors: what is shown can be typed again. The words stand for django-q2's own types; times of day are
in the time zone of the settings.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from croniter import croniter
from django.utils import timezone
from django_q.models import Schedule

from common.errors import InvalidInput

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
EXAMPLES = (
    "every 30 minutes, hourly at :15, daily at 03:10, weekly on Sunday at 04:00, monthly on 1 at 05:00, "
    "cron 0 3 * * 1-5"
)
_LONGEST_MINUTES = 20_160  # two weeks; above that the days of the week or month say it better
_FIX = f"Write one of: {EXAMPLES}."

_EVERY = re.compile(r"(?:every )?(\d{1,6}) ?(m|min|minutes?|h|hours?)")
_HOURLY = re.compile(r"(?:hourly|every hour)(?: at :?(\d{1,2}))?")
_TIME = r"(?: at (\d{1,2}):(\d{2}))?"
_DAILY = re.compile(r"(?:daily|every day)" + _TIME)
_WEEKLY = re.compile(r"(?:weekly|every week)(?: on ([a-z]+))?" + _TIME)
_MONTHLY = re.compile(r"(?:monthly|every month)(?: on (?:the )?(\d{1,2})(?:st|nd|rd|th)?)?" + _TIME)
_CRON = re.compile(r"(?:cron )?((?:\S+ ){4}\S+)")
_RANDOM = re.compile(r"(?<![a-z])r(?![a-z])")


@dataclass(frozen=True)
class When:
    """A rhythm in django-q2's terms, and its first run. first: the next time it is due."""

    schedule_type: str
    first: datetime
    minutes: int | None = None
    cron: str | None = None

    def fields(self) -> dict[str, Any]:
        """The columns of `Schedule` that say it."""
        return {
            "schedule_type": self.schedule_type, "next_run": self.first, "minutes": self.minutes, "cron": self.cron,
        }  # fmt: skip


def parse(text: str, now: datetime | None = None) -> When:
    """What the words mean. Raises: InvalidInput with examples."""
    words = " ".join(text.split())
    now = timezone.localtime(now)
    for form, read in _FORMS:
        if found := form.fullmatch(words.lower()):
            return read(found, now)
    raise InvalidInput(f"{text[:80]!r} does not say when", fix=_FIX)


def words(schedule: Schedule) -> str:
    """When it runs, so that `parse` understands it; what GAIA never sets is django-q2's own word for it."""
    at = timezone.localtime(schedule.next_run or timezone.now())
    clock = f"at {at:%H:%M}"
    if schedule.schedule_type == Schedule.MINUTES:
        minutes = schedule.minutes or 1
        if minutes == 1:
            return "every minute"
        return f"every {minutes // 60} hours" if minutes > 60 and minutes % 60 == 0 else f"every {minutes} minutes"
    told: dict[str, str] = {
        Schedule.HOURLY: f"hourly at :{at:%M}",
        Schedule.DAILY: f"daily {clock}",
        Schedule.WEEKLY: f"weekly on {DAYS[at.weekday()]} {clock}",
        Schedule.MONTHLY: f"monthly on {at.day} {clock}",
        Schedule.CRON: f"cron {schedule.cron}",
    }
    return told.get(schedule.schedule_type) or str(schedule.get_schedule_type_display()).lower()


def upcoming(schedule: Schedule, count: int, now: datetime | None = None) -> list[datetime]:
    """The next runs as django-q2 will reckon them, a run that is overdue counting as now."""
    now = timezone.localtime(now)
    if schedule.schedule_type == Schedule.CRON:
        runs = croniter(schedule.cron, now)
        return [runs.get_next(datetime) for _ in range(count)]
    found = [max(now, timezone.localtime(schedule.next_run))]
    while len(found) < count and schedule.schedule_type != Schedule.ONCE:
        found.append(timezone.localtime(schedule.calculate_next_run(found[-1])))
    return found


def preview(text: str, count: int = 3) -> list[datetime]:
    """The next runs of a rhythm that is not stored yet. Raises: InvalidInput."""
    return upcoming(Schedule(**parse(text).fields()), count)


def next_after(schedule: Schedule, now: datetime | None = None) -> datetime:
    """The first run in the future: of one that was off for a year, without a run for all that time."""
    now = timezone.localtime(now)
    if schedule.schedule_type == Schedule.CRON:
        return upcoming(schedule, 1, now)[0]
    if schedule.next_run > now:
        return timezone.localtime(schedule.next_run)
    if schedule.schedule_type == Schedule.MINUTES:
        step = timedelta(minutes=schedule.minutes or 1)
        return timezone.localtime(schedule.next_run + step * ((now - schedule.next_run) // step + 1))
    run = schedule.next_run
    while run <= now and schedule.schedule_type != Schedule.ONCE:
        run = schedule.calculate_next_run(run)
    return timezone.localtime(max(run, now))


def first_run(schedule_type: str, at: str, now: datetime | None = None) -> datetime:
    """The next moment at which it is `HH:MM`; of what is weekly on a Sunday, of what is monthly on the 1st."""
    rhythm = {Schedule.WEEKLY: "weekly", Schedule.MONTHLY: "monthly"}.get(schedule_type, "daily")
    return parse(f"{rhythm} at {at}", now).first


def _every(found: re.Match[str], now: datetime) -> When:
    minutes = int(found[1]) * (60 if found[2].startswith("h") else 1)
    if not 1 <= minutes <= _LONGEST_MINUTES:
        raise InvalidInput(f"every {minutes} minutes is not possible", fix="Choose 1 minute to 336 hours.")
    return When(Schedule.MINUTES, now + timedelta(minutes=minutes), minutes=minutes)


def _every_minute(found: re.Match[str], now: datetime) -> When:
    return When(Schedule.MINUTES, now + timedelta(minutes=1), minutes=1)


def _hourly(found: re.Match[str], now: datetime) -> When:
    first = now.replace(minute=_within(found[1], 0, 59, "minute", 0), second=0, microsecond=0)
    return When(Schedule.HOURLY, first if first > now else first + timedelta(hours=1))


def _daily(found: re.Match[str], now: datetime) -> When:
    return When(Schedule.DAILY, _first(now, found[1], found[2], lambda day: True))


def _weekly(found: re.Match[str], now: datetime) -> When:
    named = [number for number, day in enumerate(DAYS) if day.lower().startswith(found[1] or "sunday")]
    if len(named) != 1 or len(found[1] or "sunday") < 3:
        raise InvalidInput(f"there is no day {found[1]!r}", fix=f"Days: {', '.join(DAYS)}.")
    return When(Schedule.WEEKLY, _first(now, found[2], found[3], lambda day: day.weekday() == named[0]))


def _monthly(found: re.Match[str], now: datetime) -> When:
    wanted = _within(found[1], 1, 28, "day of every month", 1)
    return When(Schedule.MONTHLY, _first(now, found[2], found[3], lambda day: day.day == wanted))


def _cron(found: re.Match[str], now: datetime) -> When:
    expression = found[1]
    # croniter's own r draws another moment whenever it is asked: what is shown would not be what comes
    if expression.count(" ") != 4 or _RANDOM.search(expression) or not croniter.is_valid(expression):
        raise InvalidInput(
            f"{expression!r} is not a cron expression",
            fix="Write minute, hour, day of the month, month, day of the week: cron 0 3 * * 1-5.",
        )
    try:
        first = croniter(expression, now).get_next(datetime)
    except ValueError:
        raise InvalidInput(f"{expression!r} never comes", fix="Choose a day that the month has.") from None
    return When(Schedule.CRON, first, cron=expression)


def _first(now: datetime, hour: str | None, minute: str | None, is_it: Callable[[datetime], bool]) -> datetime:
    """The first moment after now, at that time of a day that is one of those wanted."""
    hours, minutes = _within(hour, 0, 23, "hour", 3), _within(minute, 0, 59, "minute", 0)
    day = now.replace(hour=hours, minute=minutes, second=0, microsecond=0)
    while day <= now or not is_it(day):
        day += timedelta(days=1)  # of the wall clock: Python leaves the time of day as it is
    return day


def _within(text: str | None, least: int, most: int, what: str, otherwise: int) -> int:
    if text is None:
        return otherwise
    if not least <= int(text) <= most:
        raise InvalidInput(f"{text} is no {what}", fix=f"Choose {least} to {most}.")
    return int(text)


_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], datetime], When]], ...] = (
    (re.compile("every minute"), _every_minute),
    (_EVERY, _every),
    (_HOURLY, _hourly),
    (_DAILY, _daily),
    (_WEEKLY, _weekly),
    (_MONTHLY, _monthly),
    (_CRON, _cron),
)
