"""Named queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models

from sessions.states import SESSION_ACTIVE

if TYPE_CHECKING:
    pass


class SessionQuerySet(models.QuerySet["Session"]):
    def live(self) -> SessionQuerySet:
        """Those tmux has, or is about to have."""
        return self.filter(state__in=SESSION_ACTIVE)
