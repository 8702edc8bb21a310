"""Sessions that GAIA did not start, as the daemon sees them when it looks."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from sessions import reconcile
from sessions.models import Session
from sessions.others import Lookout
from tests.sessions.strangers import Stranger

Make = Callable[..., Stranger]
PATIENCE = 20.0  # seconds: the machine may be busy


def rows() -> dict[str, Session]:
    return {row.name: row for row in Session.objects.live()}


def ours_after_a_look() -> bool:
    reconcile.look()
    return True


def looked(lookout: Lookout | None = None) -> dict[str, Session]:
    (lookout or Lookout(patience=PATIENCE)).look()
    return rows()


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0
