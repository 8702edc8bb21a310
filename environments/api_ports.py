"""`/api/ports/`, `/api/https/`, and how a stage is reached: `move` and `https` below it."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.viewsets import ViewSet

from common.errors import InvalidInput
from environments.actions import changing, https, ports, stages
from environments.api import StageSerializer
from environments.models import Stage
from processes.api import IDEMPOTENCY_KEY, OperationSerializer


class PortSerializer(serializers.Serializer[dict[str, Any]]):
    port = serializers.IntegerField()
    owner = serializers.CharField(help_text="Key of what it was handed out for")
    environment = serializers.CharField(allow_null=True)
    stage = serializers.CharField(allow_null=True)
    url = serializers.CharField(allow_null=True)
    state = serializers.ChoiceField(
        choices=["taken", "silent", "serving", "free"],
        help_text="taken: somebody else listens; silent: its stage runs and does not listen",
    )
    pid = serializers.IntegerField(allow_null=True, help_text="Who listens; null when it is another user's")
    command = serializers.CharField()
    user = serializers.CharField()
    hidden = serializers.BooleanField(help_text="Somebody listens of whom only his user and root see the pid")
    move = serializers.CharField(help_text="The command that moves the stage, when somebody else has its port")
    leased_at = serializers.DateTimeField()


class FreePortsSerializer(serializers.Serializer[dict[str, Any]]):
    ports = serializers.ListField(child=serializers.IntegerField())
    base_port = serializers.IntegerField(help_text="First of a free block for a new project")


class MoveSerializer(serializers.Serializer[dict[str, Any]]):
    to = serializers.IntegerField(required=False, help_text="1024 to 65535; default one that is free")
    restart = serializers.BooleanField(default=False, help_text="If it runs, stop it before and start it again after")


class HttpsSerializer(serializers.Serializer[dict[str, Any]]):
    on = serializers.BooleanField()
    restart = serializers.BooleanField(default=False, help_text="If it runs, stop it before and start it again after")


class CertificateSerializer(serializers.Serializer[dict[str, Any]]):
    path = serializers.CharField()
    subject = serializers.CharField()
    names = serializers.ListField(
        child=serializers.CharField(), help_text="What it speaks for; of the authority, what it may vouch for"
    )
    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    serial = serializers.CharField()
    fingerprint = serializers.CharField(help_text="SHA-256")


class CertifiedSerializer(serializers.Serializer[dict[str, Any]]):
    environment = serializers.CharField()
    stages = serializers.ListField(child=serializers.CharField(), help_text="Those that serve HTTPS")
    certificate = CertificateSerializer(allow_null=True)


class HttpsOverviewSerializer(serializers.Serializer[dict[str, Any]]):
    authority = CertificateSerializer(allow_null=True)
    environments = CertifiedSerializer(many=True)


_ID = OpenApiParameter("id", str, OpenApiParameter.PATH)
_STAGE = OpenApiParameter("stage", str, OpenApiParameter.PATH)
_COUNT = OpenApiParameter("count", int, description="How many, 1 to 100; default 1")


class PortViewSet(ViewSet):
    """Ports that are handed out on this node."""

    @extend_schema(responses=PortSerializer(many=True), filters=False)
    def list(self, request: Request) -> Response:
        """Every port with its stage and who listens there; those that somebody else has come first."""
        return Response(ports.overview())

    @extend_schema(responses=FreePortsSerializer, parameters=[_COUNT], filters=False)
    @action(detail=False, methods=["get"])
    def free(self, request: Request) -> Response:
        """Ports that are free and that no environment will ask for."""
        text = request.query_params.get("count", "1")
        if not (text.isascii() and text.isdigit() and len(text) < 9):
            raise InvalidInput(f"count must be a number, not {text[:80]!r}")
        return Response(ports.find(int(text)))


class HttpsViewSet(ViewSet):
    """HTTPS of stages."""

    @extend_schema(responses=HttpsOverviewSerializer, filters=False)
    def list(self, request: Request) -> Response:
        """The local authority, and the environments that have a certificate of it."""
        return Response(https.overview())


class StageReachViewSet(ViewSet):
    """How a stage is reached."""

    @extend_schema(
        request=MoveSerializer,
        responses={200: StageSerializer, 202: OperationSerializer},
        parameters=[_ID, _STAGE, IDEMPOTENCY_KEY],
    )
    @action(detail=False, methods=["post"])
    def move(self, request: Request, id: str, stage: str) -> Response:  # noqa: A002  the path's own word
        """Give a stage another port; with `restart` as an operation to follow."""
        wanted = _valid(MoveSerializer, request.data)
        found = _stage(id, stage)
        port = wanted.get("to")
        if wanted["restart"] and port != found.port:
            operation = ports.request_move(found, port, idempotency_key=request.headers.get("Idempotency-Key"))
            return Response(operation.as_dict(), status=status.HTTP_202_ACCEPTED)
        ports.move(found, port)
        return Response(changing.described([found])[0])

    @extend_schema(
        request=HttpsSerializer,
        responses={200: StageSerializer, 202: OperationSerializer},
        parameters=[_ID, _STAGE, IDEMPOTENCY_KEY],
    )
    @action(detail=False, methods=["post"])
    def https(self, request: Request, id: str, stage: str) -> Response:  # noqa: A002
        """Have a stage serve HTTPS, or plain HTTP again; with `restart` as an operation to follow."""
        wanted = _valid(HttpsSerializer, request.data)
        found = _stage(id, stage)
        if wanted["restart"] and wanted["on"] != found.https:
            key = request.headers.get("Idempotency-Key")
            operation = https.request_switch([found], wanted["on"], idempotency_key=key)
            return Response(operation.as_dict(), status=status.HTTP_202_ACCEPTED)
        https.switch([found], wanted["on"])
        return Response(changing.described([found])[0])


def _stage(environment: str, name: str) -> Stage:
    return stages.find_stage(stages.find_environment(environment), name)


def _valid(kind: type[serializers.Serializer[dict[str, Any]]], data: Any) -> dict[str, Any]:
    body = kind(data=data)
    body.is_valid(raise_exception=True)
    return dict(body.validated_data)


router = SimpleRouter()
router.register("ports", PortViewSet, basename="port")
router.register("https", HttpsViewSet, basename="https")
router.register(
    r"environments/(?P<id>[A-Za-z0-9_-]+)/stages/(?P<stage>[a-z]+)", StageReachViewSet, basename="stage-reach"
)
urlpatterns = router.urls
