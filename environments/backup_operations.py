"""The long operations of databases, run by `manage.py operate`: backups, verifying, restoring, repair."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import Any

from django.db import connection

from common.errors import Cancelled, Conflict, GaiaError, InvalidInput, NotFound, Refused, Unavailable
from environments.actions import backups, repair, restores
from environments.actions.databases import Database, databases
from environments.actions.restores import save_what_is_there
from environments.drivers.databases import Watch
from environments.models import Backup, Stage
from processes.actions.operations import Progress

_AT_ONCE = 2
_LOOK_S = 0.2
_KINDS: tuple[type[GaiaError], ...] = (Cancelled, InvalidInput, NotFound, Conflict, Refused, Unavailable)


def back_up(progress: Progress, *, stages: list[int], own: bool, reason: str) -> dict[str, Any]:
    """Back up databases, two at a time; one that fails keeps none of the others.

    Args:
        stages: ids of the stages.
        own: GAIA's own, too.

    Returns: `{taken: [{name, of, size}], failed: {}}`.
    Raises: GaiaError when any failed, or Cancelled; `detail` has what was taken.
    """
    rows = Stage.objects.filter(pk__in=stages).select_related("environment__project")
    chosen = databases(stages=list(rows), own=own)
    taken, failed = Round(progress, chosen, reason).run()
    result = {"taken": [_told(each) for each in taken], "failed": {name: error.what for name, error in failed.items()}}
    if failed:
        raise _failure(failed, len(chosen), result)
    progress(1, 1, f"{len(taken)} databases backed up" if len(taken) != 1 else f"Backed up as {taken[0].name}")
    return result


def _told(backup: Backup) -> dict[str, Any]:
    return {"name": backup.name, "of": Database(backup.stage).called, "size": backup.size}


class Round:
    """Some databases, backed up two at a time in threads of their own; rows are written there, too."""

    def __init__(self, progress: Progress, chosen: Sequence[Database], reason: str) -> None:
        self._progress = progress
        self._chosen = chosen
        self._reason = reason
        self._ended = threading.Event()
        self._done: dict[str, float] = {}
        self._taken: list[Backup] = []
        self._failed: dict[str, GaiaError] = {}

    def run(self) -> tuple[list[Backup], dict[str, GaiaError]]:
        """Returns: what was taken, and the errors by label. Raises: Cancelled when nothing else failed."""
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="backup") as pool:
            waiting = {pool.submit(copy_context().run, self._take, each): each for each in self._chosen}
            try:
                while waiting:
                    done, _ = wait(waiting, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
                    for future in done:
                        self._ended_one(waiting.pop(future), future)
                    self._tell()
                    self._progress.check_cancelled()
            finally:
                self._ended.set()  # who cancels does not wait for the rest
        return self._taken, self._failed

    def _take(self, database: Database) -> Backup:
        try:
            self._watch(database)(0.0)
            return backups.take_backup(database.stage, reason=self._reason, watch=self._watch(database))
        finally:
            connection.close()

    def _watch(self, database: Database) -> Watch:
        def watch(fraction: float) -> None:
            self._done[database.key] = fraction
            if self._ended.is_set():
                raise Cancelled(f"the backup of {database.called} was cancelled")

        return watch

    def _ended_one(self, database: Database, future: Future[Backup]) -> None:
        try:
            self._taken.append(future.result())
        except GaiaError as error:
            self._failed[database.label] = error
        self._done[database.key] = 1.0

    def _tell(self) -> None:
        left = len(self._chosen) - len(self._taken) - len(self._failed)
        at_it = [each.label for each in self._chosen if 0 < self._done.get(each.key, 0.0) < 1]
        text = f"Backing up {', '.join(at_it[:_AT_ONCE])}" if at_it else f"Backing up: {left} to go"
        self._progress(sum(self._done.values()), len(self._chosen) * 1.01, text)


def _failure(failed: dict[str, GaiaError], count: int, result: dict[str, Any]) -> GaiaError:
    """One error for those that failed, of the kind of the first one."""
    name, first = next(iter(failed.items()))
    kind = next((kind for kind in _KINDS if isinstance(first, kind)), GaiaError)
    what = f"{len(failed)} of {count} backups failed; {name}: {first.what}" if count > 1 else first.what
    return kind(what, meaning=first.meaning, fix=first.fix, **result)


def verify(progress: Progress, *, name: str) -> dict[str, Any]:
    """Restore a backup into a scratch place once more. Returns: `{name, verified_at}`. Raises: as `backups.verify`."""
    backup = backups.verify(backups.find_backup(name), _watch(progress, f"Restoring {name} into a scratch place"))
    progress(1, 1, f"{name} is whole")
    return {"name": name, "verified_at": backup.verified_at.isoformat() if backup.verified_at else None}


def restore(progress: Progress, *, name: str, restart: bool) -> dict[str, Any]:
    """Put a backup in the place of a stage's database. Returns and raises: as `restores.restore`."""
    result = restores.restore(name, restart=restart, watch=_watch(progress, f"Restoring {name}"))
    progress(1, 1, f"{name} was restored into {result['of']}")
    return result


def repair_database(progress: Progress, *, stage: int, restart: bool) -> dict[str, Any]:
    """Make a stage's database again when it is damaged. Returns and raises: as `repair.repair`."""
    result = repair.repair(stage, restart=restart, watch=_watch(progress, "Examining the database"))
    whole = result["made_from"] == repair.WHOLE
    progress(1, 1, f"{result['of']} is whole" if whole else f"{result['of']} was made again")
    return result


def save_databases(progress: Progress, stages: Sequence[Stage], reason: str) -> list[dict[str, Any]]:
    """Back up databases before something is done to them; a damaged one is salvaged as it is.

    Returns: `[{of, backup, salvaged}]`, without those that have none.
    Raises: GaiaError when one can be neither; Cancelled.
    """
    saved = []
    for number, stage in enumerate(stages):
        database = Database(stage)
        progress(number, len(stages), f"Backing up {database.called}")
        with database.lock(timeout=5.0):
            backup, directory = save_what_is_there(database, reason, lambda _: progress.check_cancelled())
        if backup or directory:
            salvaged = str(directory) if directory else None
            saved.append({"of": database.called, "backup": backup.name if backup else None, "salvaged": salvaged})
    return saved


def _watch(progress: Progress, text: str) -> Watch:
    return lambda fraction: progress(fraction, 1.02, text)  # never the end: it says itself when it is done
