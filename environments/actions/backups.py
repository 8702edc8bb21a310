"""Backups of databases: taken, verified again, deleted, and what an interrupted one left cleared away."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from common.errors import Conflict, GaiaError, NotFound
from common.files import file_lock
from common.locks import lock_held
from environments.actions.databases import Database, directory, lock_path, of_backup
from environments.drivers import backup_files
from environments.drivers.backup_files import SQLITE, Facts
from environments.drivers.backup_postgres import take_postgres, verify_postgres
from environments.drivers.databases import DatabaseDamaged, Watch
from environments.models import Backup, Stage
from environments.states import BackupState
from events import log
from events.models import Level

SCHEDULE = "schedule"
ON_DEMAND = "on demand"
_LOCK_PATIENCE_S = 5.0


def take_backup(
    stage: Stage | None, *, reason: str = ON_DEMAND, watch: Watch | None = None, now: datetime | None = None
) -> Backup:
    """Copy a database while it is in use, pack the copy, and verify it by restoring it.

    Args:
        stage: whose; None means GAIA's own.
        reason: why, for whoever reads the list.
        watch: told how far it is; what it raises ends it.

    Raises: NotFound when there is none; DatabaseDamaged, then an older backup is what there is; Conflict when it is
    being backed up or replaced at this moment; Unavailable when the disk is full or it took too long.
    """
    database = Database(stage)
    with database.lock(timeout=_LOCK_PATIENCE_S):
        return take_locked(database, reason=reason, watch=watch, now=now)


def take_locked(database: Database, *, reason: str, watch: Watch | None = None, now: datetime | None = None) -> Backup:
    """As `take_backup`, for who holds the database's lock."""
    fail_interrupted(database.key)
    if database.engine == SQLITE and not database.file.is_file():
        raise NotFound(f"{database.called} is not there", meaning=f"There is no {database.place}.")
    backup, facts = _begin(database, reason, now or timezone.now())
    try:
        taken, _ = take_files(database, facts, watch)
    except GaiaError as error:
        _record_failed(backup, error.what)
        if isinstance(error, DatabaseDamaged):
            error.fix = how_to_mend(database)
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            log.start_over()
        _record_failed(backup, "it was interrupted" if isinstance(error, KeyboardInterrupt) else str(error))
        raise
    log.change(
        backup,
        BackupState.VERIFIED,
        kind="backup.taken",
        message=f"{database.called[0].upper()}{database.called[1:]} was backed up as {backup.name} ({reason})",
        fields={"size": taken.size, "sha256": taken.sha256, "verified_at": timezone.now(), "problem": ""},
        **told(taken),
    )
    return backup


def take_files(database: Database, facts: Facts, watch: Watch | None = None) -> tuple[Facts, Path]:
    """The backup's files, without a row: for who has no database of GAIA's to write to."""
    timeout = settings.GAIA["backups.timeout"]
    if database.engine == SQLITE:
        return backup_files.take_sqlite(database.file, directory(), facts, timeout=timeout, watch=watch)
    return take_postgres(database.server, directory(), facts, timeout=timeout, watch=watch)


def how_to_mend(database: Database) -> str:
    """What somebody can do whose database is damaged."""
    if database.stage is None:
        return "Restore its newest backup: gaia down, then gaia backup restore gaia, then gaia up."
    return f"gaia env repair-database {database.stage.environment.directory} {database.stage.name} makes it again."


def new_facts(
    database: Database, reason: str, now: datetime, *, taken: Callable[[str], bool] = lambda name: False
) -> Facts:
    """What is known of a backup before it is taken.

    Args:
        taken: whether a name is somebody's already.
    """
    return Facts(
        name=backup_files.new_name(directory(), database.label, now, taken),
        of=database.key,
        engine=database.engine,
        reason=reason,
        taken_at=now.astimezone(UTC).isoformat(timespec="seconds"),
        source=database.place,
    )


def _begin(database: Database, reason: str, now: datetime) -> tuple[Backup, Facts]:
    # one that was deleted has its row, and no file
    facts = new_facts(database, reason, now, taken=lambda name: Backup.objects.filter(name=name).exists())
    with log.atomic():
        backup = Backup.objects.create(
            stage=database.stage, name=facts.name, reason=reason, path=str(facts.file_in(directory())), created_at=now
        )
        log.emit("backup.started", subject=backup.key, message=f"A backup of {database.called} is being taken")
    return backup, facts


def _record_failed(backup: Backup, problem: str) -> bool:
    backup_files.remove(directory(), backup.name)
    return log.change(
        backup,
        BackupState.FAILED,
        kind="backup.failed",
        message=f"The backup {backup.name} failed: {problem}",
        level=Level.ERROR,
        fields={"problem": problem},
        of=key_of(backup),
    )


def verify(backup: Backup, watch: Watch | None = None) -> Backup:
    """Restore a backup into a scratch place once more; one that has been damaged since is failed and says so.

    Raises: Conflict for one that is not there (any more) or is being verified; DatabaseDamaged, NotFound.
    """
    require_there(backup)
    with held(backup, timeout=_LOCK_PATIENCE_S):
        facts = facts_of(backup)
        file, timeout = file_of(backup), settings.GAIA["backups.timeout"]
        try:
            if facts.engine == SQLITE:
                backup_files.verify_sqlite(file, directory(), facts, timeout=timeout, watch=watch)
            else:
                verify_postgres(file, of_backup(backup).server, facts, timeout=timeout)
        except (DatabaseDamaged, NotFound) as error:
            record_spoiled(backup, error)
            raise
    with log.atomic():
        backup.verified_at = timezone.now()
        Backup.objects.filter(pk=backup.pk).update(verified_at=backup.verified_at)
        log.emit("backup.verified", subject=backup.key, message=f"The backup {backup.name} was verified again")
    return backup


def held(backup: Backup, *, timeout: float = 0.0) -> AbstractContextManager[None]:
    """Hold the backups of a backup's database, so that none is deleted while it is read.

    Args:
        timeout: seconds to wait for another holder.

    Raises: Conflict that names the holder.
    """
    what = f"one of the backups of {Database(backup.stage).called}"
    return file_lock(lock_path(f"{key_of(backup)}/backups"), timeout=timeout, what=what)


def record_spoiled(backup: Backup, error: GaiaError) -> bool:
    """A backup that was whole is so no more. Its file stays: somebody may still read something of it."""
    return log.change(
        backup,
        BackupState.FAILED,
        before=[BackupState.VERIFIED],
        kind="backup.failed",
        message=f"The backup {backup.name} can no longer be relied upon: {error.what}",
        level=Level.ERROR,
        fields={"problem": error.what},
        of=key_of(backup),
    )


def require_there(backup: Backup) -> None:
    """Raise Conflict for a backup that cannot be restored."""
    if backup.state != BackupState.VERIFIED:
        raise Conflict(
            f"the backup {backup.name} is {backup.get_state_display().lower()}",
            meaning=backup.problem,
            fix="gaia backup list shows those that can be restored.",
        )


def delete(backup: Backup, *, why: str = "") -> bool:
    """Remove a backup's files; its row stays and says what became of it. False when it was deleted before.

    Args:
        why: for the event.

    Raises: Conflict while it is being taken or worked with.
    """
    if backup.state == BackupState.TAKING:
        raise Conflict(f"the backup {backup.name} is being taken", fix="Wait until it has ended, or cancel it.")
    if backup.state == BackupState.DELETED:
        return False
    with held(backup, timeout=_LOCK_PATIENCE_S):
        backup_files.remove(directory(), backup.name)
    return log.change(
        backup,
        BackupState.DELETED,
        kind="backup.deleted",
        message=f"The backup {backup.name} was deleted{f': {why}' if why else ''}",
        of=key_of(backup),
    )


def fail_interrupted(key: str | None = None) -> int:
    """Backups whose taker was killed are failed and what they left is removed; how many there were.

    Args:
        key: only of this database, by who holds its lock; None means of all whose lock nobody holds.
    """
    count = 0
    for backup in Backup.objects.filter(state=BackupState.TAKING).select_related("stage__environment"):
        of = key_of(backup)
        if of != key and (key is not None or lock_held(lock_path(of))):
            continue
        facts = backup_files.known(directory(), backup.name)
        if facts is not None and facts.file_in(directory()).is_file():  # it was killed after all was done
            _finish(backup, facts)
        else:
            count += _record_failed(backup, "it was interrupted: its process was killed")
    return count


def find_backup(name: str) -> Backup:
    """The backup of that name. Raises: NotFound."""
    backup = Backup.objects.select_related("stage__environment__project").filter(name=name).first()
    if backup is None:
        raise NotFound(f"there is no backup {name!r}", fix="gaia backup list shows what there is.")
    return backup


def newest_of(database: Database, *, before: datetime | None = None) -> Backup | None:
    """The newest verified backup of a database, of its life before a removal, too."""
    found = Backup.objects.filter(state=BackupState.VERIFIED).select_related("stage__environment__project")
    found = found.filter(stage=None) if database.stage is None else found.filter(**same_stage(database.stage))
    if before is not None:
        found = found.filter(created_at__lt=before)
    return found.order_by("-created_at", "-id").first()


def same_stage(stage: Stage) -> dict[str, Any]:
    """Lookups for backups of a stage, whichever life of its environment they are from."""
    environment = stage.environment
    return {
        "stage__name": stage.name,
        "stage__environment__name": environment.name,
        "stage__environment__project": environment.project_id,
    }


def key_of(backup: Backup) -> str:
    """Key of the database a backup is of."""
    return Database(backup.stage).key


def file_of(backup: Backup) -> Path:
    """Where a backup lies; a home that was moved has it under another path than its row says."""
    written = Path(backup.path)
    here = directory() / written.name
    return here if here.is_file() else written


def facts_of(backup: Backup) -> Facts:
    """What is written down beside a backup, or as much as its row knows when that was lost."""
    database = Database(backup.stage)
    found = backup_files.known(directory(), backup.name)
    engine = SQLITE if backup.path.endswith(backup_files.SUFFIXES[SQLITE]) else backup_files.POSTGRES
    made = found or Facts(
        backup.name, database.key, engine, backup.reason, backup.created_at.isoformat(), "", size=backup.size
    )
    # the row's checksum counts: the description lies beside the file, where both could have been changed
    return Facts(**{**vars(made), "sha256": backup.sha256 or made.sha256})


def told(facts: Facts) -> dict[str, Any]:
    """A backup's facts as an event has them."""
    return {
        "of": facts.of,
        "engine": facts.engine,
        "size": facts.size,
        "sha256": facts.sha256,
        "tables": facts.tables,
        "orphans": facts.orphans,
        "check": facts.check,
    }


def adopt_files() -> dict[str, list[str]]:
    """Make the rows agree with the files: after GAIA's own database was restored it knows an older world.

    Returns: names of backups that were `adopted`, and of those that are `gone`.
    """
    adopted, gone = [], []
    fail_interrupted()
    rows = {backup.name: backup for backup in Backup.objects.select_related("stage__environment__project")}
    for facts in backup_files.all_known(directory()):
        row = rows.get(facts.name)
        if row is None and _adopt(facts):
            adopted.append(facts.name)
    for backup in rows.values():
        if backup.state == BackupState.VERIFIED and not file_of(backup).is_file():
            record_spoiled(backup, NotFound(f"the file {Path(backup.path).name} is gone"))
            gone.append(backup.name)
    return {"adopted": adopted, "gone": gone}


def _adopt(facts: Facts) -> bool:
    stage = None
    if facts.of != backup_files.OWN:
        directory_name, _, name = facts.of.removeprefix("environment/").rpartition("/")
        named = Stage.objects.filter(name=name).select_related("environment__project").order_by("-id")
        stage = next((each for each in named if each.environment.directory == directory_name), None)
        if stage is None:
            return False  # of an environment this database never heard of: its file stays, and so does its description
    with log.atomic():
        backup = Backup.objects.create(
            stage=stage, name=facts.name, reason=facts.reason[:100], path=str(facts.file_in(directory())),
            size=facts.size, created_at=facts.moment,
        )  # fmt: skip
        log.emit("backup.adopted", subject=backup.key, message=f"The backup {facts.name} was found and taken up")
    _finish(backup, facts)
    return True


def _finish(backup: Backup, facts: Facts) -> None:
    """Its description was written when it had been verified."""
    log.change(
        backup,
        BackupState.VERIFIED,
        kind="backup.taken",
        message=f"The backup {backup.name} is there",
        fields={"size": facts.size, "sha256": facts.sha256, "verified_at": facts.moment, "problem": ""},
        **told(facts),
    )
