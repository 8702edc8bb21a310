"""A database put in the place of another one, and what is saved of a damaged one."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from environments.drivers import backup_restore
from environments.drivers.databases import DatabaseInUse, examine, holders
from tests.environments.drivers.copies import in_a_process
from tests.environments.drivers.writers import TOTAL, gone, make_database, spoil, sums, writing

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


def test_a_journal_that_is_over_is_not_left_beside_the_new_one(here: Path) -> None:
    file = make_database(here / "shop.db", mode="delete")
    Path(f"{file}-journal").write_bytes(b"\0" * 512)
    backup_restore.put_in_place(restored(file), file)
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
