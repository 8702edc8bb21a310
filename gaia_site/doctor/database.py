"""GAIA's own database: it answers, has the tables this code needs, is whole, and can be brought back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone

from common.errors import GaiaError
from common.redaction import mask_url
from environments.findings import Finding, size_told
from gaia_site.doctor.checks import THOROUGH, USUAL, Check, Needs, failed, warning

_WAL = 2  # at 18 and 19 of a SQLite file: how it is written and read
_LARGE_LOG = 256 * 1024 * 1024
_TOLERATED_SKEW_S = 30.0


def check_answers() -> Iterator[Finding]:
    """It can be reached; everything else about it needs that."""
    if connection.vendor == "sqlite":
        file = Path(str(connection.settings_dict["NAME"]))
        if not file.exists():
            return  # the first start makes it
    try:
        connection.close()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM django_migrations LIMIT 1")
    except DatabaseError as error:
        yield _unreachable(error)


def _unreachable(error: DatabaseError) -> Finding:
    said = mask_url(str(error).strip().splitlines()[0]) if str(error).strip() else type(error).__name__
    if "no such table" in said or ("does not exist" in said and "relation" in said):
        what, fix = "the database has no tables", f"rm -f {settings.GAIA.home.run / 'schema'} && gaia env list"
        return failed("database", "empty", what, "It was emptied or replaced.", fix)
    if connection.vendor == "sqlite" and ("malformed" in said or "not a database" in said):
        fix = "gaia down && gaia backup restore gaia --yes && gaia up --detach"
        return failed("database", "damaged", f"the database is damaged: {said}", "GAIA cannot work with it.", fix)
    if connection.vendor == "sqlite":
        fix = f"ls -l {connection.settings_dict['NAME']}*"
    else:
        fix = "gaia config database.url, then see that its server is up: pg_isready"
    return failed("database", "silent", f"the database does not answer: {said}", "GAIA cannot work without it.", fix)


def what_is_there() -> Needs:
    """What checks can ask: nothing, a database that answers, or one with the tables that they know."""
    if connection.vendor == "sqlite" and not Path(str(connection.settings_dict["NAME"])).exists():
        return Needs.NOTHING
    try:
        if list(check_answers()):
            return Needs.NOTHING
        return Needs.CONNECTION if list(check_migrations()) else Needs.DATABASE
    except DatabaseError:
        return Needs.NOTHING


def check_migrations() -> Iterator[Finding]:
    """It has the tables that this code needs, and no newer ones."""
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    plan = [migration for migration, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]
    if plan:
        names = ", ".join(f"{each.app_label} {each.name}" for each in plan[:3])
        what = f"{len(plan)} migrations are not applied: {names}{', …' if plan[3:] else ''}"
        fix = f"rm -f {settings.GAIA.home.run / 'schema'} && gaia manage migrate --verbosity 0"
        yield failed("migrations", "missing", what, "Pages and verbs that need their tables fail.", fix)
    unknown = set(executor.loader.applied_migrations) - set(executor.loader.disk_migrations)
    ours = sorted(name for app, name in unknown if app in _apps())
    if ours:
        what = f"the database has been used by a newer GAIA: {', '.join(ours[:3])}"
        fix = f"git -C {settings.BASE_DIR} pull"
        yield failed("migrations", "newer", what, "This one may damage what it does not know.", fix)


def _apps() -> set[str]:
    from django.apps import apps

    base = str(settings.BASE_DIR)
    return {each.label for each in apps.get_app_configs() if each.path.startswith(base) and ".venv" not in each.path}


def check_sqlite() -> Iterator[Finding]:
    """It is in write-ahead mode, and its log does not grow without end."""
    if connection.vendor != "sqlite":
        return
    file = Path(str(connection.settings_dict["NAME"]))
    try:
        with open(file, "rb") as opened:
            head = opened.read(20)
    except OSError:
        return  # it is told that it does not answer
    if len(head) == 20 and head[18] != _WAL:
        what = "the database is not in write-ahead mode"
        fix = f"gaia down --keep-stages && sqlite3 {file} 'PRAGMA journal_mode=WAL' && gaia up --detach"
        yield warning("database", "journal", what, "Writers and readers wait for each other.", fix)
    log = file.with_name(f"{file.name}-wal")
    if log.exists() and log.stat().st_size > _LARGE_LOG:
        what = f"the database's write-ahead log has {size_told(log.stat().st_size)}"
        yield warning(
            "database", "log", what, "Somebody reads without end.", "gaia down --keep-stages && gaia up --detach"
        )


def check_server_clock() -> Iterator[Finding]:
    """A database server's clock and this machine's agree."""
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp() - %s::timestamptz)", [timezone.now()])
        row = cursor.fetchone()
    if row and abs(float(row[0])) > _TOLERATED_SKEW_S:
        what = f"the database server's clock differs by {float(row[0]):.0f} s"
        yield warning("clock", "server", what, "Ages and heartbeats are wrong.", "sudo timedatectl set-ntp true")


def check_backup() -> Iterator[Finding]:
    """GAIA's own database has a verified backup that is not too old."""
    from environments.actions import backups
    from environments.actions.databases import Database

    newest = backups.newest_of(Database())
    days = settings.GAIA["health.backup_days"]
    if newest is None:
        if _is_young():
            return
        what = "GAIA's own database has no verified backup"
        yield warning("backups", "never", what, "What it knows is lost with its disk.", "gaia backup take --gaia")
    elif timezone.now() - newest.created_at > timedelta(days=days):
        what = f"the newest backup of GAIA's own database is older than {days} days"
        yield warning("backups", "old", what, "What happened since is lost with its disk.", "gaia backup take --gaia")


def _is_young() -> bool:
    from events.models import Event

    first = Event.objects.order_by("id").values_list("at", flat=True).first()
    return first is None or timezone.now() - first < timedelta(days=1)


def check_integrity() -> Iterator[Finding]:
    """SQLite's own check of every page of it."""
    if connection.vendor != "sqlite":
        return
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA integrity_check(5)")
        said = [str(row[0]) for row in cursor.fetchall()]
    if said != ["ok"]:
        fix = "gaia down && gaia backup restore gaia --yes && gaia up --detach"
        yield failed("database", "damaged", f"the database is damaged: {'; '.join(said)}", "Rows may be lost.", fix)


def check_restorable() -> Iterator[Finding]:
    """The newest backup of every database can be restored: each is restored into a scratch place."""
    from environments.actions import backups
    from environments.actions.databases import databases

    for database in databases():
        newest = backups.newest_of(database)
        if newest is None:
            continue
        stage = database.stage
        again = f"gaia backup take {stage.environment.directory} {stage.name}" if stage else "gaia backup take --gaia"
        try:
            backups.verify(newest)
        except GaiaError as error:
            yield failed("backups", "spoiled", f"{newest.name} cannot be restored: {error.what}",
                         "It would be missed when it is needed.", again, database.label)  # fmt: skip


CHECKS = (
    Check("database", check_answers, well="the database answers"),
    Check("migrations", check_migrations, needs=Needs.CONNECTION, well="every migration is applied"),
    Check("database", check_sqlite, needs=Needs.CONNECTION, well="it is written as it should be"),
    Check("clock", check_server_clock, USUAL, Needs.DATABASE, "the database's clock agrees"),
    Check("backups", check_backup, needs=Needs.DATABASE, well="GAIA's own database is backed up"),
    Check("database", check_integrity, THOROUGH, Needs.CONNECTION, "every page of the database was read"),
    Check("backups", check_restorable, THOROUGH, Needs.DATABASE, "the newest backups were restored in a scratch place"),
)
