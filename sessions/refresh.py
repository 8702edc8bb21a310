"""A look at tmux for somebody who does not want to wait for the daemon's next."""

from __future__ import annotations

from typing import Any

from sessions import others, reconcile
from sessions.models import Session


def refresh() -> dict[str, Any]:
    """Look at every tmux server, and tell what that changed.

    Returns: `sessions`, how many live now; `changed`, those that are new or in another state, with `before`, None when
        it was not known, and `after`.
    Raises: TmuxError when GAIA's own server hangs.
    """
    newest = Session.objects.order_by("-id").values_list("id", flat=True).first() or 0
    before = dict(Session.objects.live().values_list("id", "state"))
    reconcile.look()
    others.look()
    now = {row.pk: row for row in Session.objects.filter(pk__in=before) | Session.objects.filter(pk__gt=newest)}
    changed = [
        {"id": key, "name": row.name, "before": before.get(key), "after": row.state}
        for key, row in sorted(now.items())
        if before.get(key) != row.state
    ]
    return {"sessions": Session.objects.live().count(), "changed": changed}
