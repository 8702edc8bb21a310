"""Many backups at once: asking for them, by the clock too, and deleting those whose time is over."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from common.errors import Conflict, GaiaError, NotFound
from environments.actions import backups
from environments.actions.backups import ON_DEMAND, SCHEDULE
from environments.actions.databases import Database, databases
from environments.actions.retention import Keep, Kept, expired
from environments.drivers.backup_files import OWN
from environments.models import Backup, Stage
from environments.states import BackupState
from processes.actions.operations import request_operation
from processes.models import Operation

KIND, VERIFY = "environment.backup", "environment.verify_backup"
SUBJECT = "backups"
_RETRIES = 4  # within the interval, of one that fails


def request_backups(
    stages: Sequence[Stage],
    *,
    own: bool = False,
    reason: str = ON_DEMAND,
    idempotency_key: str | None = None,
    detached: bool = True,
) -> Operation:
    """Ask for backups, as one long operation.

    Args:
        stages: whose databases; those without one are passed over.
        own: GAIA's own, too.
        reason: why, for whoever reads the list.

    Raises: NotFound when there is nothing to back up; Conflict when others are being taken.
    """
    chosen = databases(stages=stages, own=own)
    if not chosen:
        raise NotFound("there is no database to back up", fix="gaia env list shows what there is.")
    one = chosen[0].called if len(chosen) == 1 else f"{len(chosen)} databases"
    return request_operation(
        KIND,
        f"Backup of {one}",
        subject=chosen[0].key if len(chosen) == 1 and not own else SUBJECT,
        params={
            "stages": [each.stage.pk for each in chosen if each.stage],
            "own": any(each.stage is None for each in chosen),
            "reason": reason,
        },
        idempotency_key=idempotency_key,
        detached=detached,
    )


def request_verify(backup: Backup, *, idempotency_key: str | None = None, detached: bool = True) -> Operation:
    """Ask for a backup to be verified again. Raises: Conflict for one that is not there."""
    backups.require_there(backup)
    return request_operation(
        VERIFY,
        f"Verification of the backup {backup.name}",
        subject=backup.key,
        params={"name": backup.name},
        idempotency_key=idempotency_key,
        detached=detached,
    )


def due(now: datetime | None = None) -> list[Database]:
    """Databases whose last verified backup is older than `backups.interval`, or who have none.

    One that could not be backed up is tried again after a quarter of that time.
    """
    moment, interval = now or timezone.now(), timedelta(hours=settings.GAIA["backups.interval"])
    return [each for each in databases() if _is_due(each, moment - interval, moment - interval / _RETRIES)]


def _is_due(database: Database, verified_before: datetime, tried_before: datetime) -> bool:
    newest = backups.newest_of(database)
    if newest is not None and newest.created_at > verified_before:
        return False
    tried = Backup.objects.filter(state=BackupState.FAILED, stage=database.stage, created_at__gt=tried_before)
    return not tried.exists()


def request_due(now: datetime | None = None) -> Operation | None:
    """Ask for the backups whose time has come; None when there are none, or some are being taken."""
    backups.fail_interrupted()
    chosen = due(now)
    if not chosen:
        return None
    stages = [database.stage for database in chosen if database.stage]
    try:
        return request_backups(stages, own=any(each.stage is None for each in chosen), reason=SCHEDULE)
    except Conflict:
        return None


def prune(now: datetime | None = None) -> list[str]:
    """Delete the backups that are not kept; their names.

    Failed ones are forgotten after `backups.keep_daily` days. One that cannot be deleted keeps none of the others.
    """
    backups.fail_interrupted()
    moment = now or timezone.now()
    keep = Keep(*(int(settings.GAIA[f"backups.keep_{period}"]) for period in ("daily", "weekly", "monthly")))
    live = Backup.objects.filter(state__in=(BackupState.VERIFIED, BackupState.FAILED))
    rows = {backup.pk: backup for backup in live.select_related("stage__environment__project")}
    by_database: dict[Any, list[Kept]] = {}
    old = []
    for backup in rows.values():
        if backup.state == BackupState.VERIFIED:
            kept = Kept(backup.pk, backup.created_at, backup.reason == SCHEDULE)
            by_database.setdefault(_whose(backup), []).append(kept)
        elif backup.created_at < moment - timedelta(days=keep.daily):
            old.append(backup.pk)
    for each in by_database.values():
        old += expired(each, keep, moment, timezone.get_current_timezone())
    return [rows[pk].name for pk in old if _delete(rows[pk])]


def _delete(backup: Backup) -> bool:
    try:
        return backups.delete(backup, why="its time was over")
    except (GaiaError, OSError):  # it is being restored or verified, or the disk is unwilling: the next round
        return False


def _whose(backup: Backup) -> Any:
    """The same for all lives of an environment."""
    stage = backup.stage
    return (stage.environment.project_id, stage.environment.name, stage.name) if stage else OWN


def described(chosen: Sequence[Backup]) -> list[dict[str, Any]]:
    """Backups as every door shows them."""
    return [describe(backup) for backup in chosen]


def describe(backup: Backup) -> dict[str, Any]:
    """One backup as every door shows it."""
    stage = backup.stage
    return {
        "id": backup.pk,
        "name": backup.name,
        "of": Database(stage).called,
        "project": stage.environment.project.name if stage else None,
        "environment": stage.environment.directory if stage else None,
        "stage": stage.name if stage else None,
        "state": backup.state,
        "reason": backup.reason,
        "size": backup.size,
        "sha256": backup.sha256,
        "path": backup.path,
        "problem": backup.problem,
        "created_at": backup.created_at.isoformat(),
        "verified_at": backup.verified_at.isoformat() if backup.verified_at else None,
    }
