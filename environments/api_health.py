"""`/api/environments/NAME/health/`: how an environment is, how it was, and a look at it now."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.viewsets import ViewSet

from common.errors import Conflict
from environments.actions import health, stages
from environments.health_overview import describe, describe_period, health_of, history
from environments.models import Environment, Health
from environments.states import Verdict

_MOST = 500
_VERDICTS = Verdict.choices


class FindingSerializer(serializers.Serializer[dict[str, Any]]):
    check = serializers.CharField(help_text="directory, git, hub, stages, ports, databases, disk, backups, sessions …")
    key = serializers.CharField(help_text="Names the fault, whatever its numbers are: databases.damaged/qa")
    verdict = serializers.ChoiceField(choices=_VERDICTS)
    what = serializers.CharField()
    meaning = serializers.CharField()
    fix = serializers.CharField(help_text="The command that mends it, or what to do")
    note = serializers.BooleanField(help_text="Worth knowing, though nothing is wrong")
    # every serializer has an attribute of this name; REST framework collects fields before anything is overridden
    data = serializers.DictField(required=False)  # type: ignore[assignment]


class PeriodSerializer(serializers.Serializer[dict[str, Any]]):
    verdict = serializers.ChoiceField(choices=_VERDICTS)
    word = serializers.CharField()
    reason = serializers.CharField(help_text="The worst finding, and how many more there are")
    fix = serializers.CharField(help_text="What mends the worst finding")
    since = serializers.DateTimeField(allow_null=True, help_text="When it was first seen like this")
    findings = FindingSerializer(many=True, help_text="What is not as it should be, worst first")
    notes = FindingSerializer(many=True, help_text="Worth knowing")
    checks = FindingSerializer(many=True, help_text="What was looked at and is well")


class HealthSerializer(PeriodSerializer):
    id = serializers.IntegerField(help_text="Of the environment")
    environment = serializers.CharField()
    project = serializers.CharField()
    checked_at = serializers.DateTimeField(allow_null=True, help_text="When it was last looked at; null: never")
    stale = serializers.BooleanField(help_text="That was so long ago that nobody knows how it is now")


class PastHealthSerializer(PeriodSerializer):
    until = serializers.DateTimeField(allow_null=True, help_text="When the next period began; null: it lasts")
    checked_at = serializers.DateTimeField(help_text="When it was last seen like this")


class HistoryQuery(serializers.Serializer[dict[str, Any]]):
    limit = serializers.IntegerField(min_value=1, max_value=_MOST, default=50)


_ID = OpenApiParameter("id", str, OpenApiParameter.PATH)


class HealthViewSet(ViewSet):
    """Health of environments, by directory name (`demo-dev1`) or name (`dev1`)."""

    lookup_value_regex = r"[A-Za-z0-9_-]+"

    @extend_schema(responses=HealthSerializer, parameters=[_ID])
    @action(detail=True, methods=["get"])
    def health(self, request: Request, pk: str) -> Response:
        """How an environment was when it was last looked at."""
        [described] = health_of([stages.find_environment(pk)])
        return Response(described)

    @extend_schema(request=None, responses=HealthSerializer, parameters=[_ID])
    @action(detail=True, methods=["post"], url_path="health/check", url_name="health-check")
    def check(self, request: Request, pk: str) -> Response:
        """Look at an environment now; what is seen counts at once."""
        environment = stages.find_environment(pk)
        rows = health.monitor([environment])
        if not rows:
            raise being_worked_on(environment)
        return Response(describe(environment, rows[0]))

    @extend_schema(
        responses=PastHealthSerializer(many=True),
        parameters=[_ID, OpenApiParameter("limit", int, description=f"How many, 1 to {_MOST}; default 50")],
        filters=False,
    )
    @action(detail=True, methods=["get"], url_path="health/history", url_name="health-history")
    def history(self, request: Request, pk: str) -> Response:
        """How an environment was: periods, newest first, each with what was wrong."""
        query = HistoryQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        rows = history(stages.find_environment(pk))[: query.validated_data["limit"]]
        return Response([describe_past(row) for row in rows])


def describe_past(row: Health) -> dict[str, Any]:
    """A period as the API shows it; the row comes from `history`."""
    until = getattr(row, "until", None)
    return {
        **describe_period(row),
        "until": until.isoformat() if until else None,
        "checked_at": row.checked_at.isoformat(),
    }


def being_worked_on(environment: Environment) -> Conflict:
    """The error for an environment that is being made or removed."""
    return Conflict(
        f"{environment.directory} is {environment.get_state_display().lower()}",
        meaning="While it is worked on there is nothing to be said of its health.",
        fix="Look again when that has ended: gaia operation list.",
    )


router = SimpleRouter()
router.register("environments", HealthViewSet, basename="environment-health")
urlpatterns = router.urls
