"""`/api/events/destinations/` and `/api/events/notifications/`: who is told of events, and what became of that."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.viewsets import GenericViewSet

from events.api import EventSerializer
from events.models import Level, Notification
from events.notifications import deliveries, destinations
from events.states import DestinationKind, NotificationState


class DestinationSerializer(serializers.Serializer[Any]):
    """A destination. What signs is written, never read."""

    id = serializers.IntegerField(read_only=True)
    name = serializers.CharField(help_text="Letters, digits, - and _")
    kind = serializers.ChoiceField(choices=DestinationKind.choices, read_only=True)
    address = serializers.CharField(help_text="An http or https URL, or a mail address; read, a URL's path is left out")
    secret = serializers.CharField(
        write_only=True, required=False, allow_blank=True, help_text="Signs what a webhook is sent; empty: not signed"
    )
    signed = serializers.BooleanField(read_only=True)
    events = serializers.CharField(default="*", help_text="Kinds, separated by spaces: environment.health *.failed")
    level = serializers.ChoiceField(choices=Level.choices, default=Level.WARNING, help_text="The least that is told")
    enabled = serializers.BooleanField(default=True)
    state = serializers.ChoiceField(choices=["on", "off", "failing"], read_only=True)
    waiting = serializers.IntegerField(read_only=True, help_text="Notifications not delivered yet")
    given_up = serializers.IntegerField(read_only=True)
    last_delivered_at = serializers.DateTimeField(read_only=True, allow_null=True)

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """As every door shows it."""
        return destinations.describe(instance)


class ChangeSerializer(serializers.Serializer[Any]):
    """What is to be changed; what is left out stays."""

    address = serializers.CharField(required=False)
    secret = serializers.CharField(required=False, allow_blank=True, write_only=True)
    events = serializers.CharField(required=False)
    level = serializers.ChoiceField(choices=Level.choices, required=False)
    enabled = serializers.BooleanField(required=False)


class TestedSerializer(serializers.Serializer[Any]):
    delivered = serializers.BooleanField()
    problem = serializers.CharField(help_text="Why it was not; empty when it was")
    took = serializers.FloatField(help_text="Seconds")


class NotificationSerializer(serializers.Serializer[Any]):
    """One event on its way to one destination."""

    id = serializers.IntegerField()
    destination = serializers.CharField()
    state = serializers.ChoiceField(choices=NotificationState.choices)
    attempts = serializers.IntegerField()
    next_try_at = serializers.DateTimeField(allow_null=True)
    delivered_at = serializers.DateTimeField(allow_null=True)
    problem = serializers.CharField()
    event = EventSerializer()

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """As every door shows it."""
        return deliveries.describe(instance)


class DestinationViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet[Any]):
    """Who is told of events."""

    queryset = destinations.overview()
    serializer_class = DestinationSerializer
    filterset_fields = ["kind", "enabled"]
    search_fields = ["name"]
    ordering_fields = ["name"]

    @extend_schema(responses={201: DestinationSerializer})
    def create(self, request: Request) -> Response:
        """Add a destination; it is told of what happens from now on."""
        given = self.get_serializer(data=request.data)
        given.is_valid(raise_exception=True)
        wanted = dict(given.validated_data)
        enabled = wanted.pop("enabled")
        made = destinations.add(wanted.pop("name"), wanted.pop("address"), **wanted)
        if not enabled:
            destinations.turn(made, on=False)
        return self._answer(made.pk, status.HTTP_201_CREATED)

    @extend_schema(request=ChangeSerializer, responses=DestinationSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change what is given; what happened before keeps to the old choice."""
        given = ChangeSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        wanted, destination = dict(given.validated_data), self.get_object()
        enabled = wanted.pop("enabled", None)
        destinations.change(destination, **wanted)
        if enabled is not None:
            destinations.turn(destination, on=enabled)
        return self._answer(destination.pk)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        """Forget it, and what it was told of."""
        destinations.remove(self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=None, responses=TestedSerializer)
    @action(detail=True, methods=["post"])
    def test(self, request: Request, pk: str) -> Response:
        """Send a message that is no event, now, and answer with what became of it."""
        tested = destinations.send_test(self.get_object())
        return Response({"delivered": tested.delivered, "problem": tested.problem, "took": round(tested.took, 3)})

    def _answer(self, pk: int, code: int = status.HTTP_200_OK) -> Response:
        return Response(destinations.describe(self.get_queryset().get(pk=pk)), status=code)


class NotificationFilter(django_filters.FilterSet):
    destination = django_filters.CharFilter(field_name="destination__name", help_text="Its name")
    state = django_filters.ChoiceFilter(choices=NotificationState.choices)

    class Meta:
        model = Notification
        fields = ("destination", "state")


class NotificationViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet[Notification]):
    """What destinations were told of, newest first."""

    queryset: QuerySet[Notification] = Notification.objects.select_related("destination", "event")
    serializer_class = NotificationSerializer
    filterset_class = NotificationFilter
    search_fields = ["event__kind", "event__message"]
    ordering_fields = ["id"]

    @extend_schema(request=None, responses={202: NotificationSerializer})
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str) -> Response:
        """Try one again that was given up."""
        notification = self.get_object()
        deliveries.retry(notification)
        notification.refresh_from_db()
        return Response(deliveries.describe(notification), status=status.HTTP_202_ACCEPTED)


router = SimpleRouter()
router.register("destinations", DestinationViewSet, basename="destination")
router.register("notifications", NotificationViewSet, basename="notification")
urlpatterns = router.urls
