"""Named queries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from django.db import connection, models

from processes.states import OPERATION_ACTIVE, PROCESS_ACTIVE, OperationState

if TYPE_CHECKING:
    from processes.models import Operation, Process  # noqa: F401  named in the strings below


class ProcessQuerySet(models.QuerySet["Process"]):
    def active(self) -> ProcessQuerySet:
        """Those that run or are meant to."""
        return self.filter(state__in=PROCESS_ACTIVE)

    def live_among(self, ids: Sequence[int]) -> list[Any]:
        """Those of these that are live. In SQL: a crashed service waits for it, and to make the query out of a
        queryset takes longer than to have it answered.
        """
        marks = [", ".join(["%s"] * len(each)) for each in (ids, PROCESS_ACTIVE)]
        query = "SELECT * FROM processes_process WHERE id IN ({}) AND state IN ({})".format(*marks)  # noqa: S608
        return list(self.raw(query, [*ids, *map(str, PROCESS_ACTIVE)])) if ids else []

    def attempts_of(self, node_id: int, owner: str) -> int:
        """The number of an owner's newest start, 0 without one. In SQL, as above."""
        query = "SELECT MAX(attempt) FROM processes_process WHERE node_id = %s AND owner = %s"
        with connection.cursor() as cursor:
            cursor.execute(query, [node_id, owner])
            return int(cursor.fetchone()[0] or 0)

    def newest_by_owner(self, owners: Iterable[str]) -> dict[str, Any]:
        """The newest start per owner, in one query."""
        newest = self.filter(owner__in=list(owners)).values("owner").annotate(newest=models.Max("id")).values("newest")
        return {process.owner: process for process in self.filter(id__in=newest)}


class OperationQuerySet(models.QuerySet["Operation"]):
    def active(self) -> OperationQuerySet:
        """Those that wait or run."""
        return self.filter(state__in=OPERATION_ACTIVE)

    def unresolved(self) -> OperationQuerySet:
        """Those that failed and were not asked for again on the same subject since."""
        later = self.model.objects.filter(subject=models.OuterRef("subject"), id__gt=models.OuterRef("id"))
        return self.filter(~models.Exists(later), state=OperationState.FAILED)
