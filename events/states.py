"""States of notifications, as data."""

from __future__ import annotations

from django.db.models import TextChoices


class NotificationState(TextChoices):
    WAITING = "waiting", "Waiting"
    DELIVERED = "delivered", "Delivered"
    FAILED = "failed", "Given up"


class DestinationKind(TextChoices):
    WEBHOOK = "webhook", "Webhook"
    EMAIL = "email", "E-mail"
