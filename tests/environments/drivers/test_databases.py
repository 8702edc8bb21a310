"""SQLite databases: copied while others write, packed, and examined."""

from __future__ import annotations

import gzip
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from common.errors import Conflict, NotFound, Unavailable
from environments.drivers import backup_files
from environments.drivers.backup_files import Facts
from environments.drivers.backup_sqlite import copy_database
from environments.drivers.databases import (
    DatabaseDamaged,
    DatabaseInUse,
    TookTooLong,
    examine,
    look,
    stage_database,
)
from tests.environments.drivers.copies import facts, in_a_process
from tests.environments.drivers.writers import TOTAL, make_database, spoil, sums, writing


def take(source: Path, directory: Path, **options: object) -> tuple[Facts, Path]:
    directory.mkdir(exist_ok=True)
    return backup_files.take_sqlite(source, directory, facts(), timeout=60, **options)  # type: ignore[arg-type]


# -- taking


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_backup_taken_under_writes_restores_whole(here: Path, mode: str) -> None:
    source = make_database(here / "shop.db", mode=mode)

    with writing(source, 2 if mode == "wal" else 1):
        taken, file = take(source, here / "backups")

    restored = here / "restored.db"
    backup_files.unpack(file, restored, timeout=60)
    with closing(sqlite3.connect(restored)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
    assert sums(restored) == (TOTAL, 2000)
    assert taken.tables is not None
    assert taken.tables["padding"] == 2000
    assert taken.check == "integrity_check"
    assert sums(source) == (TOTAL, 2000)


def test_what_is_written_down_beside_it(here: Path) -> None:
    source = make_database(here / "shop.db")
    taken, file = take(source, here / "backups")

    assert backup_files.known(here / "backups", taken.name) == taken
    assert sorted(path.name for path in (here / "backups").iterdir()) == [
        f"{taken.name}.json",
        f"{taken.name}.sqlite3.gz",
    ]
    assert {path.stat().st_mode & 0o777 for path in (here / "backups").iterdir()} == {0o600}
    assert taken.size == file.stat().st_size
    assert taken.sha256 == backup_files.digest(file)
    assert taken.unpacked == len(gzip.decompress(file.read_bytes()))
    assert taken.tables == {"account": 2, "moved": 0, "padding": 2000}


def test_the_source_is_left_as_it_was(here: Path) -> None:
    source = make_database(here / "shop.db")
    before = (source.read_bytes(), sorted(path.name for path in here.iterdir()))
    take(source, here / "backups")
    (here / "backups").rename(here.parent / f"{here.name}-backups")
    assert (source.read_bytes(), sorted(path.name for path in here.iterdir())) == before


def test_nothing_is_put_beside_what_is_examined_alone(here: Path) -> None:
    """What a kill would leave in a checkout there would look like somebody's work."""
    source = make_database(here / "shop.db")
    beside: set[str] = set()
    alone = examine(source, timeout=60, alone=True, watch=lambda _: beside.update(os.listdir(here)))
    assert beside == {"shop.db"}
    assert alone == examine(source, timeout=60)


def test_a_writer_that_crashed_has_its_last_commit_in_the_backup(here: Path) -> None:
    source = make_database(here / "shop.db")
    script = (
        "import os, sqlite3, sys; d = sqlite3.connect(sys.argv[1]);"
        "d.execute('INSERT INTO padding (text) VALUES (1)'); d.commit();"
        "d.execute('INSERT INTO padding (text) VALUES (2)'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script, source], check=False).returncode == -signal.SIGKILL
    taken, _ = take(source, here / "backups")
    assert taken.tables is not None
    assert taken.tables["padding"] == 2001


def test_nobody_waits_for_a_backup_in_wal_mode(here: Path) -> None:
    """While the copy stands still in its middle, others write."""
    source = make_database(here / "shop.db", rows=8000)
    written = []

    def write(fraction: float) -> None:
        if 0 < fraction < 1 and not written:
            with closing(sqlite3.connect(source, timeout=0)) as database:
                database.execute("DELETE FROM padding")
                database.commit()
            written.append(fraction)

    copy_database(source, here / "copy.db", timeout=60, watch=write)

    assert written
    assert sums(here / "copy.db") == (TOTAL, 8000), "it is as it was when the copy began"
    assert sums(source) == (TOTAL, 0)


def test_a_database_that_somebody_has_locked(here: Path) -> None:
    source = make_database(here / "shop.db", mode="delete")
    with closing(sqlite3.connect(source, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseInUse) as caught:
            copy_database(source, here / "copy.db", timeout=0.3)
    assert caught.value.exit_code == Conflict.exit_code


def test_one_that_takes_too_long_is_given_up(here: Path) -> None:
    source = make_database(here / "shop.db")
    with pytest.raises(TookTooLong) as caught:
        backup_files.take_sqlite(source, here, facts(), timeout=0.0)
    assert "backups.timeout" in caught.value.fix
    assert [path.name for path in here.iterdir()] == ["shop.db"]


def test_who_watches_can_end_it(here: Path) -> None:
    source = make_database(here / "shop.db")
    seen: list[float] = []

    def enough(fraction: float) -> None:
        seen.append(fraction)
        if fraction > 0.5:
            raise Unavailable("enough")

    with pytest.raises(Unavailable, match="enough"):
        take(source, here / "backups", watch=enough)
    assert list((here / "backups").iterdir()) == []
    assert seen == sorted(seen)


# -- what is no whole database


def test_a_damaged_database_is_no_backup(here: Path) -> None:
    source = make_database(here / "shop.db")
    spoil(source)
    with pytest.raises(DatabaseDamaged) as caught:
        take(source, here / "backups")
    assert caught.value.what.startswith("the database shop.db is damaged: ")
    assert "gaia env repair-database" in caught.value.fix
    assert str(source) in caught.value.meaning
    assert list((here / "backups").iterdir()) == []


@pytest.mark.parametrize("content", [b"this is no database at all, and long enough to see it\n" * 100, b"short"])
def test_a_file_that_is_no_database(here: Path, content: bytes) -> None:
    source = here / "shop.db"
    source.write_bytes(content)
    with pytest.raises(DatabaseDamaged, match="not a database"):
        take(source, here / "backups")
    assert source.read_bytes() == content
    assert look(source)["problem"].startswith("the database shop.db is damaged")


def test_what_is_no_file(here: Path) -> None:
    os.mkfifo(here / "pipe")
    with pytest.raises(DatabaseDamaged):
        examine(here / "pipe", timeout=5)
    with pytest.raises(NotFound):
        examine(here / "nothing", timeout=5)
    assert look(here / "nothing") == {
        "exists": False, "size": 0, "modified": None, "tables": None, "problem": "",
    }  # fmt: skip


def test_a_schema_that_needs_what_only_its_program_has(here: Path) -> None:
    """A collation and a function of its own, in an index and a constraint: whole all the same."""
    source = here / "shop.db"
    with closing(sqlite3.connect(source)) as database:
        database.create_collation("german", lambda one, other: (one > other) - (one < other))
        database.create_function("proper", 1, lambda text: True, deterministic=True)
        database.execute("CREATE TABLE word (text TEXT COLLATE german CHECK (proper(text)))")
        database.execute("CREATE INDEX words ON word (text)")
        database.execute("INSERT INTO word VALUES ('a'), ('b')")
        database.commit()
    taken, _ = take(source, here / "backups")
    assert taken.tables == {"word": 2}
    assert taken.check != "integrity_check"


def test_constraints_with_functions_of_json(here: Path) -> None:
    """As Django makes them for every JSON field."""
    source = here / "shop.db"
    with closing(sqlite3.connect(source)) as database:
        database.execute("CREATE TABLE t (data TEXT CHECK ((JSON_VALID(data) OR data IS NULL)))")
        database.execute("INSERT INTO t VALUES ('{}')")
        database.commit()
    taken, _ = take(source, here / "backups")
    assert (taken.check, taken.tables) == ("integrity_check", {"t": 1})


def test_rows_that_refer_to_nothing_are_counted_and_no_damage(here: Path) -> None:
    source = here / "shop.db"
    with closing(sqlite3.connect(source)) as database:
        database.executescript(
            "CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE TABLE b (a REFERENCES a);"
            "INSERT INTO b VALUES (7), (8); CREATE VIEW v AS SELECT * FROM nowhere;"
        )
    taken, _ = take(source, here / "backups")
    assert (taken.orphans, taken.tables) == (2, {"a": 0, "b": 2})


# -- the backup as a file


def test_one_that_was_changed_is_found_out(here: Path) -> None:
    taken, file = take(make_database(here / "shop.db"), here / "backups")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)
    with pytest.raises(DatabaseDamaged, match="damaged or changed"):
        backup_files.verify_sqlite(file, here / "backups", taken, timeout=60)
    with pytest.raises(DatabaseDamaged):
        backup_files.unpack(file, here / "restored.db", timeout=60)
    file.unlink()
    with pytest.raises(NotFound):
        backup_files.verify_sqlite(file, here / "backups", taken, timeout=60)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"name": "x"}', json.dumps({**vars(facts()), "name": "another"}), '{"engine": 1}']
)
def test_a_description_that_is_none(here: Path, text: str) -> None:
    (here / f"{facts().name}.json").write_text(text)
    assert backup_files.known(here, facts().name) is None
    assert backup_files.known(here, "../x") is None
    assert backup_files.all_known(here) == []


@pytest.mark.parametrize("limit", [100, 20_000, 700_000])
def test_a_disk_that_takes_no_more(here: Path, limit: int) -> None:
    source = make_database(here / "shop.db")
    (here / "backups").mkdir()
    done = in_a_process("limited", source, here / "backups", "", limit)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("6 "), done.stdout
    assert list((here / "backups").iterdir()) == []
    assert sums(source) == (TOTAL, 2000)


@pytest.mark.parametrize(
    ("function", "call"),
    [("copy_database", 1), ("progress", 1), ("_pack", 1), ("_pour", 1), ("unpack", 1), ("examine", 1),
     ("publish", 1), ("describe", 1), ("replace", 1), ("sync_directory", 1)],
)  # fmt: skip
def test_killed_while_it_is_taken_and_taken_again(here: Path, function: str, call: int) -> None:
    source, directory = make_database(here / "shop.db"), here / "backups"
    directory.mkdir()
    killed = in_a_process("take", source, directory, function, call)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr

    whole = backup_files.all_known(directory)
    for each in whole:  # what has its name is all there
        backup_files.verify_sqlite(each.file_in(directory), directory, each, timeout=60)
    assert bool(whole) == (function == "sync_directory")

    backup_files.remove(directory, facts().name)
    assert list(directory.iterdir()) == []
    take(source, directory)
    assert sums(source) == (TOTAL, 2000)


# -- where it lies


def test_where_a_stages_database_lies(here: Path) -> None:
    assert stage_database(here, "qa", "data/qa/shop.db") == here / "data/qa/shop.db"
    env = here / ".gaia/stages/qa.env"
    env.parent.mkdir(parents=True)
    env.write_text("DATABASE_PATH=.gaia/data/qa/shop.db\n")  # the repository has the usual name itself
    assert stage_database(here, "qa", "data/qa/shop.db") == here / ".gaia/data/qa/shop.db"
    env.write_text("DATABASE_PATH=../../etc/passwd\n")
    assert stage_database(here, "qa", "data/qa/shop.db") == here / "data/qa/shop.db"


@pytest.mark.parametrize("link", ["data/qa/shop.db", "data/qa", "data/qa/shop.db-wal"])
def test_one_that_leads_out_of_the_checkout_is_refused(here: Path, link: str) -> None:
    checkout, outside = here / "checkout", here / "outside"
    outside.mkdir()
    (checkout / link).parent.mkdir(parents=True)
    (checkout / link).symlink_to(outside / "x" if link != "data/qa" else outside)
    with pytest.raises(Conflict, match="leads out of the checkout"):
        stage_database(checkout, "qa", "data/qa/shop.db")


def test_two_at_once_have_names_of_their_own(here: Path) -> None:
    names: list[str] = []
    moment = facts().moment
    for _ in range(3):
        names.append(backup_files.new_name(here, "shop-dev1-qa", moment, lambda name: name in names))
    assert names == [f"shop-dev1-qa-20250131T120000Z{suffix}" for suffix in ("", "-2", "-3")]


def test_a_program_that_writes_from_a_thread_of_ours(here: Path) -> None:
    """GAIA backs up its own database while its other threads use it."""
    source, ended = make_database(here / "gaia.sqlite3"), threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(source, timeout=30)) as database:
            while not ended.is_set():
                database.execute("UPDATE account SET amount = amount - 1 WHERE id = 1")
                database.execute("UPDATE account SET amount = amount + 1 WHERE id = 2")
                database.commit()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        _, file = take(source, here / "backups")
    finally:
        ended.set()
        thread.join()
    backup_files.unpack(file, here / "restored.db", timeout=60)
    assert sums(here / "restored.db") == (TOTAL, 2000)
