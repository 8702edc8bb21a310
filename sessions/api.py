"""`/api/orchestration/sessions/`: list, create, destroy, type, read."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.viewsets import ViewSet

from common.errors import InvalidInput
from environments.actions.stages import find_environment
from sessions.actions import control, start
from sessions.models import Session
from sessions.overview import describe, groups_overview, sessions_overview

_NAME = OpenApiParameter("id", str, OpenApiParameter.PATH, description="The session's name")


class SessionSerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    group = serializers.CharField()
    provider = serializers.CharField()
    role = serializers.CharField()
    protected = serializers.BooleanField(help_text="Never given tasks")
    environment = serializers.CharField(allow_null=True)
    cwd = serializers.CharField()
    runs = serializers.ChoiceField(choices=["agent", "shell"])
    reason = serializers.CharField(help_text="Why a shell runs instead of an agent")
    problem = serializers.CharField()
    state = serializers.ChoiceField(choices=["starting", "running", "exited", "stopped", "gone", "failed"])
    command = serializers.CharField(help_text="What has the pane's foreground")
    title = serializers.CharField()
    pane_pid = serializers.IntegerField(allow_null=True)
    exit_status = serializers.IntegerField(allow_null=True)
    started_at = serializers.DateTimeField(allow_null=True)
    active_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    age_s = serializers.IntegerField()


class GroupSerializer(serializers.Serializer[dict[str, Any]]):
    key = serializers.CharField()
    label = serializers.CharField()
    short = serializers.CharField()
    sessions = SessionSerializer(many=True)
    expected = serializers.IntegerField()
    running = serializers.IntegerField()


class CreateSerializer(serializers.Serializer[dict[str, Any]]):
    name = serializers.CharField()
    provider = serializers.CharField(default="system")
    group = serializers.CharField(default="other")
    role = serializers.CharField(default="", allow_blank=True)
    environment = serializers.CharField(required=False, help_text="Environment it works in, by name or directory")
    cwd = serializers.CharField(required=False, help_text="Directory, when it is not an environment's")


class StartFleetSerializer(serializers.Serializer[dict[str, Any]]):
    group = serializers.CharField(required=False)
    only = serializers.ListField(child=serializers.CharField(), required=False)


class StartedSerializer(serializers.Serializer[dict[str, Any]]):
    started = serializers.ListField(child=serializers.CharField())
    already = serializers.ListField(child=serializers.CharField())
    failed = serializers.DictField(child=serializers.CharField())
    shells = serializers.DictField(
        child=serializers.CharField(), help_text="Sessions with a shell for want of an agent CLI"
    )
    notes = serializers.DictField(child=serializers.CharField())


class StoppedSerializer(serializers.Serializer[dict[str, Any]]):
    stopped = serializers.ListField(child=serializers.CharField())


class SendKeysSerializer(serializers.Serializer[dict[str, Any]]):
    text = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False, max_length=control.MAX_TEXT)
    enter = serializers.BooleanField(default=True)
    key = serializers.CharField(required=False, help_text="One named key instead of text: Enter, Escape, C-c, Up …")


class CaptureSerializer(serializers.Serializer[dict[str, Any]]):
    text = serializers.CharField()


class SessionViewSet(ViewSet):
    """tmux sessions, by name."""

    lookup_value_regex = r"[A-Za-z0-9_-]+"

    @extend_schema(
        responses=SessionSerializer(many=True),
        filters=False,
        parameters=[
            OpenApiParameter("group", str),
            OpenApiParameter("provider", str),
            OpenApiParameter("state", str, description="`ended` lists past sessions, newest first, at most 500"),
        ],
    )
    def list(self, request: Request) -> Response:
        """Live sessions, or past ones with `?state=ended`."""
        wanted = request.query_params
        if wanted.get("state") == "ended":
            past = Session.objects.exclude(ended_at=None).select_related("environment").order_by("-id")[:500]
            shown = [describe(session) for session in past]
        else:
            shown = sessions_overview()
        for name in ("group", "provider"):
            if name in wanted:
                shown = [session for session in shown if session[name] == wanted[name]]
        return Response(shown)

    @extend_schema(request=CreateSerializer, responses={201: SessionSerializer})
    def create(self, request: Request) -> Response:
        """Start one session."""
        body = CreateSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        wanted = dict(body.validated_data)
        name = wanted.pop("environment", None)
        session = start.create(wanted.pop("name"), environment=find_environment(name) if name else None, **wanted)
        return Response(describe(session), status=status.HTTP_201_CREATED)

    @extend_schema(responses=SessionSerializer, parameters=[_NAME])
    def retrieve(self, request: Request, pk: str) -> Response:
        """One session; the newest past one when none of that name lives."""
        return Response(describe(control.find(pk)))

    @extend_schema(responses={204: OpenApiResponse(description="It is ended")}, parameters=[_NAME])
    def destroy(self, request: Request, pk: str) -> Response:
        """End a session and what runs in it."""
        control.stop([control.find(pk)])
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(responses=GroupSerializer(many=True), filters=False)
    @action(detail=False, methods=["get"])
    def groups(self, request: Request) -> Response:
        """Live sessions by group of the fleet."""
        return Response(groups_overview(start.fleet()))

    @extend_schema(request=StartFleetSerializer, responses=StartedSerializer)
    @action(detail=False, methods=["post"])
    def start(self, request: Request) -> Response:
        """Start what of the fleet does not run yet."""
        body = StartFleetSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return Response(vars(start.start_fleet(**body.validated_data)))

    @extend_schema(request=StartFleetSerializer, responses=StoppedSerializer)
    @action(detail=False, methods=["post"])
    def stop(self, request: Request) -> Response:
        """End the fleet's sessions, or those of a group or named ones."""
        body = StartFleetSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return Response({"stopped": start.stop_fleet(**body.validated_data)})

    @extend_schema(
        request=SendKeysSerializer, responses={204: OpenApiResponse(description="It was typed")}, parameters=[_NAME]
    )
    @action(detail=True, methods=["post"], url_path="send-keys")
    def send_keys(self, request: Request, pk: str) -> Response:
        """Type text, or press one named key."""
        body = SendKeysSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        session, wanted = control.find(pk), body.validated_data
        if "key" in wanted:
            control.send_key(session, wanted["key"])
        elif "text" in wanted:
            control.send_keys(session, wanted["text"], enter=wanted["enter"])
        else:
            raise InvalidInput("there is nothing to send", fix='Send {"text": "…"} or {"key": "Enter"}.')
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(
        responses=CaptureSerializer,
        filters=False,
        parameters=[
            _NAME,
            OpenApiParameter("lines", int, description="Scrollback lines to add"),
            OpenApiParameter("ansi", bool),
        ],
    )
    @action(detail=True, methods=["get"])
    def capture(self, request: Request, pk: str) -> Response:
        """What the session's pane shows."""
        lines = request.query_params.get("lines", "0")
        if not lines.isdigit():
            raise InvalidInput(f"lines must be a whole number, not {lines!r}")
        ansi = request.query_params.get("ansi", "").lower() in {"1", "true", "yes"}
        return Response({"text": control.capture(control.find(pk), lines=int(lines), ansi=ansi)})


router = SimpleRouter()
router.register("orchestration/sessions", SessionViewSet, basename="session")
urlpatterns = router.urls
