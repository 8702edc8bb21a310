"""Rows of what has been over for long: they make lists slow and tell nobody anything.

Only GAIA's own notes are forgotten: who ran when, what was delivered. Nothing on a disk is touched, and nothing that
leads to somebody's work: environments, removed ones too, say where their work was salvaged to and stay, as does every
event. What still needs a person stays: failed operations that were not asked for again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session as BrowserSession
from django.db.models import F, Max, OuterRef, Q, QuerySet, Subquery
from django_q.models import Task

from environments.models import Backup
from environments.states import BackupState
from events import log
from events.notifications import deliveries
from policy.models import Token
from processes.models import Operation, Process
from processes.states import OPERATION_ACTIVE, PROCESS_ACTIVE
from sessions.models import Session
from sessions.states import SESSION_TERMINAL

AT_ONCE = 500  # rows in one transaction
_ROUNDS = 200  # of one kind in one run, seconds of work; what is left is for the next
STARTS_KEPT = 100
"""Of each owner the newest processes stay, however old they are."""


def forget_old(now: datetime) -> int:
    """Forget what was over `jobs.keep_days` ago; how many rows that were."""
    before = now - timedelta(days=settings.GAIA["jobs.keep_days"])
    return sum(_forget(what, rows, before) for what, rows in _over(now, before))


def _over(now: datetime, before: datetime) -> Iterator[tuple[str, QuerySet[Any]]]:
    yield "notifications", deliveries.over_before(before)
    yield "past sessions", Session.objects.filter(state__in=SESSION_TERMINAL, ended_at__lt=before)
    yield "deleted backups", Backup.objects.filter(state=BackupState.DELETED, created_at__lt=before)
    yield "operations", _operations(before)
    yield "processes", _processes(before)
    yield "runs of jobs", _runs(before)
    yield "browser sessions", BrowserSession.objects.filter(expire_date__lt=now)
    yield "tokens that expired", Token.objects.filter(expiry__lt=before)


def _operations(before: datetime) -> QuerySet[Any]:
    needed = Operation.objects.unresolved().values("pk")
    over = Operation.objects.exclude(state__in=OPERATION_ACTIVE).filter(ended_at__lt=before)
    return over.exclude(pk__in=needed)


def _processes(before: datetime) -> QuerySet[Any]:
    """All but the newest starts of each owner, from the last of which the next one counts on; an operation has no next
    one. What is in a crash loop has many thousands: each row looks at no more than so many index entries.
    """
    same = Process.objects.filter(owner=OuterRef("owner")).order_by("-pk")
    over = Process.objects.exclude(state__in=PROCESS_ACTIVE).filter(ended_at__lt=before)
    kept = Subquery(same.values("pk")[STARTS_KEPT - 1 : STARTS_KEPT])
    return over.annotate(oldest_kept=kept).filter(Q(pk__lt=F("oldest_kept")) | Q(owner__startswith="operation/"))


def _runs(before: datetime) -> QuerySet[Any]:
    """All but the last run of each job."""
    later = Task.objects.filter(group=OuterRef("group")).order_by().values("group").annotate(last=Max("stopped"))
    over: QuerySet[Any] = Task.objects.filter(stopped__lt=before).annotate(last=Subquery(later.values("last")))
    return over.filter(Q(group=None) | Q(stopped__lt=F("last")))


def _forget(what: str, rows: QuerySet[Any], before: datetime) -> int:
    total = 0
    for _ in range(_ROUNDS):
        some = list(rows.order_by("pk").values_list("pk", flat=True)[:AT_ONCE])
        if not some:
            break
        with log.atomic():
            rows.model._default_manager.filter(pk__in=some).delete()
            message = f"{len(some)} {what} from before {before:%Y-%m-%d} were forgotten"
            log.emit("history.forgotten", subject="schedule/forget-old", message=message, count=len(some))
        total += len(some)
    return total
