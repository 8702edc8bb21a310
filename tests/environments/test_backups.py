"""Backups of stages' databases and GAIA's own: taken, verified again, kept and deleted, by hand and by the clock."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from common.errors import Cancelled, Conflict, NotFound
from common.files import file_lock
from environments import jobs
from environments.actions import backup_rounds, backups
from environments.actions.databases import Database, directory, every_stage, lock_path
from environments.drivers import backup_files
from environments.drivers.backup_files import Facts
from environments.drivers.databases import DatabaseDamaged, Watch
from environments.models import Backup
from environments.states import BackupState
from events.models import Event, Level
from gaia_site.forgetting import forget_old
from processes.actions.operations import request_cancel, run_operation
from processes.models import Operation
from processes.states import OperationState
from tests import warm
from tests.environments.databases import break_it, file_of, fill
from tests.environments.drivers.writers import TOTAL, make_database, sums, writing
from tests.environments.places import ROOT, Place, until

ON_SQLITE = connection.vendor == "sqlite"


def kinds(subject: str) -> list[str]:
    return list(Event.objects.filter(subject=subject).order_by("id").values_list("kind", flat=True))


def unpacked(backup: Backup, target: Path) -> Path:
    backup_files.unpack(Path(backup.path), target, timeout=60)
    return target


# -- one


def test_one_is_taken_verified_and_told(place: Place, tmp_path: Path) -> None:
    place.ready(1)
    stage = place.stage(1, "qa")
    fill(stage, "Ada", "Grace")

    backup = backups.take_backup(stage)

    backup.refresh_from_db()
    assert backup.state == BackupState.VERIFIED
    assert backup.name.startswith("shop-dev1-qa-2")
    assert (backup.reason, backup.problem) == ("on demand", "")
    assert backup.verified_at is not None
    assert Path(backup.path).parent == settings.GAIA.home.data / "backups"
    assert backup.size == Path(backup.path).stat().st_size
    assert backup.sha256 == backup_files.digest(Path(backup.path))
    assert kinds(backup.key) == ["backup.started", "backup.taken"]
    event = Event.objects.get(kind="backup.taken")
    assert event.actor == "user:tester"
    assert event.data["tables"] == {"customer": 2}
    with closing(sqlite3.connect(unpacked(backup, tmp_path / "x.db"))) as database:
        assert database.execute("SELECT count(*) FROM customer").fetchone() == (2,)


def test_one_that_is_taken_while_the_stage_writes_restores_whole(place: Place, tmp_path: Path) -> None:
    place.ready(1)
    stage = place.stage(1, "dev")
    file_of(stage).unlink()
    make_database(file_of(stage))

    with writing(file_of(stage)):
        backup = backups.take_backup(stage)

    restored = unpacked(backup, tmp_path / "restored.db")
    with closing(sqlite3.connect(restored)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert sums(restored) == (TOTAL, 2000)


def test_the_second_of_a_second_has_another_name(place: Place) -> None:
    place.ready(1)
    stage, now = place.stage(1, "qa"), timezone.now()
    first, second = (backups.take_backup(stage, now=now) for _ in range(2))
    assert second.name == f"{first.name}-2"
    backups.delete(second)
    assert backups.take_backup(stage, now=now).name == f"{first.name}-3", "a deleted one keeps its name"


def test_a_damaged_database_is_told_and_older_backups_stay(place: Place) -> None:
    place.ready(1)
    stage = place.stage(1, "qa")
    fill(stage, *(f"customer {number}" for number in range(2000)))
    good = backups.take_backup(stage)
    break_it(stage)

    with pytest.raises(DatabaseDamaged):
        backups.take_backup(stage)

    failed = Backup.objects.get(state=BackupState.FAILED)
    assert failed.problem.startswith("the database shop.db is damaged")
    assert not Path(failed.path).exists()
    event = Event.objects.get(kind="backup.failed")
    assert (event.level, event.data["of"]) == (Level.ERROR, stage.owner)
    assert backups.newest_of(Database(stage)) == good


def test_nothing_to_back_up(place: Place) -> None:
    place.ready(1)
    file_of(place.stage(1, "qa")).unlink()
    with pytest.raises(NotFound, match="database of stage qa of shop-dev1 is not there"):
        backups.take_backup(place.stage(1, "qa"))
    assert not Backup.objects.exists()


def test_a_database_that_leads_out_of_the_checkout_is_not_read(place: Place, tmp_path: Path) -> None:
    place.ready(1)
    stage = place.stage(1, "qa")
    file = file_of(stage)
    file.unlink()
    file.symlink_to(make_database(tmp_path / "secret.db"))
    with pytest.raises(Conflict, match="leads out of the checkout"):
        backups.take_backup(stage)
    assert list(directory().iterdir()) == []


def test_one_at_a_time_for_each_database(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.ready(1)
    stage = place.stage(1, "qa")
    monkeypatch.setattr(backups, "_LOCK_PATIENCE_S", 0.1)
    with file_lock(lock_path(stage.owner)), pytest.raises(Conflict, match="already being worked on"):
        backups.take_backup(stage)
    assert not Backup.objects.exists()


@pytest.mark.parametrize(("after", "state"), [("copy_database", BackupState.FAILED), ("sync", BackupState.VERIFIED)])
def test_what_a_killed_one_left_is_cleared_away(place: Place, tmp_path: Path, after: str, state: str) -> None:
    """Killed before it was whole, it failed; killed after, before that was written down, it is there."""
    place.ready(1)
    stage = place.stage(1, "qa")
    fill(stage, "Ada")
    script = f"""
import os, signal, sys, django
django.setup()
from environments.actions import backups
from environments.drivers import backup_files
from environments.models import Stage
from events.actor import acting_as
kill = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
if {after!r} == "copy_database":
    sys.setprofile(lambda frame, event, _: kill() if event == "return" and frame.f_code.co_name == {after!r} else None)
else:
    backups.log.change = kill
with acting_as("user:tester"):
    backups.take_backup(Stage.objects.select_related("environment__project").get(pk={stage.pk}))
"""
    (tmp_path / "killed.py").write_text(script)
    killed = warm.run([tmp_path / "killed.py"], cwd=ROOT, environ=os.environ, timeout=60)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert Backup.objects.get().state == BackupState.TAKING
    assert list(directory().iterdir())

    backups.take_backup(stage)

    first, second = Backup.objects.order_by("id")
    assert (first.state, second.state) == (state, BackupState.VERIFIED)
    left = {path.name.split(".")[0 if not path.name.startswith(".") else 1] for path in directory().iterdir()}
    assert left == ({second.name} if state == BackupState.FAILED else {first.name, second.name})
    if state == BackupState.VERIFIED:
        assert backups.verify(first).sha256 == backup_files.digest(Path(first.path))


# -- verified again


def test_verified_again_and_found_spoiled(place: Place) -> None:
    place.ready(1)
    backup = backups.take_backup(place.stage(1, "qa"))
    before = backup.verified_at
    assert before is not None

    backups.verify(backup)
    backup.refresh_from_db()
    assert backup.verified_at is not None
    assert backup.verified_at > before
    assert kinds(backup.key)[-1] == "backup.verified"

    Path(backup.path).write_bytes(Path(backup.path).read_bytes()[:-5])
    with pytest.raises(DatabaseDamaged):
        backups.verify(backup)
    backup.refresh_from_db()
    assert (backup.state, backup.problem.split(" was ")[0]) == (
        BackupState.FAILED,
        f"the backup {backup.name}.sqlite3.gz",
    )
    assert kinds(backup.key)[-1] == "backup.failed"
    with pytest.raises(Conflict, match="is failed"):
        backups.verify(backup)


def test_a_changed_description_deceives_nobody(place: Place) -> None:
    """Who can write the file can write what lies beside it, but not the row."""
    place.ready(1)
    fill(place.stage(1, "dev"), "Mallory")
    backup, other = (backups.take_backup(place.stage(1, name)) for name in ("qa", "dev"))
    facts = backup_files.known(directory(), backup.name)
    assert facts is not None
    Path(backup.path).write_bytes(Path(other.path).read_bytes())
    backup_files.describe(replace(facts, sha256=other.sha256), directory())
    with pytest.raises(DatabaseDamaged, match="damaged or changed"):
        backups.verify(backup)


# -- deleted


def test_deleted_its_row_stays(place: Place) -> None:
    place.ready(1)
    backup = backups.take_backup(place.stage(1, "qa"))
    assert backups.delete(backup)
    assert not backups.delete(Backup.objects.get())
    assert Backup.objects.get().state == BackupState.DELETED
    assert list(directory().iterdir()) == []
    assert kinds(backup.key)[-1] == "backup.deleted"
    assert backups.newest_of(Database(place.stage(1, "qa"))) is None


# -- many


def test_all_of_them_as_one_operation(place: Place) -> None:
    place.ready(2)
    for stage in every_stage():
        fill(stage, stage.environment.name)
    broken = place.stage(2, "staging")
    file_of(broken).write_bytes(b"no database" * 100)

    operation = backup_rounds.request_backups(every_stage(), own=ON_SQLITE, detached=False)
    done = run_operation(operation.pk)

    count = 7 if ON_SQLITE else 6
    assert done.state == OperationState.FAILED, "one of them was damaged"
    assert done.error is not None
    assert done.error["what"].startswith(f"1 of {count} backups failed; shop-dev2-staging: the database shop.db")
    assert len(done.error["detail"]["taken"]) == count - 1
    assert list(done.error["detail"]["failed"]) == ["shop-dev2-staging"]
    verified = Backup.objects.filter(state=BackupState.VERIFIED)
    assert verified.count() == count - 1
    assert set(verified.values_list("reason", flat=True)) == {"on demand"}
    assert {event.actor for event in Event.objects.filter(kind="backup.taken")} == {"user:tester"}
    if ON_SQLITE:
        own = verified.get(stage=None)
        facts = backup_files.known(directory(), own.name)
        assert facts is not None
        assert facts.tables is not None
        assert facts.tables["environments_stage"] == 6


def test_a_cancelled_round_leaves_whole_backups_and_no_others(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.ready(2)
    operation = backup_rounds.request_backups(every_stage(), detached=False)
    real, begun = backups.take_files, []

    def cancel_at_the_third(database: Database, facts: Facts, watch: Watch) -> Any:
        begun.append(1)
        if len(begun) < 3:
            return real(database, facts, watch)
        request_cancel(operation)
        return until(lambda: watch(0.5), "whoever watches ends it")

    monkeypatch.setattr(backups, "take_files", cancel_at_the_third)
    done = run_operation(operation.pk)

    assert done.state == OperationState.CANCELLED
    assert not Backup.objects.filter(state=BackupState.TAKING).exists()
    for backup in Backup.objects.filter(state=BackupState.VERIFIED):
        backups.verify(backup)
    assert len(list(directory().glob("*.json"))) == Backup.objects.filter(state=BackupState.VERIFIED).count() == 2
    assert not list(directory().glob(".*"))


def test_who_watches_can_cancel_one(place: Place) -> None:
    place.ready(1)

    def cancel(fraction: float) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        backups.take_backup(place.stage(1, "qa"), watch=cancel)
    assert Backup.objects.get().state == BackupState.FAILED
    assert Backup.objects.get().problem == "enough"


def test_two_rounds_at_once(place: Place) -> None:
    place.ready(1)
    backup_rounds.request_backups(every_stage(), detached=False)
    with pytest.raises(Conflict, match="is already running"):
        backup_rounds.request_backups(every_stage(), detached=False)
    with pytest.raises(NotFound, match="no database to back up"):
        backup_rounds.request_backups([], detached=False)


# -- by the clock


def test_the_clock_asks_for_those_whose_time_has_come(place: Place) -> None:
    place.ready(1)
    old = timezone.now() - timedelta(hours=settings.GAIA["backups.interval"], minutes=1)
    backups.take_backup(place.stage(1, "dev"), now=old)
    backups.take_backup(place.stage(1, "qa"))
    if ON_SQLITE:
        backups.take_backup(None, now=old)

    assert jobs.request_backups() == Operation.objects.get(kind=backup_rounds.KIND).pk

    operation = Operation.objects.get(kind=backup_rounds.KIND)
    assert operation.actor == "jobs:backups"
    assert operation.params == {
        "stages": [place.stage(1, "dev").pk, place.stage(1, "staging").pk], "own": True, "reason": "schedule",
    }  # fmt: skip
    assert jobs.request_backups() is None, "they are being taken"


def test_one_that_failed_is_tried_again_after_a_while(place: Place) -> None:
    place.ready(1)
    stage, now = place.stage(1, "qa"), timezone.now()
    file_of(stage).write_bytes(b"no database" * 100)
    with pytest.raises(DatabaseDamaged, match="not a database") as caught:
        backups.take_backup(stage, now=now)
    assert caught.value.fix == "gaia env repair-database shop-dev1 qa makes it again."
    assert stage.pk not in {each.stage.pk for each in backup_rounds.due(now) if each.stage}
    later = now + timedelta(hours=settings.GAIA["backups.interval"] / 4, minutes=1)
    assert stage.pk in {each.stage.pk for each in backup_rounds.due(later) if each.stage}


def test_rows_of_deleted_ones_are_forgotten_in_the_end(place: Place) -> None:
    place.ready(1)
    long_ago = timezone.now() - timedelta(days=settings.GAIA["jobs.keep_days"] + 1)
    there, deleted = (backups.take_backup(place.stage(1, name), now=long_ago) for name in ("qa", "dev"))
    backups.delete(deleted)
    assert forget_old(timezone.now()) == 1
    assert Backup.objects.get() == there


def test_the_clock_finds_nothing_to_do(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_rounds, "databases", lambda **_: [])
    assert jobs.request_backups() is None
    assert not Operation.objects.exists()


def test_what_is_not_kept_is_deleted(place: Place) -> None:
    place.ready(1)
    stage, now = place.stage(1, "qa"), timezone.now()
    taken = {
        days: backups.take_backup(stage, reason="schedule", now=now - timedelta(days=days)) for days in (0, 1, 400)
    }
    for days in (2, 3):
        taken[days] = backups.take_backup(stage, reason="schedule", now=now - timedelta(days=days))
    other = backups.take_backup(place.stage(1, "dev"), reason="schedule", now=now - timedelta(days=900))
    values = settings.GAIA.values
    kept = {name: values[name] for name in ("backups.keep_daily", "backups.keep_weekly", "backups.keep_monthly")}
    try:
        values.update({"backups.keep_daily": 2, "backups.keep_weekly": 1, "backups.keep_monthly": 1})  # type: ignore[attr-defined]
        assert jobs.prune_backups() == 3
    finally:
        values.update(kept)  # type: ignore[attr-defined]
    deleted = set(Backup.objects.filter(state=BackupState.DELETED).values_list("name", flat=True))
    assert deleted == {taken[days].name for days in (2, 3, 400)}
    assert Backup.objects.get(pk=other.pk).state == BackupState.VERIFIED, "the newest of its database"
    assert {path.name.split(".")[0] for path in directory().iterdir()} == {
        taken[0].name, taken[1].name, other.name,
    }  # fmt: skip


def test_the_lives_of_an_environment_are_one_database(place: Place) -> None:
    place.ready(1)
    before = backups.take_backup(place.stage(1, "qa"))
    place.clean("dev1")
    place.set_up(1)
    after = place.stage(1, "qa")
    assert after.pk != before.stage_id
    assert backups.newest_of(Database(after)) == before


# -- rows and files


def test_rows_agree_with_the_files_again(place: Place) -> None:
    """As after GAIA's own database was restored: it knows nothing of newer backups, and of some that are gone."""
    place.ready(1)
    unknown, gone = (backups.take_backup(place.stage(1, name)) for name in ("qa", "dev"))
    Backup.objects.filter(pk=unknown.pk).delete()
    backup_files.remove(directory(), gone.name)

    assert backups.adopt_files() == {"adopted": [unknown.name], "gone": [gone.name]}
    assert backups.adopt_files() == {"adopted": [], "gone": []}

    again = backups.find_backup(unknown.name)
    assert (again.stage, again.state, again.sha256) == (unknown.stage, BackupState.VERIFIED, unknown.sha256)
    assert again.created_at == unknown.created_at.replace(microsecond=0)
    backups.verify(again)
    assert Backup.objects.get(pk=gone.pk).state == BackupState.FAILED
