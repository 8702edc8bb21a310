"""Named queries."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Q

from services.states import ServiceState

if TYPE_CHECKING:
    from services.models import ProbePeriod, Service  # noqa: F401  named in the strings below

_BETWEEN_TRIALS = (ServiceState.STARTING, ServiceState.STOPPING, ServiceState.BACKOFF, ServiceState.HELD)


class ServiceQuerySet(models.QuerySet["Service"]):
    def of_owner(self, node_id: int, owner: str) -> tuple[Any, bool] | None:
        """The service with this key, and whether it depends on others. In SQL: a start after a crash waits for it, and
        to make the query out of a queryset takes longer than to have it answered.
        """
        query = (
            "SELECT s.*, EXISTS (SELECT 1 FROM services_dependency d WHERE d.service_id = s.id) AS waits "
            "FROM services_service s WHERE s.node_id = %s AND s.owner = %s"
        )
        for service in self.raw(query, [node_id, owner]):
            return service, bool(vars(service).pop("waits"))
        return None

    def failing(self) -> ServiceQuerySet:
        """Those that do not stay up, so that somebody has to look: given up, or in a crash loop, also in its trials."""
        return self.filter(
            Q(state__in=(ServiceState.FAILED, ServiceState.CRASH_LOOP))
            | Q(alarmed_at__isnull=False, state__in=_BETWEEN_TRIALS)
        )


class ProbePeriodQuerySet(models.QuerySet["ProbePeriod"]):
    def newest(self, services: Iterable[int]) -> dict[int, dict[str, Any]]:
        """The newest period of each probe, by id of the service and name of the probe; in one query."""
        rows = self.filter(service__in=list(services))
        newest = rows.values("service", "probe").annotate(newest=models.Max("id")).values("newest")
        found: dict[int, dict[str, Any]] = {}
        for period in self.filter(id__in=newest):
            found.setdefault(period.service_id, {})[period.probe] = period
        return found

    def over(self, before: datetime) -> ProbePeriodQuerySet:
        """Periods that ended before a time and are not their probe's newest."""
        later = self.model.objects.filter(
            service=models.OuterRef("service"), probe=models.OuterRef("probe"), id__gt=models.OuterRef("id")
        )
        return self.filter(models.Exists(later), checked_at__lt=before)
