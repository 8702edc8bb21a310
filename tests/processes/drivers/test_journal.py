"""The exit journal: torn, glued, truncated, replaced, and written by many at once."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from processes.drivers import journal
from processes.drivers.journal import Entry, Journal, Record
from processes.drivers.shim import shim_path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def append(path: Path, text: str) -> None:
    with open(path, "a") as file:
        file.write(text)


def test_missing_file_has_no_notes(path: Path) -> None:
    assert journal.read(path) == []
    assert journal.records(path) == {}


def test_notes_in_order(path: Path) -> None:
    path.write_text("S a 10\nS b 11\nE a 0\n")
    assert journal.read(path) == [Entry("S", "a", 10), Entry("S", "b", 11), Entry("E", "a", 0)]
    assert list(journal.records(path).values()) == [Record("a", pid=10, code=0), Record("b", pid=11, code=None)]


def test_unfinished_last_line_is_not_a_note_yet(path: Path) -> None:
    path.write_text("S a 10\nE a 13")  # the rest of "137" may be on its way
    assert journal.records(path) == {"a": Record("a", pid=10, code=None)}


@pytest.mark.parametrize(
    "rubbish", ["", "hello", "X a 1", "S a", "S a ten", "E a -1", "S  a 1", "\0\0\0", "S a 99999999999", "é"]
)
def test_lines_that_are_no_notes_are_passed_over(path: Path, rubbish: str) -> None:
    path.write_text(f"S a 10\n{rubbish}\nE a 2\n")
    assert journal.read(path) == [Entry("S", "a", 10), Entry("E", "a", 2)]


@pytest.mark.parametrize("piece", ["S", "S lo", "S lost ", "S lost 1", "E lost 13", "\0\0"])
def test_note_after_a_piece_that_a_full_disk_left_is_read(path: Path, piece: str) -> None:
    path.write_text(f"{piece}S a 10\nE a 0\n")
    assert journal.read(path) == [Entry("S", "a", 10), Entry("E", "a", 0)]


def test_end_without_a_start_and_a_second_start(path: Path) -> None:
    path.write_text("E a 3\nS b 5\nE b 1\nS b 6\n")
    assert journal.records(path) == {"a": Record("a", pid=None, code=3), "b": Record("b", pid=6, code=None)}


def test_who_was_asked_to_end(path: Path) -> None:
    path.write_text("S a 1\nT a 1\nE a 137\nS b 2\nE b 137\nS c 3\nT c 3\nT d 4\n")
    assert [(record.token, record.code, record.stop_asked) for record in journal.records(path).values()] == [
        ("a", 137, True), ("b", 137, False), ("c", None, True), ("d", None, True),
    ]  # fmt: skip
    append(path, "S a 5\n")
    assert journal.records(path)["a"] == Record("a", pid=5, code=None), "it runs again, and nobody asked that to end"


def test_bytes_that_are_no_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\n\x85S a 1\nE a 0\n")
    assert journal.records(path)["a"] == Record("a", pid=1, code=0)


def test_reader_loses_nothing_while_shims_write(path: Path, tmp_path: Path) -> None:
    script = 'for n in 1 2 3 4 5 6 7 8 9 10; do sh "$1" "$2" "$3-$n" / true; done'
    writers = [
        subprocess.Popen(["/bin/sh", "-c", script, "sh", shim_path(), path, f"writer{number}"]) for number in range(4)
    ]
    entries: list[Entry] = []
    ended = False
    while not ended:
        ended = all(writer.poll() is not None for writer in writers)
        before, entries = entries, journal.read(path)
        assert entries[: len(before)] == before
    assert len(entries) == 80
    assert {record.code for record in journal.gather(entries).values()} == {0}
    assert len(journal.gather(entries)) == 40


def test_asked_again_and_again(tmp_path: Path) -> None:
    """Only what is new is read; a torn note is read when it is whole."""
    path = tmp_path / "journal"
    asked = Journal(path)
    assert asked.record("a") is None
    path.write_text("S a 1\n")
    assert asked.record("a") == Record("a", 1, None)
    with open(path, "a") as file:
        file.write("S b 2\nE a")
    assert (asked.record("a"), asked.record("b")) == (Record("a", 1, None), Record("b", 2, None))
    with open(path, "a") as file:
        file.write(" 7\nT b 9\n")
    assert (asked.record("a"), asked.record("b")) == (Record("a", 1, 7), Record("b", 2, None, stop_asked=True))


@pytest.mark.parametrize("text", ["S c 3\n", "S c 3\n" + "S d 4\n" * 40, ""], ids=["shorter", "longer", "empty"])
def test_another_journal_in_its_place(tmp_path: Path, text: str) -> None:
    """In the same inode even: what was known of the former is forgotten, and all of the new one read."""
    path = tmp_path / "journal"
    path.write_text("S a 1\nS b 2\nE a 0\n")
    asked = Journal(path)
    assert asked.record("a") == Record("a", 1, 0)
    path.write_text(text)
    assert asked.record("a") is None
    assert (asked.record("c") is not None) == bool(text)


def test_a_journal_that_went(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text("S a 1\n")
    asked = Journal(path)
    assert asked.record("a") is not None
    path.unlink()
    assert asked.record("a") is None
