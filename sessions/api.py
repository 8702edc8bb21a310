"""`/api/orchestration/sessions/`: list, create, adopt, let go, destroy, type, read."""

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
from sessions.actions import adoption, control, start, windows
from sessions.configured import fleet
from sessions.detection import SOURCES
from sessions.explain import explain
from sessions.models import Session
from sessions.overview import describe, groups_overview, past_sessions, sessions_overview
from sessions.states import SESSION_TERMINAL, AgentState, Origin, Runs, SessionState

_ENDED = "ended"
_FILTERS = ("group", "provider", "state", "origin")
_STATES = (*SessionState.values, _ENDED)
_NAME = OpenApiParameter("id", str, OpenApiParameter.PATH, description="The session's name")
LIFE = OpenApiParameter(
    "life", int, description="Its id: this life is meant, and no later one that has the name by now"
)
_IDEMPOTENCY = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, description="Repeating a request with it types nothing twice"
)


class SessionSerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    tmux_name = serializers.CharField(help_text="Its name in tmux: another one when somebody renamed it there")
    origin = serializers.ChoiceField(
        choices=Origin.choices, help_text="`gaia` started it, `adopted` it, or only looks at it: `foreign`"
    )
    socket = serializers.CharField(help_text="Of its tmux server; empty for GAIA's own")
    panes = serializers.IntegerField(help_text="How many its tmux session has")
    group = serializers.CharField()
    provider = serializers.CharField()
    role = serializers.CharField()
    protected = serializers.BooleanField(help_text="Never given tasks")
    environment = serializers.CharField(allow_null=True)
    cwd = serializers.CharField()
    runs = serializers.ChoiceField(choices=Runs.choices)
    reason = serializers.CharField(help_text="Why something else runs than its agent")
    problem = serializers.CharField()
    state = serializers.ChoiceField(choices=SessionState.choices)
    program = serializers.CharField(help_text="The agent's program; empty when none runs")
    command = serializers.CharField(help_text="What has the pane's foreground, as tmux sees it")
    title = serializers.CharField()
    pane_pid = serializers.IntegerField(allow_null=True)
    exit_status = serializers.IntegerField(allow_null=True, help_text="Below zero: the signal that ended it")
    started_at = serializers.DateTimeField(allow_null=True)
    active_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    age_s = serializers.IntegerField()


class GroupSerializer(serializers.Serializer[dict[str, Any]]):
    key = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # every Field has an attribute of that name
    short = serializers.CharField()
    sessions = SessionSerializer(many=True)
    expected = serializers.IntegerField(help_text="How many of the fleet's are in it")
    missing = serializers.ListField(child=serializers.CharField(), help_text="Names of those that do not run")
    running = serializers.IntegerField(help_text="How many of GAIA's in it run")
    foreign = serializers.IntegerField(help_text="How many in it GAIA only looks at")


class CreateSerializer(serializers.Serializer[dict[str, Any]]):
    name = serializers.CharField()
    provider = serializers.CharField(default="system")
    group = serializers.CharField(default="other")
    role = serializers.CharField(default="", allow_blank=True, max_length=60)
    environment = serializers.CharField(required=False, help_text="Environment it works in, by name or directory")
    cwd = serializers.CharField(required=False, max_length=1000, help_text="Absolute path, when it is no environment")


class AdoptSerializer(serializers.Serializer[dict[str, Any]]):
    socket = serializers.CharField(default="", help_text="Of its tmux server, where several have one of that name")
    name = serializers.CharField(default="", help_text="What GAIA shall call it; default its name")
    group = serializers.CharField(default="", help_text="Key of a group; default the one its name is like")
    provider = serializers.CharField(default="", help_text="Default the one its name, or its program, is like")
    role = serializers.CharField(default="", max_length=60)
    environment = serializers.CharField(default="", help_text="Default the one its directory is in")


class StartFleetSerializer(serializers.Serializer[dict[str, Any]]):
    group = serializers.CharField(required=False, help_text="Key, label or short form of a group")
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
    window = serializers.CharField(default="", help_text="By index or id; default the one with its agent's pane")
    pane = serializers.CharField(default="", help_text="By index or id; default its agent's, else the window's active")


class CaptureSerializer(serializers.Serializer[dict[str, Any]]):
    text = serializers.CharField()


class ExplainSerializer(serializers.Serializer[dict[str, Any]]):
    session = serializers.CharField()
    provider = serializers.CharField()
    state = serializers.ChoiceField(choices=AgentState.choices)
    source = serializers.ChoiceField(  # type: ignore[assignment]  # every Field has an attribute of that name
        choices=SOURCES, help_text="What it rests on"
    )
    rule = serializers.CharField(help_text="The rule of the provider's that held, or the fact; empty when none did")
    version = serializers.IntegerField(allow_null=True, help_text="Of the provider's rules")
    seen = serializers.CharField(help_text="The line that the rule found")
    age_s = serializers.FloatField(help_text="For how long its window has been quiet")
    runs = serializers.ChoiceField(choices=Runs.choices)
    command = serializers.CharField()
    title = serializers.CharField()
    screen = serializers.ListField(child=serializers.CharField(), help_text="The lowest lines")


class SessionViewSet(ViewSet):
    """tmux sessions, by name."""

    lookup_value_regex = r"[A-Za-z0-9_-]+"

    @extend_schema(
        responses=SessionSerializer(many=True),
        filters=False,
        parameters=[
            OpenApiParameter("group", str),
            OpenApiParameter("provider", str),
            OpenApiParameter("origin", str, enum=Origin.values),
            OpenApiParameter(
                "state", str, enum=_STATES, description="`ended` lists past lives, newest first, at most 500"
            ),
        ],
    )
    def list(self, request: Request) -> Response:
        """Live sessions; past lives with `?state=ended`, or with the state they ended in."""
        wanted = {name: request.query_params[name] for name in _FILTERS if name in request.query_params}
        state = wanted.get("state", SessionState.RUNNING)
        if state not in _STATES:
            raise InvalidInput(f"there is no state {state!r}", fix=f"States: {', '.join(_STATES)}.")
        if state == _ENDED:
            del wanted["state"]
        shown = past_sessions(**wanted) if state in (_ENDED, *SESSION_TERMINAL) else sessions_overview(**wanted)
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

    @extend_schema(responses=SessionSerializer, parameters=[_NAME, LIFE])
    def retrieve(self, request: Request, pk: str) -> Response:
        """One session; the newest past one when none of that name lives."""
        return Response(describe(find(request, pk)))

    @extend_schema(responses={204: OpenApiResponse(description="It is ended")}, parameters=[_NAME, LIFE])
    def destroy(self, request: Request, pk: str) -> Response:
        """End a session and what runs in it."""
        control.stop([find(request, pk)])
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=AdoptSerializer, responses=SessionSerializer, parameters=[_NAME, LIFE])
    @action(detail=True, methods=["post"])
    def adopt(self, request: Request, pk: str) -> Response:
        """Work with a session that GAIA did not start; its program does not notice."""
        body = AdoptSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        wanted = dict(body.validated_data)
        found = adoption.find_foreign(pk, life=_life(request), socket=wanted.pop("socket"))
        directory = wanted.pop("environment")
        environment = find_environment(directory) if directory else None
        return Response(describe(adoption.adopt(found, environment=environment, **wanted)))

    @extend_schema(request=None, responses=SessionSerializer, parameters=[_NAME, LIFE])
    @action(detail=True, methods=["post"])
    def release(self, request: Request, pk: str) -> Response:
        """Let an adopted session go: GAIA only looks at it again; its program does not notice."""
        return Response(describe(adoption.release(find(request, pk))))

    @extend_schema(responses=GroupSerializer(many=True), filters=False)
    @action(detail=False, methods=["get"])
    def groups(self, request: Request) -> Response:
        """Live sessions by group of the fleet."""
        return Response(groups_overview(fleet()))

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
        request=SendKeysSerializer,
        responses={204: OpenApiResponse(description="It was typed")},
        parameters=[_NAME, LIFE, _IDEMPOTENCY],
    )
    @action(detail=True, methods=["post"], url_path="send-keys")
    def send_keys(self, request: Request, pk: str) -> Response:
        """Type text, or press one named key."""
        body = SendKeysSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        send(find(request, pk), body.validated_data, request.headers.get("Idempotency-Key"))
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(
        responses=CaptureSerializer,
        filters=False,
        parameters=[
            _NAME,
            LIFE,
            OpenApiParameter("lines", int, description="Scrollback lines to add"),
            OpenApiParameter("ansi", bool),
        ],
    )
    @action(detail=True, methods=["get"])
    def capture(self, request: Request, pk: str) -> Response:
        """What the session's pane shows."""
        lines = request.query_params.get("lines", "0")
        if not (lines.isascii() and lines.isdigit() and len(lines) < 10):
            raise InvalidInput(f"lines must be a whole number, 0 to {control.MAX_LINES}, not {lines[:40]!r}")
        ansi = request.query_params.get("ansi", "").lower() in {"1", "true", "yes"}
        return Response({"text": control.capture(find(request, pk), lines=int(lines), ansi=ansi)})

    @extend_schema(responses=ExplainSerializer, parameters=[_NAME, LIFE])
    @action(detail=True, methods=["get"])
    def explain(self, request: Request, pk: str) -> Response:
        """What its agent does, looked at just now, and what that is concluded from."""
        return Response(explain(find(request, pk)))


def send(session: Session, wanted: dict[str, Any], repeated: str | None) -> None:
    """Type what a request asks for, where it asks for it.

    Raises: as `control.send_keys`; NotFound for a window or pane.
    """
    window, pane = wanted["window"], wanted["pane"]
    elsewhere = bool(window or pane)
    if "key" in wanted and elsewhere:
        windows.send_key(session, window, pane, wanted["key"], idempotency_key=repeated)
    elif "key" in wanted:
        control.send_key(session, wanted["key"], idempotency_key=repeated)
    elif "text" not in wanted:
        raise InvalidInput("there is nothing to send", fix='Send {"text": "…"} or {"key": "Enter"}.')
    elif elsewhere:
        windows.send_keys(session, window, pane, wanted["text"], enter=wanted["enter"], idempotency_key=repeated)
    else:
        control.send_keys(session, wanted["text"], enter=wanted["enter"], idempotency_key=repeated)


def find(request: Request, name: str) -> Session:
    """The session of that name, or the life of it that the request means.

    Raises: NotFound, Conflict, InvalidInput.
    """
    return control.find(name, life=_life(request))


def _life(request: Request) -> int | None:
    life = request.query_params.get("life")
    if life is not None and not (life.isascii() and life.isdigit() and len(life) < 19):
        raise InvalidInput(f"life must be the id of a session, not {life[:40]!r}")
    return None if life is None else int(life)


router = SimpleRouter()
router.register("orchestration/sessions", SessionViewSet, basename="session")
urlpatterns = router.urls
