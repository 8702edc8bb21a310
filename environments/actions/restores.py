"""Bringing a backup back: what would change, and the change itself, before which what is there now is saved."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from common.errors import Conflict, GaiaError, NotFound, Refused
from environments.actions import backups, stages
from environments.actions.backups import facts_of, find_backup
from environments.actions.databases import Database, of_backup, present
from environments.actions.exclusive import project_lock
from environments.drivers import backup_files, backup_restore
from environments.drivers import databases as files
from environments.drivers.backup_files import SQLITE
from environments.drivers.databases import DatabaseDamaged, Watch
from environments.drivers.launching import kept_from_starting, stage_paths
from environments.drivers.trash import stamp
from environments.models import Backup, Stage
from environments.states import EnvironmentState
from events import log
from processes.actions.operations import request_operation
from processes.models import Operation, Process

KIND = "environment.restore_backup"
_PATIENCE_S = 60.0  # for a stage to end, and to answer again
_THERE = (EnvironmentState.READY, EnvironmentState.DAMAGED)


def preview(backup: Backup) -> dict[str, Any]:
    """What restoring a backup would change; touches nothing.

    Returns: `{backup, age_s, target, now, tables, runs, problems}`; `tables` has `{name, now, backup}` by name, with
    None where a table is not there or was not counted; `problems` says why it cannot be restored now.
    """
    database, facts = of_backup(backup), facts_of(backup)
    problems = _problems(backup)
    now: dict[str, Any] = {"exists": False, "size": 0, "modified": None, "tables": None, "problem": ""}
    target = ""
    try:
        target = database.place
        if facts.engine == SQLITE and database.engine == SQLITE and (database.stage is None or present(database.stage)):
            now = files.look(database.file)
        elif database.engine != SQLITE:
            now["exists"] = True
    except GaiaError as error:
        problems.append(error.what)
    owner = database.stage.owner if database.stage else ""
    running = Process.objects.active().filter(owner=owner).first()
    return {
        "backup": backup.name,
        "age_s": (timezone.now() - backup.created_at).total_seconds(),
        "target": target,
        "now": now,
        "unpacked": facts.unpacked,
        "orphans": facts.orphans,
        "check": facts.check,
        "tables": compare(now["tables"], facts.tables),
        "runs": {"pid": running.pid, "state": running.state} if running else None,
        "problems": problems,
    }


def compare(now: dict[str, int] | None, then: dict[str, int] | None) -> list[dict[str, Any]]:
    """Rows by table, now and in the backup."""
    names = sorted({*(now or {}), *(then or {})})
    return [{"name": name, "now": (now or {}).get(name), "backup": (then or {}).get(name)} for name in names]


def request_restore(
    backup: Backup, *, restart: bool = False, idempotency_key: str | None = None, detached: bool = True
) -> Operation:
    """Ask for a backup to be restored.

    Args:
        restart: stop the stage for it if it runs, and start it again.

    Raises: Conflict, NotFound, Refused when it cannot be; Conflict when the stage runs and `restart` was not said.
    """
    stage = _checked(backup)
    _refuse_running(stage, _running(stage), restart)
    return request_operation(
        KIND,
        f"Restoring of {backup.name}",
        subject=stage.owner,
        params={"name": backup.name, "restart": restart},
        idempotency_key=idempotency_key,
        detached=detached,
    )


def restore(name: str, *, restart: bool = False, watch: Watch | None = None) -> dict[str, Any]:
    """Put a backup in the place of a stage's database.

    1. it is unpacked beside the database and examined, while the stage goes on
    2. the stage is stopped if that was asked for, and nobody can launch it any more
    3. what is there now is backed up; one that is damaged is salvaged as it is, with its log of writes
    4. the new database takes the place of the old one, and is examined there
    5. a stage that was stopped for it is started again, also when something went wrong

    Killed at any moment, the old database is there, or the new one.

    Returns: `{name, of, before, salvaged, restarted, tables}`: `before` names the backup of what was there.
    Raises: Conflict, NotFound, Refused when it cannot be done; DatabaseDamaged for a spoiled backup; Unavailable.
    """
    backup = find_backup(name)
    stage = _checked(backup)
    _refuse_running(stage, _running(stage), restart)
    database, facts = Database(stage), facts_of(backup)
    timeout = settings.GAIA["backups.timeout"]
    with ExitStack() as held:
        held.enter_context(project_lock(stage.environment.project.name))
        held.enter_context(database.lock(timeout=5.0))
        held.enter_context(backups.held(backup, timeout=5.0))
        held.callback(backup_restore.clear_place, database.file)
        new = _unpacked(backup, database.file, timeout, watch)
        with stopped(stage, restart=restart) as restarted:
            before, salvaged = save_what_is_there(database, f"before restoring {backup.name}"[:100], watch)
            backup_restore.put_in_place(new, database.file)
            contents = files.examine(database.file, timeout=timeout)
            _record(backup, database, before, salvaged)
    return {
        "name": backup.name,
        "of": database.called,
        "taken_at": facts.taken_at,
        "before": before.name if before else None,
        "salvaged": str(salvaged) if salvaged else None,
        "restarted": bool(restarted),
        "tables": dict(contents.tables),
    }


def save_what_is_there(
    database: Database, reason: str, watch: Watch | None = None
) -> tuple[Backup | None, Path | None]:
    """Back up a database that is about to be replaced, or salvage its files when it is damaged.

    The caller holds the database's lock.

    Returns: the backup, or the directory with the files; neither when there was nothing.
    """
    try:
        # what somebody wrote after the copy would be in neither
        with backup_restore.kept_from_writing(database.file):
            return backups.take_locked(database, reason=reason, watch=watch), None
    except NotFound:
        return None, None
    except DatabaseDamaged:
        return None, salvage_files(database)


def salvage_files(database: Database, now: datetime | None = None) -> Path:
    """Copy a database's files as they are to the salvage, and say so. Returns: the directory they lie in."""
    directory = free_directory(settings.GAIA.home.salvage / f"{database.label}-database-{stamp(now)}")
    copies = backup_restore.salvage_raw(database.file, directory)
    with log.atomic():
        log.emit(
            "database.salvaged",
            subject=database.key,
            message=f"The files of {database.called} were salvaged as they were, in {directory}",
            directory=str(directory),
            files=[copy.name for copy in copies],
        )
    return directory


def free_directory(directory: Path) -> Path:
    """The directory, or one beside it with a number, that is not there yet."""
    names = (directory if number == 1 else directory.with_name(f"{directory.name}-{number}") for number in range(1, 99))
    return next(each for each in names if not each.exists())


@contextmanager
def stopped(stage: Stage, *, restart: bool) -> Iterator[list[str]]:
    """Keep a stage from running while the block lasts; its launch lock is held, so that no script launches it.

    Args:
        restart: stop it if it runs, and start it again afterwards.

    Yields: a list that has something in it once it was started again.
    Raises: Conflict when it runs and `restart` was not said.
    """
    _refuse_running(stage, _running(stage), restart)
    was_running = restart and Path(stage.environment.path).is_dir() and stages.bring_down(stage, timeout=_PATIENCE_S)
    restarted: list[str] = []
    try:
        with ExitStack() as held:
            path = Path(stage.environment.path)
            if stage_paths(path, stage.name).lock.is_file():
                what, fix = f"{stage.called} runs again", "Stop whoever starts it, and run this again."
                held.enter_context(kept_from_starting(path, stage.name, what=what, fix=fix))
            yield restarted
    finally:
        if was_running:
            stages.bring_up(stage, timeout=_PATIENCE_S)
            restarted.append(stage.owner)


def _checked(backup: Backup) -> Stage:
    """The stage that a backup can be restored to now. Raises: what keeps it from being restored."""
    backups.require_there(backup)
    if backup.stage is None:
        raise Refused(
            f"{backup.name} is a backup of GAIA's own database, which is in use",
            meaning="Replacing it would take away what every part of GAIA writes at this moment.",
            fix=f"gaia down, then gaia backup restore {backup.name}, then gaia up.",
        )
    stage = present(backup.stage)
    if stage is None:
        raise NotFound(
            f"the environment {backup.stage.environment.directory} is not there any more",
            fix="Make it again with gaia env setup, then restore the backup.",
        )
    if stage.environment.state not in _THERE:
        raise Conflict(
            f"environment {stage.environment.directory} is {stage.environment.get_state_display().lower()}",
            fix="Wait until that has ended.",
        )
    if not Path(stage.environment.path).is_dir():
        raise NotFound(f"the checkout {stage.environment.path} is missing", fix="Repair it: gaia env setup.")
    _check_engine(backup, stage)
    return stage


def _check_engine(backup: Backup, stage: Stage) -> None:
    """Raise Refused for a backup that does not fit the engine of the stage's layer, or that is PostgreSQL's."""
    database, facts = Database(stage), facts_of(backup)
    if facts.engine != database.engine:
        fits = "local" if facts.engine == SQLITE else "one with PostgreSQL"
        raise Refused(
            f"{backup.name} is a backup of a {facts.engine} database, and {stage.called} works with {database.engine}",
            meaning=f"Its environment is in layer {stage.environment.layer_name}.",
            fix=f"Put it into another layer ({fits}) first: gaia layer set {stage.environment.directory} LAYER",
        )
    if facts.engine != SQLITE:
        server = database.server
        words = ["pg_restore", "--clean", "--if-exists", "--no-owner", f"--dbname={server.conninfo()}"]
        raise Refused(
            "a PostgreSQL database is restored by PostgreSQL's own program",
            meaning="GAIA may not be the only one who uses that server, so it replaces nothing there by itself.",
            fix=f"With the stage stopped: {shlex.join([*words, str(backups.file_of(backup))])}",
        )


def _problems(backup: Backup) -> list[str]:
    try:
        _checked(backup)
    except GaiaError as error:
        return [f"{error.what}. {error.fix}".strip()]
    return []


def _refuse_running(stage: Stage, running: Process | None, restart: bool) -> None:
    if running is not None and not restart:
        raise Conflict(
            f"{stage.called} runs (pid {running.pid})",
            meaning="It would go on with a database that is not there any more.",
            fix="Say --restart to have it stopped and started again, or stop it first: "
            f"gaia env stop {stage.environment.directory} {stage.name}.",
            pid=running.pid,
        )


def _running(stage: Stage) -> Process | None:
    """Its live process; what its scripts did is noticed first."""
    return stages.notice_scripts(stage) if Path(stage.environment.path).is_dir() else None


def _unpacked(backup: Backup, file: Path, timeout: float, watch: Watch | None) -> Path:
    """The backup, restored beside the database's place and examined."""
    try:
        packed = backups.file_of(backup)
        backup_files.require_same(packed, facts_of(backup).sha256)
        backup_restore.clear_place(file)
        file.parent.mkdir(parents=True, exist_ok=True)
        new = backup_restore.place_for(file)
        backup_files.unpack(packed, new, timeout=timeout)
        backup_files.examine_copy(new, packed, timeout=timeout, watch=watch)
    except (DatabaseDamaged, NotFound) as error:
        backups.record_spoiled(backup, error)
        raise
    return new


def _record(backup: Backup, database: Database, before: Backup | None, salvaged: Path | None) -> None:
    kept = (
        f"; what was there is {before.name}" if before else f"; what was there lies in {salvaged}" if salvaged else ""
    )
    with log.atomic():
        log.emit(
            "backup.restored",
            subject=backup.key,
            message=f"{backup.name} was restored into {database.called}{kept}",
            of=database.key,
            before=before.name if before else None,
            salvaged=str(salvaged) if salvaged else None,
        )
