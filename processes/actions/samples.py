"""What processes used: written down by the daemon, rolled up, forgotten, and read by every door."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import connection, transaction
from django.db.models import Max
from django.utils import timezone

from processes.models import Node, Sample

SHORT, MIDDLE, LONG = 10, 60, 900
"""Seconds of the periods that are kept."""

KEPT_S = {SHORT: 2 * 3600, MIDDLE: 26 * 3600, LONG: 30 * 86400}
"""For how many seconds each is kept."""

_RECENT_S = 60
_FIELDS = ("cpu", "cpu_most", "memory", "memory_most", "processes", "looks")
_AT_ONCE = 500


@dataclass(frozen=True)
class Figures:
    """What the processes of one owner used during a period.

    Args:
        at: its begin.
        cpu, cpu_most: percent of one core, on average and the most of any look.
        memory, memory_most: bytes, on average and the most of any look.
        processes: the most of any look.
        looks: how many it is made of.
    """

    at: datetime
    cpu: float
    cpu_most: float
    memory: int
    memory_most: int
    processes: int
    looks: int = 1


@dataclass(frozen=True)
class Series:
    """Figures over time, oldest first, in periods of so many seconds."""

    seconds: int
    points: list[Figures]


def begin_of(moment: datetime, seconds: int) -> datetime:
    """The begin of the period a moment is in."""
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, UTC)


def combined(at: datetime, parts: Sequence[Figures]) -> Figures:
    """Several figures of one period as one, each with the weight of its looks."""
    looks = sum(part.looks for part in parts)
    return Figures(
        at=at,
        cpu=sum(part.cpu * part.looks for part in parts) / looks,
        cpu_most=max(part.cpu_most for part in parts),
        memory=sum(part.memory * part.looks for part in parts) // looks,
        memory_most=max(part.memory_most for part in parts),
        processes=max(part.processes for part in parts),
        looks=looks,
    )


def store(node: Node, found: dict[str, Figures]) -> None:
    """Write what was seen during one period of 10 seconds, by owner.

    What a daemon that was killed had seen of the same period counts as well.
    """
    if not found:
        return
    at = next(iter(found.values())).at
    with transaction.atomic():
        known = {sample.owner: sample for sample in Sample.objects.filter(node=node, seconds=SHORT, at=at)}
        _write(
            node,
            SHORT,
            {
                (owner, at): combined(at, [figures, _figures(known[owner])]) if owner in known else figures
                for owner, figures in found.items()
            },
        )


def roll_up(node: Node, now: datetime) -> None:
    """Make periods of a minute, and of a quarter of an hour, of those that are over.

    It begins where it last ended and may be repeated: the same periods come out the same.
    """
    for seconds, source in ((MIDDLE, SHORT), (LONG, MIDDLE)):
        rows = Sample.objects.filter(node=node)
        # a row of the future is left from a clock that was wrong: it must not keep the present from being rolled up
        last = rows.filter(seconds=seconds, at__lte=now).aggregate(last=Max("at"))["last"]
        until = begin_of(now, seconds)
        if last is not None and last >= until - timedelta(seconds=seconds):
            continue
        parts: dict[tuple[str, datetime], list[Figures]] = {}
        finer = rows.filter(seconds=source, at__lt=until)
        for sample in finer.filter(at__gte=last) if last is not None else finer:
            parts.setdefault((sample.owner, begin_of(sample.at, seconds)), []).append(_figures(sample))
        if parts:
            with transaction.atomic():
                _write(node, seconds, {key: combined(key[1], each) for key, each in parts.items()})


def forget(node: Node, now: datetime) -> int:
    """Remove what is older than it is kept; how many rows that was."""
    gone = 0
    for seconds, kept in KEPT_S.items():
        old = Sample.objects.filter(node=node, seconds=seconds, at__lt=now - timedelta(seconds=kept))
        gone += old.delete()[0]
    return gone


def latest(owners: Iterable[str]) -> dict[str, Figures]:
    """The newest figures of each owner that was seen within the last minute, in one query."""
    since = timezone.now() - timedelta(seconds=_RECENT_S)
    rows = Sample.objects.filter(owner__in=list(owners), seconds=SHORT, at__gte=since).order_by("at")
    return {sample.owner: _figures(sample) for sample in rows}


def memory_of_late(node_id: int, owner: str, since: datetime) -> int | None:
    """Bytes of memory that an owner used during the newest short period that began then or later; None without one."""
    begin = connection.ops.adapt_datetimefield_value(since)
    with connection.cursor() as cursor:  # a start after a crash waits for it
        cursor.execute(
            "SELECT memory_most FROM processes_sample WHERE node_id = %s AND owner = %s AND seconds = %s AND at >= %s "
            "ORDER BY at DESC LIMIT 1",
            [node_id, owner, SHORT, begin],
        )
        row = cursor.fetchone()
    return int(row[0]) if row else None


def series(owner: str, span_s: float) -> Series:
    """What an owner used during the last so many seconds, in the shortest periods that are kept for so long."""
    seconds = next((length for length, kept in KEPT_S.items() if span_s <= kept), LONG)
    since = timezone.now() - timedelta(seconds=span_s)
    rows = Sample.objects.filter(owner=owner, seconds=seconds, at__gte=since).order_by("at")
    return Series(seconds, [_figures(sample) for sample in rows])


def _figures(sample: Sample) -> Figures:
    return Figures(
        sample.at, sample.cpu, sample.cpu_most, sample.memory, sample.memory_most, sample.processes, sample.looks
    )


def _write(node: Node, seconds: int, found: dict[tuple[str, datetime], Figures]) -> None:
    Sample.objects.bulk_create(
        [
            Sample(
                node=node, owner=owner, seconds=seconds, at=at, cpu=each.cpu, cpu_most=each.cpu_most,
                memory=each.memory, memory_most=each.memory_most, processes=each.processes, looks=each.looks,
            )
            for (owner, at), each in found.items()
        ],
        batch_size=_AT_ONCE,
        update_conflicts=True,
        unique_fields=["node", "owner", "seconds", "at"],
        update_fields=_FIELDS,
    )  # fmt: skip
