"""`/api/schedules/`: jobs that run by the clock."""

from __future__ import annotations

from typing import Any

from django_q.models import Schedule
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.viewsets import ViewSet

from gaia_site import scheduling, timetable

_WHEN = f"In words: {timetable.EXAMPLES}"
_NAME = OpenApiParameter("id", str, OpenApiParameter.PATH, description="Its name")


class LastRunSerializer(serializers.Serializer[dict[str, Any]]):
    at = serializers.DateTimeField()
    took = serializers.FloatField(help_text="Seconds")
    ok = serializers.BooleanField()
    result = serializers.CharField(help_text="What it returned")
    problem = serializers.CharField(help_text="Why it failed")


class ScheduleSerializer(serializers.Serializer[dict[str, Any]]):
    name = serializers.CharField()
    does = serializers.CharField()
    built_in = serializers.BooleanField(help_text="It comes with GAIA; it can be turned off, not removed")
    func = serializers.CharField()
    enabled = serializers.BooleanField()
    when = serializers.CharField(help_text=_WHEN)
    next_run = serializers.DateTimeField(allow_null=True)
    state = serializers.ChoiceField(choices=["not_run", "queued", "succeeded", "failed", "off"])
    last = LastRunSerializer(allow_null=True)


class ScheduleChangeSerializer(serializers.Serializer[dict[str, Any]]):
    when = serializers.CharField(required=False, help_text=_WHEN)
    enabled = serializers.BooleanField(required=False)
    dry_run = serializers.BooleanField(default=False, help_text="Only answer with the next runs that `when` means")


class NextRunsSerializer(serializers.Serializer[dict[str, Any]]):
    next_runs = serializers.ListField(child=serializers.DateTimeField())


class ScheduleViewSet(ViewSet):
    """Jobs that run by the clock."""

    @extend_schema(responses=ScheduleSerializer(many=True))
    def list(self, request: Request) -> Response:
        """All of them, with when they run next and what became of the last run."""
        return Response(scheduling.describe_all(Schedule.objects.exclude(name=None).order_by("name")))

    @extend_schema(parameters=[_NAME], responses=ScheduleSerializer)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One of them."""
        return _answer(pk)

    @extend_schema(
        parameters=[_NAME],
        request=ScheduleChangeSerializer,
        responses={200: ScheduleSerializer, 202: NextRunsSerializer},
    )
    def partial_update(self, request: Request, pk: str) -> Response:
        """Run it at other times, turn it on or off; with `dry_run` (202) say when it would run."""
        given = ScheduleChangeSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        wanted, schedule = given.validated_data, scheduling.find(pk)
        when, enabled = wanted.get("when"), wanted.get("enabled")
        if wanted["dry_run"]:
            runs = timetable.preview(when) if when else timetable.upcoming(schedule, 3)
            return Response({"next_runs": [run.isoformat() for run in runs]}, status=status.HTTP_202_ACCEPTED)
        if when is not None:
            scheduling.change(schedule, when)
        if enabled is not None:
            scheduling.turn(schedule, on=enabled)
        return _answer(pk)

    @extend_schema(parameters=[_NAME], responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        """Remove one that does not come with GAIA."""
        scheduling.remove(scheduling.find(pk))
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(parameters=[_NAME], request=None, responses={202: ScheduleSerializer})
    @action(detail=True, methods=["post"])
    def run(self, request: Request, pk: str) -> Response:
        """Run it now; its own times stay."""
        scheduling.run_now(scheduling.find(pk))
        return _answer(pk, status.HTTP_202_ACCEPTED)


def _answer(name: str, code: int = status.HTTP_200_OK) -> Response:
    return Response(scheduling.describe_all([scheduling.find(name)])[0], status=code)


router = SimpleRouter()
router.register("schedules", ScheduleViewSet, basename="schedule")
urlpatterns = router.urls
