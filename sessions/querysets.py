"""Named queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from django.db import models

from sessions.states import SESSION_ACTIVE, Origin

if TYPE_CHECKING:
    from sessions.models import Session  # noqa: F401  the type argument below


class SessionQuerySet(models.QuerySet["Session"]):
    def live(self) -> Self:
        """Those tmux has, or is about to have."""
        return self.filter(state__in=SESSION_ACTIVE)

    def own(self) -> Self:
        """Those on GAIA's own tmux server."""
        return self.filter(origin=Origin.GAIA)

    def managed(self) -> Self:
        """Those GAIA works with: its own and the adopted."""
        return self.exclude(origin=Origin.FOREIGN)

    def foreign(self) -> Self:
        """Those it only looks at."""
        return self.filter(origin=Origin.FOREIGN)

    def of_others(self) -> Self:
        """Those on other tmux servers, adopted or not."""
        return self.exclude(origin=Origin.GAIA)
