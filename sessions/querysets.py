"""Named queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from django.db import models

from sessions.states import SESSION_ACTIVE

if TYPE_CHECKING:
    from sessions.models import Session  # noqa: F401  the type argument below


class SessionQuerySet(models.QuerySet["Session"]):
    def live(self) -> Self:
        """Those tmux has, or is about to have."""
        return self.filter(state__in=SESSION_ACTIVE)
