"""API routes that join rooms, and the probes."""

from __future__ import annotations

import logging

from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from environments.api import DirectorySerializer, StageSerializer
from environments.api_health import HealthSerializer
from environments.overview import environments_overview
from environments.states import Verdict
from gaia_site import multi_env
from gaia_site.room import full_disk
from processes.actions.nodes import daemon_runs
from sessions.api import GroupSerializer
from sessions.configured import fleet
from sessions.overview import groups_overview

logger = logging.getLogger(__name__)

_Totals = inline_serializer(
    "Totals",
    {
        "environments": serializers.IntegerField(),
        "stages": serializers.IntegerField(),
        "sessions": serializers.IntegerField(),
    },
)
_Status = inline_serializer(
    "MultiEnvStatus",
    {
        "totals": _Totals,
        "directories": DirectorySerializer(many=True),
        "environments": StageSerializer(many=True),
        "pr_groups": GroupSerializer(many=True),
        "groups": GroupSerializer(many=True),
    },
)
_Health = inline_serializer(
    "MultiEnvHealth",
    {
        "verdict": serializers.ChoiceField(choices=["healthy", "unhealthy"]),
        "reasons": serializers.ListField(child=serializers.CharField()),
        "overall": inline_serializer(
            "OverallHealth",
            {
                "verdict": serializers.ChoiceField(choices=Verdict.choices),
                "word": serializers.CharField(),
                "reason": serializers.CharField(help_text="One sentence"),
                "checked_at": serializers.DateTimeField(allow_null=True, help_text="The oldest of the last looks"),
                "counts": serializers.DictField(child=serializers.IntegerField(), help_text="Environments by verdict"),
            },
        ),
        "environments": HealthSerializer(many=True),
    },
)


@extend_schema(responses=_Status)
@api_view(["GET"])
def status(request: Request) -> Response:
    """The whole picture: directories with git state, stages, groups and totals."""
    return Response(multi_env.status())


@extend_schema(responses=DirectorySerializer(many=True))
@api_view(["GET"])
def directories(request: Request) -> Response:
    """Environments with git state."""
    return Response([multi_env.without_stages(environment) for environment in environments_overview()])


@extend_schema(responses=StageSerializer(many=True))
@api_view(["GET"])
def environments(request: Request) -> Response:
    """The stages of every environment."""
    return Response([stage for environment in environments_overview() for stage in environment["stages"]])


@extend_schema(responses=GroupSerializer(many=True))
@api_view(["GET"])
def pr_groups(request: Request) -> Response:
    """The groups that review, implement and integrate changes."""
    return Response(multi_env.only_pr(groups_overview(fleet())))


@extend_schema(responses=_Health)
@api_view(["GET"])
def health(request: Request) -> Response:
    """An overall verdict with its reasons."""
    return Response(multi_env.health())


def alive(request: HttpRequest) -> JsonResponse:
    """`/health`: this process answers. Needs no sign-in and touches nothing."""
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> JsonResponse:
    """`/ready`: the database answers, the node's daemon runs and there is room on the disk; 503 names what is not."""
    waiting: list[str] = []
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        logger.exception("the database does not answer")  # its words name host and user, and anybody may ask here
        waiting.append("database: does not answer")
    if not daemon_runs():
        waiting.append("daemon: not running")
    if full_disk():  # where the home is, is nobody's business here
        waiting.append("disk: full, nothing new can be started or written down")
    return JsonResponse(
        {"status": "waiting" if waiting else "ready", "waiting": waiting}, status=503 if waiting else 200
    )
