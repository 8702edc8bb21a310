"""`/api/environments/`: what there is, set-up, removal, and the verbs of stages."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.viewsets import ViewSet

from environments.actions import setup, stages
from environments.overview import describe_all, describe_one, environments_overview, processes_of
from processes.actions.logs import read_end, shown
from processes.api import IDEMPOTENCY_KEY, OperationSerializer
from projects.actions import find
from services.states import ServiceState

_LOG_LINES = 200


class GitSerializer(serializers.Serializer[dict[str, Any]]):
    branch = serializers.CharField()
    head = serializers.CharField()
    ahead = serializers.IntegerField(help_text="Commits that the project's default branch on the hub does not have")
    behind = serializers.IntegerField(help_text="Commits of the default branch that are missing here")
    staged = serializers.IntegerField()
    unstaged = serializers.IntegerField()
    untracked = serializers.IntegerField()
    conflicts = serializers.IntegerField()
    dirty = serializers.IntegerField(help_text="Files that differ from the last commit")
    detached = serializers.BooleanField()
    in_progress = serializers.CharField(help_text="merge or rebase, when one was left half done")
    error = serializers.CharField()
    checked_at = serializers.DateTimeField()


class StageServiceSerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.IntegerField()
    name = serializers.CharField(help_text="Under which /api/orchestration/services/ has it")
    state = serializers.ChoiceField(choices=ServiceState.choices)
    since = serializers.DateTimeField()
    problem = serializers.CharField(help_text="Why it is not as it should be")
    restarts = serializers.IntegerField(help_text="Starts nobody asked for")
    failures = serializers.IntegerField(help_text="Deaths in a row")
    next_start_at = serializers.DateTimeField(allow_null=True, help_text="When it is tried again")


class StageSerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.IntegerField()
    environment = serializers.CharField()
    project = serializers.CharField()
    name = serializers.CharField()
    port = serializers.IntegerField()
    url = serializers.CharField()
    https = serializers.BooleanField(help_text="It serves HTTPS with a certificate of the local authority")
    database = serializers.CharField()
    state = serializers.ChoiceField(choices=["running", "starting", "stopping", "stopped", "failed"])
    pid = serializers.IntegerField(allow_null=True)
    since = serializers.DateTimeField(allow_null=True)
    origin = serializers.CharField(allow_null=True, help_text="gaia or script: who launched it")
    exit_code = serializers.IntegerField(allow_null=True)
    problem = serializers.CharField()
    log = serializers.CharField()
    service = StageServiceSerializer(allow_null=True, help_text="How it is kept up; null: it was never launched")


class DirectorySerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.IntegerField()
    project = serializers.CharField()
    name = serializers.CharField()
    directory = serializers.CharField()
    path = serializers.CharField()
    branch = serializers.CharField()
    layer = serializers.CharField(help_text="local, integration, staging, production or another; see /api/layers/")
    state = serializers.CharField()
    problem = serializers.CharField()
    git = GitSerializer(allow_null=True)


class EnvironmentSerializer(DirectorySerializer):
    stages = StageSerializer(many=True)


class SetupSerializer(serializers.Serializer[dict[str, Any]]):
    # every serializer has attributes of these names; REST framework collects fields before anything is overridden
    source = serializers.CharField(  # type: ignore[assignment]
        required=False, help_text="Absolute path or URL, without credentials; default the registered project's"
    )
    project = serializers.CharField(required=False)
    count = serializers.IntegerField(
        required=False, help_text="1 to 100; default as many as the project has, for a new one the configured number"
    )
    root = serializers.CharField(  # type: ignore[assignment]
        required=False, help_text="Directory for the checkouts, an absolute path"
    )
    base_port = serializers.IntegerField(required=False)
    dry_run = serializers.BooleanField(default=False, help_text="Only answer with the plan")


class PlannedSerializer(serializers.Serializer[dict[str, Any]]):
    name = serializers.CharField()
    path = serializers.CharField()
    branch = serializers.CharField()
    action = serializers.ChoiceField(choices=["create", "check"])
    ports = serializers.DictField(child=serializers.IntegerField(), help_text="By stage")


class PlanSerializer(serializers.Serializer[dict[str, Any]]):
    project = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]  # see SetupSerializer
    root = serializers.CharField()  # type: ignore[assignment]
    base_port = serializers.IntegerField()
    environments = PlannedSerializer(many=True)
    others = serializers.ListField(child=serializers.CharField(), help_text="Beyond the count, left as they are")


class CleanSerializer(serializers.Serializer[dict[str, Any]]):
    project = serializers.CharField(required=False)
    names = serializers.ListField(
        child=serializers.CharField(), required=False, allow_empty=False, help_text="Default: all of the project"
    )


class StageLogSerializer(serializers.Serializer[dict[str, Any]]):
    text = serializers.CharField()


_ID = OpenApiParameter("id", str, OpenApiParameter.PATH)
_STAGE = OpenApiParameter("stage", str, OpenApiParameter.PATH)


class EnvironmentViewSet(ViewSet):
    """Environments by directory name (`demo-dev1`) or name (`dev1`)."""

    lookup_value_regex = r"[A-Za-z0-9_-]+"

    @extend_schema(
        responses=EnvironmentSerializer(many=True), parameters=[OpenApiParameter("project", str)], filters=False
    )
    def list(self, request: Request) -> Response:
        """Every environment with git state and stages."""
        return Response(environments_overview(request.query_params.get("project")))

    @extend_schema(responses=EnvironmentSerializer, parameters=[_ID])
    def retrieve(self, request: Request, pk: str) -> Response:
        """One environment."""
        [described] = describe_all([stages.find_environment(pk)])
        return Response(described)

    @extend_schema(
        request=SetupSerializer, responses={200: PlanSerializer, 202: OperationSerializer}, parameters=[IDEMPOTENCY_KEY]
    )
    @action(detail=False, methods=["post"], url_path="setup")
    def set_up(self, request: Request) -> Response:
        """Make or repair environments; answers with the operation to follow, or with the plan when `dry_run`."""
        body = SetupSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        wanted = dict(body.validated_data)
        if wanted.pop("dry_run"):
            return Response(setup.plan_setup(**wanted).as_dict())
        key = request.headers.get("Idempotency-Key")
        # asked first: what the repeated request wants may not be possible any more, because it is under way
        operation = setup.requested_before(key) or setup.request_setup(setup.plan_setup(**wanted), idempotency_key=key)
        return Response(operation.as_dict(), status=status.HTTP_202_ACCEPTED)

    @extend_schema(request=CleanSerializer, responses={202: OperationSerializer}, parameters=[IDEMPOTENCY_KEY])
    @action(detail=False, methods=["post"])
    def clean(self, request: Request) -> Response:
        """Remove environments; unpushed and uncommitted work is salvaged first, the trees go to the trash."""
        body = CleanSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        key, wanted = request.headers.get("Idempotency-Key"), body.validated_data
        operation = setup.requested_before(key) or setup.request_clean(
            find(wanted.get("project")), wanted.get("names"), idempotency_key=key
        )
        return Response(operation.as_dict(), status=status.HTTP_202_ACCEPTED)

    @extend_schema(
        request=None,
        responses={202: StageSerializer},
        parameters=[_ID, _STAGE],
    )
    @action(detail=True, methods=["post"], url_path=r"stages/(?P<stage>[a-z]+)/launch")
    def launch(self, request: Request, pk: str, stage: str) -> Response:
        """Start a stage."""
        found = stages.find_stage(stages.find_environment(pk), stage)
        process = stages.launch(found)
        return Response(describe_one(found, process), status=status.HTTP_202_ACCEPTED)

    @extend_schema(
        request=None,
        responses={202: StageSerializer},
        parameters=[_ID, _STAGE],
    )
    @action(detail=True, methods=["post"], url_path=r"stages/(?P<stage>[a-z]+)/stop")
    def stop(self, request: Request, pk: str, stage: str) -> Response:
        """Stop a stage; nothing happens when it does not run."""
        found = stages.find_stage(stages.find_environment(pk), stage)
        stages.stop(found)
        process = processes_of([found.environment]).get(found.owner)
        return Response(describe_one(found, process), status=status.HTTP_202_ACCEPTED)

    @extend_schema(
        responses=StageLogSerializer,
        parameters=[_ID, _STAGE],
    )
    @action(detail=True, methods=["get"], url_path=r"stages/(?P<stage>[a-z]+)/log")
    def log(self, request: Request, pk: str, stage: str) -> Response:
        """The last lines a stage wrote."""
        found = stages.find_stage(stages.find_environment(pk), stage)
        return Response({"text": shown(found.owner, read_end(stages.log_file(found), _LOG_LINES))})


router = SimpleRouter()
router.register("environments", EnvironmentViewSet, basename="environment")
urlpatterns = router.urls
