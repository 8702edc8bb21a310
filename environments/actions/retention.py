"""Which backups are kept: one a day for some days, one a week for some weeks, one a month for some months."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo


@dataclass(frozen=True)
class Keep:
    """How many are kept.

    Args:
        daily: days with their newest backup, and for how many days one that was not taken by the clock is kept.
        weekly: weeks (ISO 8601) with their newest.
        monthly: months with their newest.
    """

    daily: int = 7
    weekly: int = 4
    monthly: int = 3


@dataclass(frozen=True)
class Kept:
    """One verified backup of a database, as far as keeping it is concerned."""

    id: int
    taken_at: datetime
    by_the_clock: bool = True


def expired(backups: Iterable[Kept], keep: Keep, now: datetime, zone: tzinfo) -> list[int]:
    """Those of one database's verified backups that are not kept (grandfather, father, son).

    A day, a week or a month counts only if there is a backup of it, so that what was taken last stays after a pause,
    too; the newest one always stays. What somebody took by hand, or GAIA before it replaced something, stays for
    `daily` days in any case: it is the way back.

    Returns: their ids, oldest first.
    """
    newest_first = sorted(backups, key=lambda backup: (backup.taken_at, backup.id), reverse=True)
    stays = {backup.id for backup in newest_first[:1]}
    for number, period in ((keep.daily, _day), (keep.weekly, _week), (keep.monthly, _month)):
        stays |= _newest_of_each(newest_first, number, period, zone)
    young = now - timedelta(days=keep.daily)
    stays |= {backup.id for backup in newest_first if not backup.by_the_clock and backup.taken_at > young}
    return [backup.id for backup in reversed(newest_first) if backup.id not in stays]


def _newest_of_each(
    newest_first: Sequence[Kept], number: int, period: Callable[[datetime], Hashable], zone: tzinfo
) -> set[int]:
    found: dict[Hashable, int] = {}
    for backup in newest_first:
        found.setdefault(period(backup.taken_at.astimezone(zone)), backup.id)
    return set(list(found.values())[:number])


def _day(moment: datetime) -> Hashable:
    return moment.date()


def _week(moment: datetime) -> Hashable:
    return moment.isocalendar()[:2]


def _month(moment: datetime) -> Hashable:
    return moment.year, moment.month
