"""`/api/backups/`: what there is, taking, verifying, restoring, deleting; the reset of environments beside it."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.urls import path
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action, api_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.viewsets import GenericViewSet

from common.errors import InvalidInput
from environments.actions import backup_rounds, backups, repair, reset, restores, stages
from environments.actions.databases import every_stage
from environments.models import Backup, Stage
from environments.states import STAGE_NAMES, BackupState
from processes.api import IDEMPOTENCY_KEY, OperationSerializer
from projects.actions import find


class BackupSerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    of = serializers.CharField(help_text="Whose database, for people")
    project = serializers.CharField(allow_null=True)
    environment = serializers.CharField(allow_null=True, help_text="null: GAIA's own database")
    stage = serializers.CharField(allow_null=True)
    state = serializers.ChoiceField(choices=BackupState.choices)
    reason = serializers.CharField()
    size = serializers.IntegerField(help_text="Bytes of the file")
    sha256 = serializers.CharField()
    path = serializers.CharField()
    problem = serializers.CharField()
    created_at = serializers.DateTimeField()
    verified_at = serializers.DateTimeField(allow_null=True, help_text="When it was last restored to a scratch place")


class TableSerializer(serializers.Serializer[dict[str, Any]]):
    name = serializers.CharField()
    now = serializers.IntegerField(allow_null=True, help_text="Rows; null: no such table, or not counted")
    backup = serializers.IntegerField(allow_null=True)


class PresentSerializer(serializers.Serializer[dict[str, Any]]):
    exists = serializers.BooleanField()
    size = serializers.IntegerField()
    modified = serializers.FloatField(allow_null=True, help_text="Seconds since the epoch")
    problem = serializers.CharField(help_text="What is wrong with it")


class RunsSerializer(serializers.Serializer[dict[str, Any]]):
    pid = serializers.IntegerField(allow_null=True)
    state = serializers.CharField()


class PreviewSerializer(BackupSerializer):
    age_s = serializers.FloatField()
    target = serializers.CharField(help_text="What it would replace")
    now = PresentSerializer()
    unpacked = serializers.IntegerField(help_text="Bytes of the database in it")
    orphans = serializers.IntegerField(allow_null=True, help_text="Rows in it whose foreign keys lead nowhere")
    check = serializers.CharField(help_text="How it was verified")
    tables = TableSerializer(many=True)
    runs = RunsSerializer(allow_null=True, help_text="The stage's process, which must end for it")
    problems = serializers.ListField(child=serializers.CharField(), help_text="Why it cannot be restored now")


class TakeSerializer(serializers.Serializer[dict[str, Any]]):
    environment = serializers.CharField(required=False, help_text="Its stages' databases")
    stage = serializers.CharField(required=False, help_text="Only this one's")
    gaia = serializers.BooleanField(default=False, help_text="GAIA's own database")
    all = serializers.BooleanField(default=False, help_text="Every database, GAIA's own too")


class RestartSerializer(serializers.Serializer[dict[str, Any]]):
    restart = serializers.BooleanField(default=False, help_text="Stop the stage for it, and start it again")


class ResetSerializer(serializers.Serializer[dict[str, Any]]):
    project = serializers.CharField(required=False)
    names = serializers.ListField(
        child=serializers.CharField(), required=False, allow_empty=False, help_text="Default: all of the project"
    )


_NAME = OpenApiParameter("name", str, OpenApiParameter.PATH)


class FilterSerializer(serializers.Serializer[dict[str, Any]]):
    project = serializers.CharField(required=False)
    environment = serializers.CharField(required=False)
    stage = serializers.ChoiceField(choices=STAGE_NAMES, required=False)
    state = serializers.ChoiceField(choices=BackupState.choices, required=False)


_FILTERS = [OpenApiParameter(name, str) for name in ("project", "environment", "stage", "state")]


class BackupViewSet(GenericViewSet[Backup]):
    """Backups by name (`shop-dev1-qa-20250131T120000Z`)."""

    queryset = Backup.objects.select_related("stage__environment__project")
    serializer_class = BackupSerializer  # type: ignore[assignment]  # of described backups, not of rows
    lookup_field = "name"
    lookup_value_regex = r"[A-Za-z0-9_-]+"
    filter_backends = ()

    @extend_schema(responses=BackupSerializer(many=True), parameters=_FILTERS)
    def list(self, request: Request) -> Response:
        """Backups, newest first; without `state`, those that can be restored and those that are being taken."""
        page = self.paginate_queryset(_wanted(self.get_queryset(), request)) or []
        return self.get_paginated_response(backup_rounds.described(page))

    @extend_schema(responses=PreviewSerializer, parameters=[_NAME])
    def retrieve(self, request: Request, name: str) -> Response:
        """One backup, and what restoring it would change."""
        backup = backups.find_backup(name)
        return Response({**backup_rounds.describe(backup), **restores.preview(backup)})

    @extend_schema(request=TakeSerializer, responses={202: OperationSerializer}, parameters=[IDEMPOTENCY_KEY])
    def create(self, request: Request) -> Response:
        """Take backups; answers with the operation to follow."""
        body = TakeSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        chosen, own = _chosen(body.validated_data)
        return _accepted(backup_rounds.request_backups(chosen, own=own, idempotency_key=_key(request)))

    @extend_schema(responses={204: None}, parameters=[_NAME])
    def destroy(self, request: Request, name: str) -> Response:
        """Delete a backup's file; its row stays and says so."""
        backups.delete(backups.find_backup(name))
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=None, responses={202: OperationSerializer}, parameters=[_NAME, IDEMPOTENCY_KEY])
    @action(detail=True, methods=["post"])
    def verify(self, request: Request, name: str) -> Response:
        """Restore it into a scratch place once more and look for damage."""
        return _accepted(backup_rounds.request_verify(backups.find_backup(name), idempotency_key=_key(request)))

    @extend_schema(request=RestartSerializer, responses={202: OperationSerializer}, parameters=[_NAME, IDEMPOTENCY_KEY])
    @action(detail=True, methods=["post"])
    def restore(self, request: Request, name: str) -> Response:
        """Put it in the place of the stage's database, of which a backup is taken before."""
        body = RestartSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        backup = backups.find_backup(name)
        return _accepted(restores.request_restore(backup, **body.validated_data, idempotency_key=_key(request)))


@extend_schema(request=ResetSerializer, responses={202: OperationSerializer}, parameters=[IDEMPOTENCY_KEY])
@api_view(["POST"])
def reset_environments(request: Request) -> Response:
    """Make environments anew; databases are backed up and work is salvaged before."""
    body = ResetSerializer(data=request.data)
    body.is_valid(raise_exception=True)
    wanted = body.validated_data
    project = find(wanted.get("project"))
    return _accepted(reset.request_reset(project, wanted.get("names"), idempotency_key=_key(request)))


@extend_schema(
    request=RestartSerializer,
    responses={202: OperationSerializer},
    parameters=[OpenApiParameter("id", str, OpenApiParameter.PATH), IDEMPOTENCY_KEY],
)
@api_view(["POST"])
def repair_database(request: Request, id: str, stage: str) -> Response:  # noqa: A002  as the other routes call it
    """Salvage a stage's damaged or missing database and make it again."""
    body = RestartSerializer(data=request.data)
    body.is_valid(raise_exception=True)
    found = stages.find_stage(stages.find_environment(id), stage)
    return _accepted(repair.request_repair(found, **body.validated_data, idempotency_key=_key(request)))


def _wanted(rows: QuerySet[Backup], request: Request) -> QuerySet[Backup]:
    filters = FilterSerializer(data=request.query_params)
    filters.is_valid(raise_exception=True)
    asked = filters.validated_data
    if asked.get("project"):
        rows = rows.filter(stage__environment__project=find(asked["project"]))
    if asked.get("environment") == "gaia":
        rows = rows.filter(stage=None)
    elif asked.get("environment"):
        environment = stages.find_environment(asked["environment"])
        rows = rows.filter(stage__environment__name=environment.name)
        rows = rows.filter(stage__environment__project=environment.project_id)
    if asked.get("stage"):
        rows = rows.filter(stage__name=asked["stage"])
    if asked.get("state"):
        return rows.filter(state=asked["state"])
    return rows.filter(state__in=(BackupState.TAKING, BackupState.VERIFIED))


def _chosen(wanted: dict[str, Any]) -> tuple[list[Stage], bool]:
    """Raises: InvalidInput when nothing was said."""
    if wanted["all"]:
        return every_stage(), True
    if "environment" not in wanted:
        if not wanted["gaia"]:
            raise InvalidInput("it was not said of what", fix="Say environment, gaia, or all.")
        return [], True
    environment = stages.find_environment(wanted["environment"])
    if "stage" in wanted:
        return [stages.find_stage(environment, wanted["stage"])], wanted["gaia"]
    return every_stage([environment]), wanted["gaia"]


def _key(request: Request) -> str | None:
    return request.headers.get("Idempotency-Key")


def _accepted(operation: Any) -> Response:
    return Response(operation.as_dict(), status=status.HTTP_202_ACCEPTED)


router = SimpleRouter()
router.register("backups", BackupViewSet, basename="backup")
urlpatterns = [
    path("environments/reset/", reset_environments, name="environment-reset"),
    path("environments/<slug:id>/stages/<slug:stage>/repair-database/", repair_database, name="repair-database"),
    *router.urls,
]
