"""SQLite databases: copied while others write, examined, replaced, and saved when they are damaged."""

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
from environments.drivers import backup_files, backup_restore
from environments.drivers.backup_files import SQLITE, Facts
from environments.drivers.backup_sqlite import copy_database
from environments.drivers.databases import (
    DatabaseDamaged,
    DatabaseInUse,
    TookTooLong,
    examine,
    holders,
    look,
    stage_database,
)
from tests.environments.drivers.writers import TOTAL, gone, make_database, spoil, sums, writing

ROOT = Path(__file__).parents[3]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with nothing in it."""
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def facts(name: str = "shop-dev1-qa-20250131T120000Z") -> Facts:
    return Facts(name, "environment/shop-dev1/qa", SQLITE, "on demand", "2025-01-31T12:00:00+00:00", "shop.db")


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


_IN_A_PROCESS = """
import os, resource, signal, sys, threading
from pathlib import Path
from common.errors import GaiaError
from environments.drivers import backup_files, backup_restore
from tests.environments.drivers.test_databases import facts

what, function, count = sys.argv[1], sys.argv[4], int(sys.argv[5])
source, directory = Path(sys.argv[2]), Path(sys.argv[3])
if what == "limited":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, count))
else:
    calls = []
    def watch(frame, event, argument):
        code = frame.f_code
        name = code.co_name if event == "call" else getattr(argument, "__name__", "") if event == "c_call" else ""
        if name == function and "/environments/drivers/" in code.co_filename:
            calls.append(1)
            if len(calls) == count:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(watch)
try:
    if what == "put":
        backup_restore.put_in_place(backup_restore.place_for(source), source)
    else:
        backup_files.take_sqlite(source, directory, facts(), timeout=60)
except GaiaError as error:
    print(f"{error.exit_code} {error.what} | {error.fix}")
"""


def in_a_process(
    what: str, source: Path, directory: Path, function: str, count: int
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _IN_A_PROCESS, what, source, directory, function, str(count)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


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


# -- putting one in the place of another


def restored(file: Path, rows: int = 7) -> Path:
    """Another database, made ready beside one."""
    return make_database(backup_restore.place_for(file), rows=rows)


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_replaced_with_what_others_had_written_last(here: Path, mode: str) -> None:
    file = make_database(here / "shop.db", mode=mode)
    with writing(file, 1) as writers:
        for each in writers:
            each.kill()  # a log of writes is left, or a journal that is to be rolled back
        gone(*writers)
        backup_restore.put_in_place(restored(file), file)
        writers.clear()
    assert sums(file) == (TOTAL, 7)
    assert examine(file, timeout=60).tables == {"account": 2, "moved": 0, "padding": 7}
    assert [path.name for path in here.iterdir()] == ["shop.db"]


def test_not_under_somebody_who_has_it_open(here: Path) -> None:
    file = make_database(here / "shop.db")
    with writing(file, 1) as [writer]:
        with pytest.raises(DatabaseInUse) as caught:
            backup_restore.put_in_place(restored(file), file)
        assert f"pid {writer.pid}" in caught.value.what
        assert writer.pid in {pid for pid, _ in holders(file)}
    assert sums(file) == (TOTAL, 2000)
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_where_there_was_none_and_where_there_was_something_else(here: Path) -> None:
    file = here / "data" / "shop.db"
    file.parent.mkdir()
    backup_restore.put_in_place(restored(file), file)
    assert sums(file) == (TOTAL, 7)
    assert file.stat().st_mode & 0o777 == 0o600

    file.write_bytes(b"no database" * 1000)
    Path(f"{file}-wal").write_bytes(b"nor a log" * 1000)
    file.chmod(0o640)
    backup_restore.put_in_place(restored(file, 9), file)
    assert sums(file) == (TOTAL, 9)
    assert file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in file.parent.iterdir()] == ["shop.db"]


@pytest.mark.parametrize(
    ("function", "call"), [("opened", 1), ("_replace_whole", 1), ("execute", 3), ("replace", 1), ("sync_directory", 1)]
)
def test_killed_while_it_is_replaced(here: Path, function: str, call: int) -> None:
    """The old one or the new one, never half of either, and nothing of the old one's log in the new one."""
    file = make_database(here / "shop.db")
    with writing(file, 1) as writers:
        writers[0].kill()
        gone(*writers)
        writers.clear()
    restored(file)
    killed = in_a_process("put", file, here, function, call)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr

    new = function == "sync_directory"
    assert sums(file) == (TOTAL, 7 if new else 2000)
    examine(file, timeout=60)
    if not new:
        backup_restore.put_in_place(backup_restore.place_for(file), file)
        assert sums(file) == (TOTAL, 7)


# -- a damaged one


def test_the_files_are_salvaged_as_they_are(here: Path) -> None:
    file = make_database(here / "shop.db")
    Path(f"{file}-wal").write_bytes(b"a log")
    copies = backup_restore.salvage_raw(file, here / "salvage" / "one")
    assert [(copy.name, copy.read_bytes()) for copy in copies] == [
        ("shop.db", file.read_bytes()),
        ("shop.db-wal", b"a log"),
    ]
    assert (here / "salvage" / "one").stat().st_mode & 0o777 == 0o700
    assert {copy.stat().st_mode & 0o777 for copy in copies} == {0o600}


@pytest.mark.parametrize("page", [1, 60, 250])
@pytest.mark.parametrize("installed", [True, False])
def test_what_can_be_read_is_recovered(here: Path, monkeypatch: pytest.MonkeyPatch, installed: bool, page: int) -> None:
    """With SQLite's own program, as far as this machine's can do it, and without."""
    file = make_database(here / "shop.db")
    spoil(file, page=page, pages=2)
    if not installed:
        monkeypatch.setenv("PATH", str(here / "nowhere"))
    before = file.read_bytes()

    found = backup_restore.recover(file, here / "recovered.sqlite3", timeout=60)

    assert file.read_bytes() == before
    assert 1800 < found.tables["padding"] <= 2000
    assert page == 1 or (found.tables["account"], sums(here / "recovered.sqlite3")[0]) == (2, TOTAL)
    examine(here / "recovered.sqlite3", timeout=60)
    assert sorted(path.name for path in here.iterdir()) == ["recovered.sqlite3", "shop.db"]


def test_what_sqlites_own_program_says_is_taken_over(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that says what SQLite's says where it can; the words of a dot command in a text are a text."""
    file = make_database(here / "shop.db")
    spoil(file)
    program = here / "bin" / "sqlite3"
    program.parent.mkdir()
    sql = (
        "BEGIN;\nPRAGMA writable_schema = on;\nCREATE TABLE note(id INTEGER PRIMARY KEY, text);\n"
        "INSERT OR IGNORE INTO note VALUES(1, 'a;\n.shell touch x;\nb');\nINSERT INTO nowhere VALUES(1);\n"
        "PRAGMA writable_schema = off;\nCOMMIT;\n"
    )
    (here / "sql").write_text(sql)
    program.write_text(f"#!/bin/sh\ncat {here}/sql\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    found = backup_restore.recover(file, here / "recovered.sqlite3", timeout=60)

    assert (found.how, found.tables) == ("SQLite's .recover", {"note": 1})
    assert len(found.problems) == 1
    with closing(sqlite3.connect(here / "recovered.sqlite3")) as database:
        assert database.execute("SELECT text FROM note").fetchone() == ("a;\n.shell touch x;\nb",)


def test_nothing_can_be_read_of_what_is_no_database(here: Path) -> None:
    (here / "shop.db").write_bytes(os.urandom(50_000))
    found = backup_restore.recover(here / "shop.db", here / "recovered.sqlite3", timeout=60)
    assert sum(found.tables.values()) == 0
    backup_restore.make_empty(here / "empty.db")
    assert examine(here / "empty.db", timeout=5).tables == {}


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
