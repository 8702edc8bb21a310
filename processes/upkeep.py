"""Who keeps processes up: what the reconciler asks of him, and what it does when he stumbles."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from django.db import DatabaseError, InterfaceError, OperationalError

from common.errors import GaiaError
from events import log
from processes.models import Process

logger = logging.getLogger(__name__)

# The disk is full, the database does not answer, …: one line says it. Anything else is a defect, and has a traceback.
FORESEEN = (GaiaError, OSError, DatabaseError, InterfaceError)
NO_DATABASE = (OperationalError, InterfaceError)
"""What the database does not take from a keeper, it would not take from the reconciler."""


class Keeper(Protocol):
    """Keeps some processes up: asked here, in the reconciler's thread, so that a crash is answered at once.

    `over`: ids of processes that are known to have ended, or are being ended, whatever their rows say yet.
    """

    def before_end(self, process: Process, over: Collection[int]) -> Callable[[], Process | None] | None:
        """A process is about to be written down as ended; the time to look at the world.

        Returns: what is called in the transaction that says how it ended, and gives back a start that is to be carried
        out at once; None when the process is none of its.
        """

    def started(self, process: Process) -> None:
        """A process runs; called in the transaction that says so."""

    def tick(self, over: Collection[int]) -> Sequence[Process]:
        """Look at everything. Returns: starts that are to be carried out at once."""

    def due_in(self) -> float | None:
        """Seconds until the next look is due; None when nothing waits for its time."""


def keep_apart(keep: Callable[[], Any]) -> None:
    """Have the keeper write; when it stumbles, what is written besides stays."""
    try:
        with log.atomic():
            keep()
    except NO_DATABASE:
        raise
    except Exception as error:
        tell_stumble(error)


def follow_on(follow: Callable[[], Process | None] | None, starts: list[Process]) -> None:
    start = follow() if follow is not None else None
    if start is not None:
        starts.append(start)


def tell_stumble(error: Exception) -> None:
    """What the keeper has not done in time, its tick does."""
    defect = not isinstance(error, FORESEEN)
    logger.log(
        logging.ERROR if defect else logging.INFO,
        "%s: %s",
        type(error).__name__,
        error,
        exc_info=error if defect else None,
    )
