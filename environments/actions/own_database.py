"""Restoring GAIA's own database with GAIA down. Nothing here reads it: it may be what is broken, or gone."""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connections
from django.utils import timezone

from common.errors import Conflict, NotFound, Refused
from common.files import file_lock
from common.home import gaia_home
from environments.actions import backups
from environments.actions.databases import OWN_CALLED, Database, directory
from environments.actions.restores import compare, free_directory
from environments.drivers import backup_files, backup_restore
from environments.drivers import databases as files
from environments.drivers.backup_files import OWN, SQLITE, Facts
from environments.drivers.databases import DatabaseDamaged
from environments.drivers.trash import stamp
from events import log
from events.models import Level
from processes.actions.nodes import daemon_runs


def own_backups() -> list[Facts]:
    """Backups of GAIA's own database by their files, oldest first."""
    return [facts for facts in backup_files.all_known(directory()) if facts.of == OWN]


def every_file() -> list[dict[str, Any]]:
    """Backups of all databases by their files, newest first: for when the database that lists them is broken."""
    return [
        {
            "name": facts.name,
            "of": OWN_CALLED if facts.of == OWN else facts.of,
            "state": "verified",
            "reason": facts.reason,
            "size": facts.size,
            "created_at": facts.taken_at,
            "path": str(facts.file_in(directory())),
        }
        for facts in reversed(backup_files.all_known(directory()))
    ]


def own_backup(name: str) -> Facts | None:
    """What is known of the backup of that name, if it is one of GAIA's own database; `gaia` means the newest.

    Raises: NotFound when the newest is asked for and there is none.
    """
    if name == OWN:
        known = own_backups()
        if not known:
            raise NotFound(f"there is no backup of {OWN_CALLED}", meaning=f"None is described in {directory()}.")
        return known[-1]
    facts = backup_files.known(directory(), name)
    return facts if facts is not None and facts.of == OWN else None


def preview_own(facts: Facts) -> dict[str, Any]:
    """What restoring it would change, as `restores.preview` tells of others."""
    database = Database()
    now: dict[str, Any] = {"exists": True, "size": 0, "modified": None, "tables": None, "problem": ""}
    if database.engine == SQLITE:
        now = files.look(database.file)
    return {
        "backup": facts.name,
        "age_s": (timezone.now() - facts.moment).total_seconds(),
        "target": database.place,
        "now": now,
        "unpacked": facts.unpacked,
        "orphans": facts.orphans,
        "check": facts.check,
        "tables": compare(now["tables"], facts.tables),
        "runs": None,
        "problems": ["GAIA runs. Stop it first: gaia down"] if daemon_runs() else [],
    }


def restore_own(facts: Facts) -> dict[str, Any]:
    """Put a backup in the place of GAIA's own database; what is there is backed up, or salvaged if it is damaged.

    Killed at any moment, the old database is there, or the new one.

    Returns: `{name, of, taken_at, before, salvaged, tables}`.
    Raises: Refused for PostgreSQL; Conflict while GAIA runs or somebody has the database open; NotFound,
    DatabaseDamaged for a backup that is spoiled; Unavailable.
    """
    database, file = Database(), facts.file_in(directory())
    if database.engine != SQLITE or facts.engine != SQLITE:
        raise _by_hand(file, facts)
    timeout = settings.GAIA["backups.timeout"]
    with ExitStack() as held:
        held.enter_context(_gaia_down())
        held.enter_context(database.lock(timeout=5.0))
        connections.close_all()
        held.callback(backup_restore.clear_place, database.file)
        backup_files.require_same(file, facts.sha256)
        backup_restore.clear_place(database.file)
        new = backup_restore.place_for(database.file)
        backup_files.unpack(file, new, timeout=timeout)
        contents = backup_files.examine_copy(new, file, timeout=timeout)
        before, salvaged = _save(database, f"before restoring {facts.name}"[:100])
        backup_restore.put_in_place(new, database.file)
    return {
        "name": facts.name,
        "of": OWN_CALLED,
        "taken_at": facts.taken_at,
        "before": before.name if before else None,
        "salvaged": str(salvaged) if salvaged else None,
        "tables": dict(contents.tables),
    }


def record_own_restored(done: dict[str, Any]) -> dict[str, list[str]]:
    """Tell the restored database, which is migrated by now, what became of it and which backups there are.

    Returns: as `backups.adopt_files`.
    """
    found = backups.adopt_files()
    with log.atomic():
        log.emit(
            "backup.restored",
            subject=f"backup/{done['name']}",
            message=f"{done['name']} was restored into {OWN_CALLED}; what happened after it was taken is not in it",
            level=Level.WARNING,
            of=OWN,
            before=done["before"],
            salvaged=done["salvaged"],
        )
    return found


def _gaia_down() -> Any:
    """Keep GAIA down while it lasts. Raises: Conflict when it runs."""
    if daemon_runs():
        raise Conflict(
            "GAIA runs",
            meaning="Its own database cannot be replaced under it, so nothing was done.",
            fix="Stop it first: gaia down. Stages and sessions can go on: gaia down --keep-stages.",
        )
    return file_lock(gaia_home().run / "node.lock", what="this GAIA")


def _save(database: Database, reason: str) -> tuple[Facts | None, Path | None]:
    if not database.file.exists():
        return None, None
    try:
        with backup_restore.kept_from_writing(database.file):
            facts, _ = backups.take_files(database, backups.new_facts(database, reason, timezone.now()))
        return facts, None
    except DatabaseDamaged:
        place = free_directory(settings.GAIA.home.salvage / f"{database.label}-database-{stamp()}")
        backup_restore.salvage_raw(database.file, place)
        return None, place


def _by_hand(file: Path, facts: Facts) -> Refused:
    database = Database()
    if facts.engine == SQLITE or database.engine == SQLITE:
        return Refused(
            f"{facts.name} is a backup of a {facts.engine} database, and GAIA is set to use {database.engine}",
            fix="Set database.url as it was when the backup was taken.",
        )
    server = database.server
    words = ["pg_restore", "--clean", "--if-exists", "--no-owner", f"--dbname={server.conninfo()}", str(file)]
    return Refused(
        "a PostgreSQL database is restored by PostgreSQL's own program",
        meaning="GAIA may not be the only one who uses that server, so it replaces nothing there by itself.",
        fix=f"With GAIA down (gaia down): {shlex.join(words)}",
    )
