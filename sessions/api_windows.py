"""`/api/orchestration/sessions/NAME/windows/…` and `…/capture/WINDOW/PANE/`."""

from __future__ import annotations

from typing import Any

from django.urls import path
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from common.errors import InvalidInput
from sessions.actions import windows
from sessions.api import LIFE, find
from sessions.windows import describe, find_window, windows_of

_WINDOW = OpenApiParameter("window", str, OpenApiParameter.PATH, description="Its index, such as 0, or its id: @3")
_PANE = OpenApiParameter("pane", str, OpenApiParameter.PATH, description="Its index, such as 0, or its id: %3")
_NAME = OpenApiParameter("name", str, OpenApiParameter.PATH, description="The session's name")


class PaneSerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.CharField(help_text="Of tmux: stays the same until the pane is closed")
    index = serializers.IntegerField()
    active = serializers.BooleanField(help_text="It has its window's focus")
    own = serializers.BooleanField(help_text="It is the session's own: its agent's")
    pid = serializers.IntegerField()
    command = serializers.CharField(help_text="What has its foreground")
    title = serializers.CharField()
    cwd = serializers.CharField()
    dead = serializers.BooleanField(help_text="Its program has ended; tmux keeps its screen")
    exit_status = serializers.IntegerField(allow_null=True)
    in_mode = serializers.BooleanField(help_text="Somebody scrolls in it: nothing can be typed")
    width = serializers.IntegerField(help_text="In cells")
    height = serializers.IntegerField()
    left = serializers.IntegerField()
    top = serializers.IntegerField()
    history = serializers.IntegerField(help_text="Lines of scrollback")


class WindowSerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.CharField(help_text="Of tmux: stays the same until the window is closed")
    index = serializers.IntegerField()
    name = serializers.CharField()
    active = serializers.BooleanField(help_text="It is what attached terminals show")
    width = serializers.IntegerField(help_text="In cells")
    height = serializers.IntegerField()
    panes = PaneSerializer(many=True)


class OpenWindowSerializer(serializers.Serializer[dict[str, Any]]):
    name = serializers.CharField(default="", allow_blank=True, max_length=windows.LONGEST_NAME)
    command = serializers.ListField(
        child=serializers.CharField(trim_whitespace=False), default=list,
        help_text="Program and arguments, which no shell reads; default a shell",
    )  # fmt: skip
    cwd = serializers.CharField(default="", max_length=1000, help_text="Absolute path; default the session's")


class SplitSerializer(OpenWindowSerializer):
    name = None  # type: ignore[assignment]  # of a window only
    pane = serializers.CharField(default="", help_text="Which is split, by index or id; default the agent's")
    beside = serializers.BooleanField(default=False, help_text="The new one comes to its right, else below it")
    percent = serializers.IntegerField(
        default=50, min_value=1, max_value=99, help_text="How much of the place the new one gets"
    )


class OpenedSerializer(serializers.Serializer[dict[str, Any]]):
    window = serializers.CharField(help_text="Its id")
    pane = serializers.CharField(help_text="Its id")


class SizeSerializer(serializers.Serializer[dict[str, Any]]):
    width = serializers.IntegerField(
        default=None, allow_null=True, min_value=windows.SMALLEST, max_value=windows.LARGEST
    )
    height = serializers.IntegerField(
        default=None, allow_null=True, min_value=windows.SMALLEST, max_value=windows.LARGEST
    )


class PageSerializer(serializers.Serializer[dict[str, Any]]):
    text = serializers.CharField()
    first = serializers.IntegerField(help_text="Number of its first line, 0 being the oldest that tmux has")
    total = serializers.IntegerField(help_text="How many lines there are, scrollback and screen")
    before = serializers.IntegerField(allow_null=True, help_text="Gives the page above; null when there is none")


class WindowsView(APIView):
    """Windows of a session."""

    @extend_schema(
        operation_id="orchestration_sessions_windows_list",
        responses=WindowSerializer(many=True),
        parameters=[_NAME, LIFE],
    )
    def get(self, request: Request, name: str) -> Response:
        """What the session's tmux session has now, looked at just now."""
        session = find(request, name)
        return Response(describe(session, windows_of(session)))

    @extend_schema(request=OpenWindowSerializer, responses={201: OpenedSerializer}, parameters=[_NAME, LIFE])
    def post(self, request: Request, name: str) -> Response:
        """Open a window; what attached terminals show stays as it is."""
        body = OpenWindowSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return _opened(windows.open_window(find(request, name), **body.validated_data))


class WindowView(APIView):
    """One window."""

    @extend_schema(responses=WindowSerializer, parameters=[_NAME, _WINDOW, LIFE])
    def get(self, request: Request, name: str, window: str) -> Response:
        """One window with its panes."""
        session = find(request, name)
        return Response(describe(session, [find_window(session, windows_of(session), window)])[0])

    @extend_schema(
        responses={204: OpenApiResponse(description="It is closed")}, parameters=[_NAME, _WINDOW, LIFE]
    )  # fmt: skip
    def delete(self, request: Request, name: str, window: str) -> Response:
        """Close it with what runs in it. The agent's ends with its session only: `DELETE …/NAME/`."""
        windows.close_window(find(request, name), window)
        return Response(status=status.HTTP_204_NO_CONTENT)


class WindowSizeView(APIView):
    """The size of a window."""

    @extend_schema(
        request=SizeSerializer, parameters=[_NAME, _WINDOW, LIFE],
        responses={204: OpenApiResponse(description="It has that size")},
    )  # fmt: skip
    def post(self, request: Request, name: str, window: str) -> Response:
        """Give it a size that stays; with neither width nor height it follows its terminals again."""
        size = _size(request)
        windows.resize_window(find(request, name), window, **size)
        return Response(status=status.HTTP_204_NO_CONTENT)


class PanesView(APIView):
    """Panes of a window."""

    @extend_schema(request=SplitSerializer, responses={201: OpenedSerializer}, parameters=[_NAME, _WINDOW, LIFE])
    def post(self, request: Request, name: str, window: str) -> Response:
        """Split one of its panes in two."""
        body = SplitSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        wanted = dict(body.validated_data)
        return _opened(windows.split(find(request, name), window, wanted.pop("pane"), **wanted))


class PaneView(APIView):
    """One pane."""

    @extend_schema(
        responses={204: OpenApiResponse(description="It is closed")}, parameters=[_NAME, _WINDOW, _PANE, LIFE]
    )  # fmt: skip
    def delete(self, request: Request, name: str, window: str, pane: str) -> Response:
        """Close it with what runs in it. The agent's ends with its session only: `DELETE …/NAME/`."""
        windows.close_pane(find(request, name), window, pane)
        return Response(status=status.HTTP_204_NO_CONTENT)


class PaneSizeView(APIView):
    """The size of a pane."""

    @extend_schema(
        request=SizeSerializer, parameters=[_NAME, _WINDOW, _PANE, LIFE],
        responses={204: OpenApiResponse(description="It has that size, as far as its neighbours let it")},
    )  # fmt: skip
    def post(self, request: Request, name: str, window: str, pane: str) -> Response:
        """Give it another size within its window."""
        size = _size(request)
        windows.resize_pane(find(request, name), window, pane, **size)
        return Response(status=status.HTTP_204_NO_CONTENT)


class CaptureView(APIView):
    """What a pane shows and has shown."""

    @extend_schema(
        operation_id="orchestration_sessions_capture_page",
        responses=PageSerializer,
        parameters=[
            _NAME, _WINDOW, _PANE, LIFE,
            OpenApiParameter("lines", int, description=f"How many, 1 to {windows.PAGE:,}; default as many as it shows"),
            OpenApiParameter("before", int, description="It ends before the line of this number; default the end"),
            OpenApiParameter("ansi", bool, description="Keep colours and attributes as escape sequences"),
        ],
    )  # fmt: skip
    def get(self, request: Request, name: str, window: str, pane: str) -> Response:
        """A page of it; the `before` of one page gives the one above. While nothing is written, pages fit together."""
        ansi = request.query_params.get("ansi", "").lower() in {"1", "true", "yes"}
        lines, before = _number(request, "lines"), _number(request, "before")
        session = find(request, name)
        return Response(windows.capture(session, window, pane, lines=lines, before=before, ansi=ansi))


def _opened(opened: windows.Opened) -> Response:
    return Response({"window": opened.window_id, "pane": opened.pane_id}, status=status.HTTP_201_CREATED)


def _size(request: Request) -> dict[str, Any]:
    body = SizeSerializer(data=request.data)
    body.is_valid(raise_exception=True)
    return dict(body.validated_data)


def _number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if text is not None and not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidInput(f"{name} must be a whole number, not {text[:40]!r}")
    return None if text is None else int(text)


_ONE = "orchestration/sessions/<str:name>/"
urlpatterns = [
    path(f"{_ONE}windows/", WindowsView.as_view()),
    path(f"{_ONE}windows/<str:window>/", WindowView.as_view()),
    path(f"{_ONE}windows/<str:window>/resize/", WindowSizeView.as_view()),
    path(f"{_ONE}windows/<str:window>/panes/", PanesView.as_view()),
    path(f"{_ONE}windows/<str:window>/panes/<str:pane>/", PaneView.as_view()),
    path(f"{_ONE}windows/<str:window>/panes/<str:pane>/resize/", PaneSizeView.as_view()),
    path(f"{_ONE}capture/<str:window>/<str:pane>/", CaptureView.as_view()),
]
