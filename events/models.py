from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from django.db import models
from django.utils import timezone

from events.states import NOTIFICATION_TRANSITIONS, DestinationKind, NotificationState


class Level(models.TextChoices):
    INFO = "info", "Info"
    WARNING = "warning", "Warning"
    ERROR = "error", "Error"


class Event(models.Model):
    """One thing that happened. Rows are only ever added; ids follow the order of commits."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(default=timezone.now, db_index=True)
    actor = models.CharField(max_length=150)
    kind = models.CharField(max_length=80, help_text="What happened, as noun.verb: session.started")
    subject = models.CharField(max_length=200, help_text="What it happened to, as a key: session/dev1_worker")
    level = models.CharField(max_length=10, choices=Level.choices, default=Level.INFO)
    message = models.TextField()
    data = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["subject", "-id"], name="event_subject"),
            models.Index(fields=["kind", "-id"], name="event_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"

    def as_dict(self) -> dict[str, Any]:
        """The event as clients see it on every door."""
        return {
            "id": self.id,
            "at": self.at.isoformat(),
            "actor": self.actor,
            "kind": self.kind,
            "subject": self.subject,
            "level": self.level,
            "message": self.message,
            "data": self.data,
        }


class Stateful(models.Model):
    """A row with a `state` that only `events.log.change` moves."""

    TRANSITIONS: ClassVar[Mapping[str, Collection[str]]]
    """What may follow each state; a state without an entry is terminal."""

    class Meta:
        abstract = True

    @property
    def key(self) -> str:
        """Subject of its events."""
        raise NotImplementedError  # Django's models have a metaclass of their own, so this one can be no ABC


class Destination(models.Model):
    """Somewhere people want to be told of some events: a webhook or an e-mail address."""

    name = models.CharField(max_length=64, unique=True)
    kind = models.CharField(max_length=10, choices=DestinationKind.choices)
    address = models.CharField(max_length=500, help_text="A URL, or an e-mail address")
    secret = models.CharField(max_length=200, blank=True, help_text="Signs what a webhook is sent (HMAC-SHA256)")
    events = models.CharField(
        max_length=500,
        default="*",
        help_text="Kinds, separated by spaces; * stands for anything: environment.health *.failed",
    )
    level = models.CharField(
        max_length=10, choices=Level.choices, default=Level.WARNING, help_text="Events below it are not sent"
    )
    enabled = models.BooleanField(default=True)
    after = models.BigIntegerField(default=0, help_text="Id of the last event that was looked at")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class Notification(Stateful):
    """One event on its way to one destination.

    These move in batches, by queries that name the state before, and without events: each tells of one already.
    """

    TRANSITIONS: ClassVar = NOTIFICATION_TRANSITIONS

    destination = models.ForeignKey(Destination, on_delete=models.CASCADE, related_name="notifications")
    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="notifications")
    state = models.CharField(max_length=10, choices=NotificationState.choices, default=NotificationState.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField(default=timezone.now)
    problem = models.TextField(blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["destination", "event"], name="one_notification_per_event")
        ]
        indexes: ClassVar = [
            models.Index(fields=["next_try_at"], condition=models.Q(state="waiting"), name="notifications_due")
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.destination}"

    @property
    def key(self) -> str:
        """Subject of events about it."""
        return f"notification/{self.pk}"
