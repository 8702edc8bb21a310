"""States of notifications, as data."""

from __future__ import annotations

from django.db.models import TextChoices


class NotificationState(TextChoices):
    WAITING = "waiting", "Waiting"
    DELIVERED = "delivered", "Delivered"
    FAILED = "failed", "Given up"


NOTIFICATION_TRANSITIONS: dict[str, tuple[str, ...]] = {
    NotificationState.WAITING: (NotificationState.DELIVERED, NotificationState.FAILED),
    NotificationState.FAILED: (NotificationState.WAITING,),  # somebody wants it tried again
}


class DestinationKind(TextChoices):
    WEBHOOK = "webhook", "Webhook"
    EMAIL = "email", "E-mail"
