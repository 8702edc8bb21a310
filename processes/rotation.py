"""Keeps the logs of this node from growing without bound. Runs in the node daemon."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from common.containment import stays_inside
from common.errors import GaiaError
from common.home import gaia_home
from events import log
from events.models import Level
from processes.actions import logs
from processes.models import Node, Process

_MEGABYTE = 1_000_000
_NEXT_TRY_S = 3600.0
_OLD_EVERY_S = 3600.0


class Rotation:
    """Trims every log that is written now, and removes those of old operations.

    Args:
        node: whose.
        clock: seconds that only ever grow.
    """

    def __init__(self, node: Node, clock: Callable[[], float] = time.monotonic) -> None:
        self._node = node
        self._clock = clock
        self._put_off: dict[Path, float] = {}
        self._flood_told: dict[Path, float] = {}
        self._old_at = clock()

    def turn(self) -> None:
        """Look at every log once. One that cannot be trimmed is told once, and tried again after an hour."""
        limit = settings.GAIA["processes.log_mb"] * _MEGABYTE
        for path in sorted(self._logs()):
            if self._clock() < self._put_off.get(path, 0.0):
                continue
            try:
                moved = logs.trim(path, timezone.now(), limit=limit, archives=settings.GAIA["processes.log_archives"])
            except (GaiaError, OSError) as error:
                self._tell(path, error)
            else:
                self._put_off.pop(path, None)
                if moved.dropped:
                    self._tell_flood(path, moved.dropped)
        if self._clock() >= self._old_at:
            self._old_at = self._clock() + _OLD_EVERY_S
            logs.remove_old(gaia_home().processes, timezone.now(), days=settings.GAIA["processes.log_days"])

    def _logs(self) -> set[Path]:
        """Those in the home, the daemon's own among them, and those that live processes write elsewhere."""
        home = gaia_home()
        written = Process.objects.active().filter(node=self._node).values_list("log", "cwd")
        elsewhere = {Path(log) for log, cwd in written if not _leads_out(Path(log), Path(cwd))}
        return {*home.logs.glob("*.log"), *home.processes.glob("*.log"), *elsewhere}

    def _tell(self, path: Path, error: Exception) -> None:
        known = path in self._put_off
        self._put_off[path] = self._clock() + _NEXT_TRY_S
        if known:
            return
        fix = error.fix if isinstance(error, GaiaError) else ""
        with log.atomic():
            log.emit(
                "log.not_trimmed", subject=f"node/{self._node.name}", level=Level.WARNING,
                message=f"A log grows and cannot be trimmed: {error}. {fix}".rstrip(), path=str(path),
            )  # fmt: skip

    def _tell_flood(self, path: Path, dropped: int) -> None:
        """Once an hour, or a flood would flood the events as well."""
        if self._clock() < self._flood_told.get(path, 0.0):
            return
        self._flood_told[path] = self._clock() + _NEXT_TRY_S
        with log.atomic():
            log.emit(
                "log.flooded", subject=f"node/{self._node.name}", level=Level.WARNING,
                message=f"{path} grows faster than it can be archived: {dropped / _MEGABYTE:.0f} MB were given up, the "
                "oldest first", path=str(path), dropped=dropped,
            )  # fmt: skip


def _leads_out(path: Path, cwd: Path) -> bool:
    """Whether a link has come to lead out of a checkout: agents write there, and what it names is not ours to cut."""
    return path.is_relative_to(cwd) and not stays_inside(cwd, path)
