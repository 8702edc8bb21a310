"""`/api/tmux/…`: every tmux session that GAIA sees, typing into one, looking again."""

from __future__ import annotations

from typing import Any

from django.urls import path
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from common.errors import InvalidInput
from sessions.actions import control
from sessions.api import SendKeysSerializer, send
from sessions.overview import sessions_overview
from sessions.refresh import refresh
from sessions.states import Origin, Runs, SessionState

_SHORT = ("id", "name", "tmux_name", "group", "provider", "state", "origin", "socket", "runs", "protected")


class TmuxSessionSerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    tmux_name = serializers.CharField()
    group = serializers.CharField()
    provider = serializers.CharField()
    state = serializers.ChoiceField(choices=SessionState.choices)
    origin = serializers.ChoiceField(choices=Origin.choices)
    socket = serializers.CharField(help_text="Of its tmux server; empty for GAIA's own")
    runs = serializers.ChoiceField(choices=Runs.choices)
    protected = serializers.BooleanField()


class TmuxSendSerializer(SendKeysSerializer):
    session = serializers.CharField(help_text="Its name, here or in tmux")
    life = serializers.IntegerField(required=False, help_text="Its id: this life is meant, and no later one")


class ChangeSerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    before = serializers.CharField(allow_null=True, help_text="Its state; null when it was not known")
    after = serializers.CharField(help_text="Its state now")


class RefreshedSerializer(serializers.Serializer[dict[str, Any]]):
    sessions = serializers.IntegerField(help_text="How many live now")
    changed = ChangeSerializer(many=True)


class TmuxSessionsView(APIView):
    """Every tmux session that GAIA sees."""

    @extend_schema(responses=TmuxSessionSerializer(many=True))
    def get(self, request: Request) -> Response:
        """GAIA's own, adopted ones, and those it only looks at."""
        return Response([{name: one[name] for name in _SHORT} for one in sessions_overview()])


class TmuxSendView(APIView):
    """Typing."""

    @extend_schema(
        request=TmuxSendSerializer,
        responses={204: OpenApiResponse(description="It was typed")},
        parameters=[
            OpenApiParameter(
                "Idempotency-Key", str, OpenApiParameter.HEADER,
                description="Repeating a request with it types nothing twice",
            )
        ],
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Type text into a session, or press one named key."""
        body = TmuxSendSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        wanted = dict(body.validated_data)
        if "text" in wanted and "key" in wanted:
            raise InvalidInput("a text and a key together are not clear", fix="Send one after the other.")
        session = control.find(wanted.pop("session"), life=wanted.pop("life", None))
        send(session, wanted, request.headers.get("Idempotency-Key"))
        return Response(status=status.HTTP_204_NO_CONTENT)


class TmuxRefreshView(APIView):
    """Looking again."""

    @extend_schema(request=None, responses=RefreshedSerializer)
    def post(self, request: Request) -> Response:
        """Look at every tmux server now, and tell which sessions are new, or in another state than before."""
        return Response(refresh())


urlpatterns = [
    path("sessions", TmuxSessionsView.as_view()),
    path("send", TmuxSendView.as_view()),
    path("sessions/refresh", TmuxRefreshView.as_view()),
]
