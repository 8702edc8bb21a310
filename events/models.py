from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from django.db import models
from django.utils import timezone


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
