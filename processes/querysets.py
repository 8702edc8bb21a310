"""Named queries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.db import models

from processes.states import OPERATION_ACTIVE, PROCESS_ACTIVE, OperationState

if TYPE_CHECKING:
    from processes.models import Operation, Process  # noqa: F401  named in the strings below


class ProcessQuerySet(models.QuerySet["Process"]):
    def active(self) -> ProcessQuerySet:
        """Those that run or are meant to."""
        return self.filter(state__in=PROCESS_ACTIVE)

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
