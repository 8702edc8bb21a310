"""A stage's damaged or missing database: salvaged, and made again from its newest backup or what can be read."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings

from common.errors import Conflict, GaiaError, NotFound, Refused
from environments.actions import backups, restores
from environments.actions.databases import Database
from environments.actions.exclusive import project_lock
from environments.drivers import backup_files, backup_restore
from environments.drivers import databases as files
from environments.drivers.backup_restore import Recovered
from environments.drivers.databases import DatabaseDamaged, Watch
from environments.models import Backup, Stage
from environments.states import EnvironmentState
from events import log
from events.models import Level
from processes.actions.operations import request_operation
from processes.models import Operation

KIND = "environment.repair_database"
WHOLE, BACKUP, RECOVERED, EMPTY = "whole", "backup", "recovered", "empty"


def request_repair(
    stage: Stage, *, restart: bool = False, idempotency_key: str | None = None, detached: bool = True
) -> Operation:
    """Ask for a stage's database to be looked at, and made again if it is damaged or missing.

    Args:
        restart: stop the stage for it if it runs, and start it again.

    Raises: Conflict when another operation is at it.
    """
    return request_operation(
        KIND,
        f"Repair of {Database(stage).called}",
        subject=stage.owner,
        params={"stage": stage.pk, "restart": restart},
        idempotency_key=idempotency_key,
        detached=detached,
    )


def repair(pk: int, *, restart: bool = False, watch: Watch | None = None) -> dict[str, Any]:
    """Make a stage's database again when it is not whole.

    1. it is examined; when it is whole nothing is done
    2. its files are salvaged as they are, and what can still be read of them goes into a database beside them
    3. the newest verified backup takes its place; without one what could be read, if that is whole; else an empty one

    Returns: `{of, was, salvaged, recovered, made_from, backup, restarted}`; `made_from` is whole (nothing was done),
    backup, recovered or empty.
    Raises: Conflict when the stage runs and `restart` was not said; Unavailable.
    """
    stage = Stage.objects.select_related("environment__project").filter(pk=pk).first()
    if stage is None or stage.environment.state not in (EnvironmentState.READY, EnvironmentState.DAMAGED):
        raise NotFound("the environment is not there any more", fix="gaia env setup makes it again.")
    database = Database(stage)
    if database.engine != backup_files.SQLITE:
        raise Refused(
            f"{database.called} is on a PostgreSQL server",
            meaning="GAIA replaces nothing there by itself.",
            fix=f"Look at it with psql; its backups: gaia backup list {stage.environment.directory}",
        )
    told: dict[str, Any] = {
        "of": database.called, "was": "", "salvaged": None, "recovered": None, "made_from": WHOLE, "backup": None,
        "restarted": False,
    }  # fmt: skip
    with ExitStack() as held:
        held.enter_context(project_lock(stage.environment.project.name))
        held.enter_context(database.lock(timeout=5.0))
        told["was"] = _what_is_wrong(database.file, watch)
        if not told["was"]:
            return told
        held.callback(backup_restore.clear_place, database.file)
        with restores.stopped(stage, restart=restart) as restarted:
            told |= _make_again(database, watch)
            _record(database, told)
        told["restarted"] = bool(restarted)
    return told


def _what_is_wrong(file: Path, watch: Watch | None) -> str:
    """Empty when the database is whole."""
    try:
        files.examine(file, timeout=settings.GAIA["backups.timeout"], watch=watch)
    except (DatabaseDamaged, NotFound) as error:
        return error.what
    return ""


def _make_again(database: Database, watch: Watch | None) -> dict[str, Any]:
    directory = recovered = None
    if database.file.exists():
        directory = restores.salvage_files(database)
        recovered = backup_restore.recover(
            directory / database.file.name, directory / "recovered.sqlite3", timeout=settings.GAIA["backups.timeout"]
        )
    new = backup_restore.place_for(database.file)
    backup = _from_backup(database, new, watch)
    made_from = BACKUP if backup else RECOVERED if _from_recovered(directory, recovered, new) else EMPTY
    if made_from == EMPTY:
        backup_restore.clear_place(database.file)
        database.file.parent.mkdir(parents=True, exist_ok=True)
        backup_restore.make_empty(new)
    backup_restore.put_in_place(new, database.file)
    return {
        "salvaged": str(directory) if directory else None,
        "recovered": asdict(recovered) if recovered else None,
        "made_from": made_from,
        "backup": backup.name if backup else None,
    }


def _from_backup(database: Database, new: Path, watch: Watch | None) -> Backup | None:
    """The newest backup that is still whole, made ready; those that are not are failed on the way."""
    timeout = settings.GAIA["backups.timeout"]
    while (backup := backups.newest_of(database)) is not None:
        try:
            backup_restore.clear_place(database.file)
            database.file.parent.mkdir(parents=True, exist_ok=True)
            packed = backups.file_of(backup)
            backup_files.require_same(packed, backups.facts_of(backup).sha256)
            backup_files.unpack(packed, new, timeout=timeout)
            backup_files.examine_copy(new, packed, timeout=timeout, watch=watch)
            return backup
        except (DatabaseDamaged, NotFound) as error:
            if not backups.record_spoiled(backup, error):
                raise Conflict(f"the backup {backup.name} is being worked with", fix="Run it again.") from error
    return None


def _from_recovered(directory: Path | None, recovered: Recovered | None, new: Path) -> bool:
    """Make ready what could be read; False when there is nothing of it or it is not whole."""
    if directory is None or recovered is None or not any(recovered.tables.values()):
        return False
    try:
        files.examine(directory / "recovered.sqlite3", timeout=settings.GAIA["backups.timeout"])
        new.unlink(missing_ok=True)
        backup_restore.copy_closed(directory / "recovered.sqlite3", new)
    except GaiaError:
        return False
    return True


def _record(database: Database, told: dict[str, Any]) -> None:
    how = {
        BACKUP: f"from the backup {told['backup']}",
        RECOVERED: "from what could be read of it",
        EMPTY: "anew, empty: there is no backup of it, and nothing of it could be read",
    }[told["made_from"]]
    with log.atomic():
        log.emit(
            "database.repaired",
            subject=database.key,
            message=f"{database.called[0].upper()}{database.called[1:]} was made {how}",
            level=Level.WARNING,
            **told,
        )
