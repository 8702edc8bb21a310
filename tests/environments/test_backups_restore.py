"""Restoring a backup into a stage, and making a damaged database again: what was there is never lost."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from common.errors import Conflict, NotFound, Refused
from environments.actions import backups, repair, restores
from environments.drivers.databases import DatabaseDamaged, DatabaseInUse
from environments.models import Backup, Stage
from environments.states import BackupState
from events.models import Event
from processes.actions.operations import run_operation
from processes.models import Process
from processes.states import OperationState
from tests import warm
from tests.environments.databases import break_it, customers, file_of, fill
from tests.environments.places import ROOT, Place, processes_of
from tests.environments.stages import answer_of

MANY = tuple(f"customer {number:04}" for number in range(1500))


@pytest.fixture
def stage(place: Place) -> Stage:
    """A stage with two customers."""
    place.ready(1)
    stage = place.stage(1, "qa")
    fill(stage, "Ada", "Grace")
    return stage


# -- preview


def test_what_would_change(stage: Stage) -> None:
    backup = backups.take_backup(stage, now=timezone.now() - timedelta(hours=3))
    fill(stage, "Edsger")
    with closing(sqlite3.connect(file_of(stage))) as database:
        database.execute("CREATE TABLE invoice (id INTEGER)")
        database.commit()

    shown = restores.preview(backup)

    assert shown["tables"] == [
        {"name": "customer", "now": 3, "backup": 2},
        {"name": "invoice", "now": 0, "backup": None},
    ]
    assert 3 * 3600 <= shown["age_s"] < 4 * 3600
    assert shown["target"] == str(file_of(stage))
    assert shown["now"]["exists"]
    assert shown["runs"] is None
    assert shown["problems"] == []
    assert customers(stage) == ["Ada", "Edsger", "Grace"]


def test_what_keeps_it_from_being_restored(place: Place, stage: Stage) -> None:
    backup = backups.take_backup(stage)
    file_of(stage).write_bytes(b"no database" * 100)
    shown = restores.preview(backup)
    assert shown["now"]["problem"].startswith("the database shop.db is damaged")
    assert shown["tables"] == [{"name": "customer", "now": None, "backup": 2}]

    place.clean("dev1")
    [problem] = restores.preview(Backup.objects.get(pk=backup.pk))["problems"]
    assert problem.startswith("the environment shop-dev1 is not there any more. Make it again with gaia env setup")
    with pytest.raises(NotFound):
        restores.restore(backup.name)


# -- restore


def test_restored_with_a_backup_of_what_was_there(stage: Stage) -> None:
    backup = backups.take_backup(stage)
    fill(stage, "Edsger")

    done = restores.restore(backup.name)

    assert customers(stage) == ["Ada", "Grace"]
    before = Backup.objects.get(name=done["before"])
    assert (before.reason, before.state) == (f"before restoring {backup.name}", BackupState.VERIFIED)
    assert done["tables"] == {"customer": 2}
    event = Event.objects.get(kind="backup.restored")
    assert (event.subject, event.data["of"], event.data["before"]) == (backup.key, stage.owner, before.name)
    assert sorted(path.name for path in file_of(stage).parent.iterdir()) == ["shop.db"]

    restores.restore(before.name)  # and back again
    assert customers(stage) == ["Ada", "Edsger", "Grace"]


def test_what_is_written_at_the_last_moment_is_in_the_backup_of_what_was_there(stage: Stage) -> None:
    backup, written = backups.take_backup(stage), set[str]()

    def write(fraction: float) -> None:
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(file_of(stage), timeout=0)) as database:
            database.execute("INSERT INTO customer VALUES (?)", [f"late {fraction}"])
            database.commit()
            written.add(f"late {fraction}")

    done = restores.restore(backup.name, watch=write)

    assert written, "it was written before"
    assert customers(stage) == ["Ada", "Grace"]
    restores.restore(done["before"])
    assert written <= set(customers(stage))


def test_in_a_home_that_was_moved(stage: Stage) -> None:
    backup = backups.take_backup(stage)
    Backup.objects.update(path=f"/somewhere/else/{Path(backup.path).name}")
    assert backups.adopt_files() == {"adopted": [], "gone": []}
    fill(stage, "Edsger")
    restores.restore(backup.name)
    assert customers(stage) == ["Ada", "Grace"]
    Backup.objects.update(path=f"/somewhere/else/{Path(backup.path).name}")
    backups.verify(Backup.objects.get(name=backup.name))
    break_it(stage)
    assert repair.repair(stage.pk)["backup"] == backup.name


def test_into_an_environment_that_was_made_again(place: Place, stage: Stage) -> None:
    backup = backups.take_backup(stage)
    place.clean("dev1")
    place.ready(1)
    restores.restore(backup.name)
    assert customers(place.stage(1, "qa")) == ["Ada", "Grace"]


def test_where_the_database_is_missing_or_broken(stage: Stage) -> None:
    backup = backups.take_backup(stage)
    file_of(stage).unlink()
    done = restores.restore(backup.name)
    assert (done["before"], done["salvaged"], customers(stage)) == (None, None, ["Ada", "Grace"])

    fill(stage, *MANY)
    broken = break_it(stage)
    done = restores.restore(backup.name)
    assert done["before"] is None
    assert (Path(done["salvaged"]) / "shop.db").read_bytes() == broken
    assert Path(done["salvaged"]).parent == settings.GAIA.home.salvage
    assert customers(stage) == ["Ada", "Grace"]
    assert Event.objects.get(kind="database.salvaged").subject == stage.owner


def test_not_while_the_stage_runs(place: Place, stage: Stage) -> None:
    backup = backups.take_backup(stage)
    fill(stage, "Edsger")
    assert place.gaia("env", "launch", "dev1", "qa").code == 0
    [process] = processes_of(stage.owner)

    assert restores.preview(backup)["runs"] == {"pid": process.pid, "state": "running"}
    with pytest.raises(Conflict, match=r"stage qa of shop-dev1 runs \(pid") as caught:
        restores.restore(backup.name)
    assert "--restart" in caught.value.fix
    with pytest.raises(Conflict, match="runs"):
        restores.request_restore(backup)
    assert customers(stage) == ["Ada", "Edsger", "Grace"]

    done = restores.restore(backup.name, restart=True)

    assert done["restarted"]
    assert customers(stage) == ["Ada", "Grace"]
    assert answer_of(stage)
    assert len(processes_of(stage.owner)) == 2


def test_a_stage_that_was_stopped_for_it_starts_again_when_it_fails(
    place: Place, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = backups.take_backup(stage)
    fill(stage, "Edsger")
    assert place.gaia("env", "launch", "dev1", "qa").code == 0

    def fail(*_: object) -> None:
        raise Conflict("something is in the way")

    monkeypatch.setattr(restores.backup_restore, "put_in_place", fail)
    with pytest.raises(Conflict, match="in the way"):
        restores.restore(backup.name, restart=True)
    assert answer_of(stage)
    assert customers(stage) == ["Ada", "Edsger", "Grace"]


def test_not_under_somebody_who_has_it_open(stage: Stage) -> None:
    """An agent's own program, which GAIA did not start."""
    backup = backups.take_backup(stage)
    fill(stage, "Edsger")
    script = "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute('SELECT * FROM customer').fetchall();"
    program = subprocess.Popen(
        [sys.executable, "-c", f"{script} print('open', flush=True); sys.stdin.read()", file_of(stage)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "open\n"
        with pytest.raises(DatabaseInUse, match=f"pid {program.pid}"):
            restores.restore(backup.name)
    finally:
        program.communicate("")
    assert customers(stage) == ["Ada", "Edsger", "Grace"]
    restores.restore(backup.name)
    assert customers(stage) == ["Ada", "Grace"]


def test_a_spoiled_backup_touches_nothing(stage: Stage) -> None:
    backup = backups.take_backup(stage)
    fill(stage, "Edsger")
    data = bytearray(Path(backup.path).read_bytes())
    data[len(data) // 2] ^= 0xFF
    Path(backup.path).write_bytes(data)
    with pytest.raises(DatabaseDamaged):
        restores.restore(backup.name)
    assert Backup.objects.get().state == BackupState.FAILED
    assert customers(stage) == ["Ada", "Edsger", "Grace"]
    with pytest.raises(Conflict, match="is failed"):
        restores.restore(backup.name)


def test_a_place_that_leads_out_of_the_checkout_is_not_written(stage: Stage, tmp_path: Path) -> None:
    backup = backups.take_backup(stage)
    outside = tmp_path / "outside.db"
    outside.write_bytes(b"mine")
    file = file_of(stage)
    file.unlink()
    file.symlink_to(outside)
    with pytest.raises(Conflict, match="leads out of the checkout"):
        restores.restore(backup.name)
    assert outside.read_bytes() == b"mine"
    assert restores.preview(backup)["problems"]


def test_gaias_own_is_not_replaced_under_it(place: Place) -> None:
    own = Backup.objects.create(name="gaia-1", path="/nowhere.sqlite3.gz", state=BackupState.VERIFIED)
    with pytest.raises(Refused) as caught:
        restores.request_restore(own)
    assert caught.value.fix == "gaia down, then gaia backup restore gaia-1, then gaia up."


def test_as_an_operation(stage: Stage) -> None:
    backup = backups.take_backup(stage)
    fill(stage, "Edsger")
    done = run_operation(restores.request_restore(backup, detached=False).pk)
    assert done.state == OperationState.SUCCEEDED, done.error
    assert done.subject == stage.owner
    assert customers(stage) == ["Ada", "Grace"]


@pytest.mark.parametrize(
    ("function", "customers_then"),
    [("unpack", 3), ("take_sqlite", 3), ("put_in_place", 3), ("_replace_whole", 3), ("sync_directory", 2)],
)
def test_killed_in_the_middle(stage: Stage, tmp_path: Path, function: str, customers_then: int) -> None:
    """The old or the new one is there, whole; asked for again, it is done."""
    backup = backups.take_backup(stage)
    fill(stage, "Edsger")
    script = f"""
import os, signal, sys, django
django.setup()
from environments.actions import restores
from events.actor import acting_as
seen = []
def watch(frame, event, _):
    name = frame.f_code.co_name
    if event == "call" and "/environments/drivers/backup_" in frame.f_code.co_filename:
        seen.append(name)
        if name == {function!r} and (name != "sync_directory" or "_replace_whole" in seen):
            os.kill(os.getpid(), signal.SIGKILL)
sys.setprofile(watch)
with acting_as("user:tester"):
    restores.restore({backup.name!r})
"""
    (tmp_path / "killed.py").write_text(script)
    killed = warm.run([tmp_path / "killed.py"], cwd=ROOT, environ=os.environ, timeout=60)
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    assert len(customers(stage)) == customers_then
    with closing(sqlite3.connect(file_of(stage))) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    restores.restore(backup.name)
    assert customers(stage) == ["Ada", "Grace"]
    assert sorted(path.name for path in file_of(stage).parent.iterdir()) == ["shop.db"]
    assert not Backup.objects.filter(state=BackupState.TAKING).exists()


# -- repair


def mend(stage: Stage, **options: Any) -> dict[str, Any]:
    return repair.repair(stage.pk, **options)


def test_a_whole_database_is_left_alone(stage: Stage) -> None:
    before = file_of(stage).read_bytes()
    assert mend(stage)["made_from"] == "whole"
    assert file_of(stage).read_bytes() == before
    assert not Event.objects.filter(kind="database.repaired").exists()


def test_made_again_from_the_newest_backup_that_is_whole(stage: Stage) -> None:
    good = backups.take_backup(stage, now=timezone.now() - timedelta(hours=2))
    fill(stage, *MANY)
    spoiled = backups.take_backup(stage)
    Path(spoiled.path).write_bytes(b"x" + Path(spoiled.path).read_bytes())
    broken = break_it(stage)

    done = mend(stage)

    assert (done["made_from"], done["backup"]) == ("backup", good.name)
    assert done["was"].startswith("the database shop.db is damaged")
    assert (Path(done["salvaged"]) / "shop.db").read_bytes() == broken
    assert (Path(done["salvaged"]) / "recovered.sqlite3").is_file()
    assert done["recovered"]["how"]
    assert customers(stage) == ["Ada", "Grace"]
    assert Backup.objects.get(pk=spoiled.pk).state == BackupState.FAILED
    event = Event.objects.get(kind="database.repaired")
    assert event.message == f"The database of stage qa of shop-dev1 was made from the backup {good.name}"
    assert event.data["salvaged"] == done["salvaged"]


def test_made_again_from_what_could_be_read(stage: Stage) -> None:
    fill(stage, *MANY)
    file = file_of(stage)
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE late (text)")
        database.executemany("INSERT INTO late VALUES (?)", [("z" * 2000,)] * 50)
        database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = file.read_bytes()
    file.write_bytes(data[:-40_960] + b"\xa5" * 40_960)

    done = mend(stage)

    assert done["made_from"] == "recovered"
    assert done["recovered"]["tables"]["customer"] == len(MANY) + 2
    assert len(customers(stage)) == len(MANY) + 2


@pytest.mark.parametrize("there", [True, False])
def test_made_anew_when_there_is_nothing_else(stage: Stage, there: bool) -> None:
    file_of(stage).write_bytes(os.urandom(9000)) if there else file_of(stage).unlink()
    done = mend(stage)
    assert (done["made_from"], bool(done["salvaged"])) == ("empty", there)
    with closing(sqlite3.connect(file_of(stage))) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert database.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


def test_a_running_stage_is_stopped_only_when_asked(place: Place, stage: Stage) -> None:
    backups.take_backup(stage)
    assert place.gaia("env", "launch", "dev1", "qa").code == 0
    fill(stage, *MANY)
    broken = break_it(stage)

    with pytest.raises(Conflict, match="runs"):
        mend(stage)
    assert file_of(stage).read_bytes() == broken

    assert mend(stage, restart=True)["restarted"]
    assert answer_of(stage)
    assert customers(stage) == ["Ada", "Grace"]
    assert Process.objects.active().filter(owner=stage.owner).count() == 1


def test_the_repair_as_an_operation(stage: Stage) -> None:
    file_of(stage).write_bytes(b"no database" * 100)
    done = run_operation(repair.request_repair(stage, detached=False).pk)
    assert done.state == OperationState.SUCCEEDED, done.error
    assert done.result["made_from"] == "empty"
    assert done.message == "the database of stage qa of shop-dev1 was made again"
