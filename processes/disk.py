"""Says when the disk of GAIA's home is full, and when there is room again.

A full disk ends nothing: what runs goes on, what cannot be written is tried again, and the ends of processes are known
from waiting for them, from the kernel and from the journal. Logs that are too long give their oldest lines up.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from django.db import DatabaseError
from django.utils import timezone

from common.durations import format_duration
from common.home import gaia_home
from events import log
from events.models import Level
from processes.models import Node

logger = logging.getLogger(__name__)

_FULL_BYTES = 1 << 20
_ROOM_BYTES = 2 << 20  # more than what makes it full, or it would be told again and again


class DiskWatch:
    """Looks at the disks of the home: its database, and the logs and journals of processes may be on different ones.

    Args:
        node: whose.
        clock: seconds that only ever grow.
    """

    def __init__(self, node: Node, clock: Callable[[], float] = time.monotonic) -> None:
        self._node = node
        self._clock = clock
        self._full: dict[Path, tuple[float, datetime, bool]] = {}  # since when, by both clocks, and whether it was told

    def turn(self) -> None:
        """Look once. What cannot be said while the disk is full is said afterwards."""
        home = gaia_home()
        for directory in (home.data, home.processes):
            try:
                facts = os.statvfs(directory)
            except OSError:  # not made yet, or gone for a moment
                continue
            self._see(directory, facts.f_bavail * facts.f_frsize)

    def _see(self, directory: Path, free: int) -> None:
        known = self._full.get(directory)
        if known is None and free < _FULL_BYTES:
            self._full[directory] = (self._clock(), timezone.now(), False)
            logger.error("the disk of %s is full", directory)
        elif known is not None and free >= _ROOM_BYTES:
            self._tell_room(directory, *known)
            del self._full[directory]
        if directory in self._full and not self._full[directory][2]:
            self._tell_full(directory)

    def _tell_full(self, directory: Path) -> None:
        since, at, _ = self._full[directory]
        try:
            with log.atomic():
                log.emit(
                    "node.disk_full", subject=f"node/{self._node.name}", level=Level.ERROR,
                    message=f"The disk of {directory} is full: what runs goes on, its output is lost, and nothing new "
                    "can be written down. Make room; GAIA goes on by itself", path=str(directory),
                )  # fmt: skip
        except DatabaseError:  # the database is on that disk
            return
        self._full[directory] = (since, at, True)

    def _tell_room(self, directory: Path, since: float, at: datetime, told: bool) -> None:
        took = format_duration(self._clock() - since)
        with log.atomic():
            log.emit(
                "node.disk_has_room", subject=f"node/{self._node.name}", level=Level.INFO if told else Level.WARNING,
                message=f"The disk of {directory} has room again; it was full for {took}", path=str(directory),
                since=at.isoformat(),
            )  # fmt: skip
