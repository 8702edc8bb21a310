"""The log for programs: `GET /api/events/`, `GET /api/events/{id}/` and the stream."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from django.db.models.functions import Left
from django.urls import URLPattern, URLResolver, path
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers, viewsets
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.views import APIView

from events.models import Event, Level
from events.stream import stream
from events.tail import newest_id

DEFAULT_LIMIT, MAX_LIMIT = 100, 1_000


class EventSerializer(serializers.ModelSerializer[Event]):
    """One event."""

    class Meta:
        model = Event
        fields = ("id", "at", "actor", "kind", "subject", "level", "message", "data")
        read_only_fields = fields

    def to_representation(self, instance: Event) -> dict[str, Any]:
        """The same text as on the streams, and a tenth of the work of going field by field."""
        return instance.as_dict()


class EventFilter(django_filters.FilterSet):
    kind = django_filters.CharFilter(method="by_text", help_text="`session.started`, or a prefix: `session.*`")
    subject = django_filters.CharFilter(method="by_text", help_text="`session/dev1_worker`, or a prefix: `session/*`")
    level = django_filters.ChoiceFilter(choices=Level.choices)
    actor = django_filters.CharFilter(help_text="`user:operator`, `cli:ada`, `node:local`")

    class Meta:
        model = Event
        fields = ("kind", "subject", "level", "actor")

    def by_text(self, queryset: QuerySet[Event], name: str, value: str) -> QuerySet[Event]:
        """Exact, or by prefix when it ends in a star."""
        if not value.endswith("*"):
            return queryset.filter(**{name: value})
        prefix = value[:-1]
        if not prefix:
            return queryset
        # SQLite's LIKE does not tell case apart
        return queryset.alias(start=Left(name, len(prefix))).filter(start=prefix, **{f"{name}__startswith": prefix})


class Position(BasePagination):
    """Pages by id: backwards from the newest, or forwards from the last event a client has seen.

    Nothing is counted and nothing is skipped over, so a page costs the same in a log of millions.
    """

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:
        """One page; the newest id is read first, so that what commits meanwhile belongs to the next call."""
        limit = _number(request, "limit", 1, MAX_LIMIT) or DEFAULT_LIMIT
        after, before = _number(request, "after"), _number(request, "before")
        if after is not None and before is not None:
            raise ValidationError({"before": ["Give either after or before."]})
        newest = newest_id()
        self.reset = after is not None and after > newest
        if after is not None and not self.reset:
            page = list(queryset.filter(id__gt=after, id__lte=newest).order_by("id")[:limit])
            self.next_after = page[-1].id if len(page) == limit else newest
            self.next_before = None
            return page
        top = newest if before is None else min(newest, before - 1)
        page = [] if self.reset else list(queryset.filter(id__lte=top).order_by("-id")[:limit])
        self.next_after = newest
        self.next_before = page[-1].id if len(page) == limit else None
        return page

    def get_paginated_response(self, data: Any) -> Response:
        return Response(
            {"results": data, "next_after": self.next_after, "next_before": self.next_before, "reset": self.reset}
        )

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The envelope, for OpenAPI."""
        number = {"type": "integer", "format": "int64"}
        return {
            "type": "object",
            "required": ["results", "next_after", "next_before", "reset"],
            "properties": {
                "results": schema,
                "next_after": {**number, "description": "Ask with `after` set to this for what happens next."},
                "next_before": {
                    **number,
                    "nullable": True,
                    "description": "`before` of the next older page.",
                },
                "reset": {
                    "type": "boolean",
                    "description": "`after` is of another database: fetch everything anew.",
                },
            },
        }

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        """The query parameters, for OpenAPI."""
        return [
            _parameter("after", "Only events after this id, oldest first: for clients that poll.", minimum=0),
            _parameter("before", "Only events before this id, newest first.", minimum=0),
            _parameter("limit", "How many.", minimum=1, maximum=MAX_LIMIT, default=DEFAULT_LIMIT),
        ]


@extend_schema_view(
    list=extend_schema(
        summary="What happened, newest first; with `after`, what happened since, oldest first",
        description="Live: WebSocket `/ws/events/?after=ID`, or server-sent events from `/api/events/stream?after=ID`.",
    ),
    retrieve=extend_schema(summary="One event"),
)
class EventViewSet(viewsets.ReadOnlyModelViewSet[Event]):
    """The append-only log."""

    queryset = Event.objects.all()
    serializer_class = EventSerializer
    pagination_class = Position
    filter_backends = (DjangoFilterBackend,)
    filterset_class = EventFilter


def _number(request: Request, name: str, least: int = 0, most: int = 2**63 - 1) -> int | None:
    text = request.query_params.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and least <= int(text[:20]) <= most):
        bounds = f"{least} to {most}" if most <= MAX_LIMIT else f"{least} or more"
        raise ValidationError({name: [f"{text!r} is not a whole number, {bounds}."]})
    return int(text)


def _parameter(name: str, description: str, **schema: int) -> dict[str, Any]:
    shape = {"type": "integer", **({} if name == "limit" else {"format": "int64"}), **schema}
    return {"name": name, "in": "query", "required": False, "description": description, "schema": shape}


_router = SimpleRouter()
_router.register("events", EventViewSet, basename="event")
# the stream first: `stream` would pass for an id
urlpatterns: list[URLPattern | URLResolver] = [path("events/stream", stream, name="event-stream"), *_router.urls]
