"""Reading logs from the end and from where one left off."""

from __future__ import annotations

import gzip
import os
import stat
import subprocess
from pathlib import Path

import pytest

from common.errors import Conflict, Unavailable
from processes.drivers import logs
from processes.drivers.logs import archive_head, begin_of_end, occupied, read_from, read_lines, tail


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def text_of(archive: Path) -> str:
    with gzip.open(archive, "rt", encoding="utf-8") as file:
        return file.read()


def test_tail_of_nothing(log: Path) -> None:
    assert tail(log, 10) == ""
    log.touch()
    assert tail(log, 10) == ""
    log.write_text("a\n")
    assert tail(log, 0) == ""


@pytest.mark.parametrize(
    ("text", "lines", "expected"),
    [
        ("a\nb\nc\n", 2, "b\nc\n"),
        ("a\nb\nc", 2, "b\nc"),  # an unfinished line counts
        ("a\nb\n", 5, "a\nb\n"),
        ("a\n\n\n", 2, "\n\n"),
        ("a\r\nb\r\n", 1, "b\r\n"),
        ("progress 1\rprogress 2\r", 1, "progress 1\rprogress 2\r"),
        ("ä\nöü\n", 1, "öü\n"),
        ("a\x0bb\x0cc\u2028d\n", 1, "a\x0bb\x0cc\u2028d\n"),  # only a newline ends a line
    ],
)
def test_tail(log: Path, text: str, lines: int, expected: str) -> None:
    log.write_bytes(text.encode())
    assert tail(log, lines) == expected


def test_tail_reads_no_more_than_allowed_and_shows_whole_lines(log: Path) -> None:
    log.write_text("".join(f"line {number:04}\n" for number in range(1000)))  # 10 bytes each
    assert tail(log, 100, max_bytes=25) == "line 0998\nline 0999\n"
    assert tail(log, 100, max_bytes=20) == "line 0998\nline 0999\n"
    assert tail(log, 100, max_bytes=19) == "line 0999\n"


def test_tail_of_one_endless_line(log: Path) -> None:
    log.write_text("x" * 100 + "äöü")
    assert tail(log, 3, max_bytes=10) == "xxxxäöü"
    assert tail(log, 3, max_bytes=5) == "öü"  # ä is cut in half and left out


def test_tail_of_a_line_that_is_longer_than_allowed_but_ends(log: Path) -> None:
    log.write_text("short\n" + "x" * 100 + "\n")
    assert tail(log, 3, max_bytes=10) == "xxxxxxxxx\n"


def test_tail_of_bytes_that_are_no_text(log: Path) -> None:
    log.write_bytes(b"ok\n\xff\xfe bad\n")
    assert tail(log, 1) == "\ufffd\ufffd bad\n"


def test_tail_leaves_out_the_hole_of_an_archived_head(log: Path) -> None:
    with open(log, "wb") as file:
        file.truncate(10_000)
        file.seek(10_000)
        file.write(b"a\nb\n")
    assert tail(log, 10) == "a\nb\n"
    assert tail(log, 10, max_bytes=6) == "a\nb\n"


def test_reading_on_as_it_grows(log: Path) -> None:
    assert read_from(log, 0) == ("", 0)
    with open(log, "ab", buffering=0) as file:
        file.write(b"one\n")
        text, offset = read_from(log, 0)
        assert (text, offset) == ("one\n", 4)
        assert read_from(log, offset) == ("", 4)
        file.write(b"two\n")
        assert read_from(log, offset) == ("two\n", 8)


@pytest.mark.parametrize("character", ["ä", "€", "😀"])
def test_character_that_arrives_in_pieces_is_read_once_it_is_whole(log: Path, character: str) -> None:
    offset, seen = 0, ""
    with open(log, "ab", buffering=0) as file:
        for byte in f"a{character}b".encode():
            file.write(bytes([byte]))
            text, offset = read_from(log, offset)
            seen += text
    assert seen == f"a{character}b"
    assert offset == log.stat().st_size


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 7])
def test_pieces_of_any_size_give_the_whole_text(log: Path, limit: int) -> None:
    text = "aä€😀\n" * 5
    log.write_text(text)
    offset, seen = 0, ""
    while offset < log.stat().st_size:
        piece, after = read_from(log, offset, limit)
        assert after > offset
        seen, offset = seen + piece, after
    assert seen == text


def test_bytes_that_are_no_text_do_not_stop_the_reading(log: Path) -> None:
    log.write_bytes(b"a\xff\xe2\x82b")
    assert read_from(log, 0) == ("a\ufffd\ufffdb", 5)


def test_file_that_became_shorter_is_read_from_its_start(log: Path) -> None:
    log.write_text("a long line\n")
    _, offset = read_from(log, 0)
    log.write_text("new\n")
    assert read_from(log, offset) == ("new\n", 4)


def test_nothing_is_lost_while_somebody_writes(log: Path) -> None:
    writer = subprocess.Popen(["/bin/sh", "-c", 'for n in $(seq 3000); do echo "line ä $n"; done >>"$0"', log])
    seen, offset = "", 0
    while True:
        ended = writer.poll() is not None
        text, offset = read_from(log, offset, 100)
        seen += text
        if ended and not text:
            break
    assert seen == "".join(f"line ä {number}\n" for number in range(1, 3001))


def test_archived_head_leaves_a_hole_that_nobody_sees(log: Path, tmp_path: Path) -> None:
    lines = [f"line {number:05}\n" for number in range(10_000)]  # 11 bytes each
    log.write_text("".join(lines))
    size, blocks = log.stat().st_size, log.stat().st_blocks
    archive = tmp_path / "archive"
    assert archive_head(log, archive, keep=1000).archived == 9909 * 11
    assert text_of(archive) == "".join(lines[:9909])
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert log.stat().st_size == size  # offsets stay valid
    assert log.stat().st_blocks < blocks / 4
    assert tail(log, 10_000) == "".join(lines[9909:])
    assert read_from(log, 0) == ("".join(lines[9909:]), size)
    assert occupied(log) < 1000 + 2 * 4096  # a hole ends at a block
    assert read_from(log, size - 11) == (lines[-1], size)
    with open(log, "a") as file:
        file.write("more\n")
    assert read_from(log, size) == ("more\n", size + 5)


@pytest.mark.parametrize("behind", [1, 500, 5000, 50_000])
def test_whoever_lags_behind_reads_on_where_the_hole_ends(log: Path, tmp_path: Path, behind: int) -> None:
    """The hole ends at a block: the rest of the head in the last one is zeros, and no text."""
    lines = [f"line {number:05}\n" for number in range(10_000)]
    log.write_text("".join(lines))
    moved = archive_head(log, tmp_path / "archive", keep=1000).archived
    assert read_from(log, moved - behind, 22) == ("".join(lines[9909:9911]), moved + 22)


def test_a_head_that_is_smaller_than_a_block(log: Path, tmp_path: Path) -> None:
    log.write_text("one\ntwo\nthree\n")
    assert archive_head(log, tmp_path / "archive", keep=8).archived == 4
    assert text_of(tmp_path / "archive") == "one\n"
    assert read_from(log, 0) == ("two\nthree\n", 14)
    assert tail(log, 10) == "two\nthree\n"
    assert archive_head(log, tmp_path / "second", keep=6).archived == 8
    assert text_of(tmp_path / "second") == "two\n"
    assert read_from(log, 0) == ("three\n", 14)


def test_a_line_without_an_end_is_cut_all_the_same(log: Path, tmp_path: Path) -> None:
    """A progress bar ends no line, and would make the log grow for ever."""
    log.write_text("50 %\r" * 500_000)
    assert archive_head(log, tmp_path / "archive", keep=1000).archived == 2_499_000
    assert read_from(log, 0, 10_000) == ("50 %\r" * 200, 2_500_000)


def test_what_a_killed_one_left_is_in_nobodys_way(log: Path, tmp_path: Path) -> None:
    log.write_text("a\nb\n")
    (tmp_path / f"archive{logs.UNFINISHED}").write_text("half an arch")
    archive_head(log, tmp_path / "archive", keep=2)
    assert text_of(tmp_path / "archive") == "a\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "log"]


def test_nothing_is_archived_through_a_link(log: Path, tmp_path: Path) -> None:
    """Whoever works in a checkout may put a link where a log was."""
    treasure = tmp_path / "treasure"
    treasure.write_text("a\nb\n")
    log.symlink_to(treasure)
    assert occupied(log) == 0
    with pytest.raises(OSError, match="symbolic links"):
        archive_head(log, tmp_path / "archive", keep=0)
    assert treasure.read_text() == "a\nb\n"


def test_what_is_no_file_holds_nothing(log: Path) -> None:
    assert occupied(log) == 0
    os.mkfifo(log)
    assert occupied(log) == 0


def test_head_can_be_archived_again(log: Path, tmp_path: Path) -> None:
    lines = [f"line {number:05}\n" for number in range(20_000)]
    log.write_text("".join(lines[:10_000]))
    archive_head(log, tmp_path / "1", keep=500)
    with open(log, "a") as file:
        file.write("".join(lines[10_000:]))
    archive_head(log, tmp_path / "2", keep=500)
    parts = text_of(tmp_path / "1"), text_of(tmp_path / "2"), tail(log, 20_000)
    assert "".join(parts) == "".join(lines)


@pytest.mark.parametrize("keep", [4, 100, 1000])
def test_little_log_is_left_alone(log: Path, tmp_path: Path, keep: int) -> None:
    log.write_text("a\nb\nc")
    assert archive_head(log, tmp_path / "archive", keep=keep).archived in (0, 2)
    log.write_text("no end of line")
    assert archive_head(log, tmp_path / "other", keep=3).archived == 0
    assert not (tmp_path / "other").exists()


def test_archive_is_never_overwritten(log: Path, tmp_path: Path) -> None:
    log.write_text("a\nb\n")
    (tmp_path / "archive").write_text("mine")
    with pytest.raises(Conflict):
        archive_head(log, tmp_path / "archive", keep=0)
    assert (tmp_path / "archive").read_text() == "mine"
    assert log.read_text() == "a\nb\n"


def test_file_system_without_holes_leaves_the_log_whole(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.write_text("a\nb\n")
    monkeypatch.setattr(logs, "_PUNCH_HOLE", 1 << 20)  # no such mode: the kernel refuses
    with pytest.raises(Unavailable):
        archive_head(log, tmp_path / "archive", keep=0)
    assert log.read_text() == "a\nb\n"
    assert not (tmp_path / "archive").exists()


def test_no_line_is_lost_while_writers_write_and_heads_are_archived(log: Path, tmp_path: Path) -> None:
    log.touch()
    script = 'n=0; while [ $n -lt 3000 ]; do n=$((n+1)); echo "writer $1 line $n"; done >>"$0"'
    writers = [subprocess.Popen(["/bin/sh", "-c", script, log, str(number)]) for number in range(3)]
    archives: list[Path] = []
    while any(writer.poll() is None for writer in writers) or len(archives) < 2:
        archive = tmp_path / f"archive{len(archives)}"
        if archive_head(log, archive, keep=100).archived:
            archives.append(archive)
    text = "".join(text_of(archive) for archive in archives) + tail(log, 10_000)
    assert sorted(text.splitlines()) == sorted(
        f"writer {writer} line {line}" for writer in range(3) for line in range(1, 3001)
    )
    for writer in range(3):
        mine = [line for line in text.splitlines() if line.startswith(f"writer {writer} ")]
        assert mine == [f"writer {writer} line {line}" for line in range(1, 3001)]


@pytest.mark.parametrize(
    ("text", "lines", "expected"),
    [
        ("", 5, 0),
        ("a\nb\nc\n", 2, 2),
        ("a\nb\nc", 2, 2),
        ("a\nb\nc\n", 3, 0),
        ("a\nb\nc\n", 9, 0),
        ("\n\n\n", 1, 2),
    ],
)
def test_where_the_last_lines_begin(log: Path, text: str, lines: int, expected: int) -> None:
    assert begin_of_end(log, lines) == 0
    log.write_text(text)
    assert begin_of_end(log, lines) == expected


def test_where_the_last_lines_begin_is_not_looked_for_further_back(log: Path) -> None:
    log.write_text("".join(f"line {number:04}\n" for number in range(1000)))  # 10 bytes each
    assert begin_of_end(log, 100, limit=25) == 9980
    assert begin_of_end(log, 1, limit=25) == 9990


def test_whole_lines_are_followed_and_the_begun_one_is_told_apart(log: Path) -> None:
    assert read_lines(log, 0) == ("", 0, "")
    log.write_text("one\ntw")
    text, after, begun = read_lines(log, 0)
    assert (text, begun) == ("one\n", "tw")
    with log.open("a") as file:
        file.write("o\nthree\n")
    assert read_lines(log, after) == ("two\nthree\n", 14, "")
    assert read_lines(log, 14) == ("", 14, "")
    assert read_lines(log, 6) == ("two\nthree\n", 14, ""), "within a line: from its beginning"
    log.write_text("new\n")
    assert read_lines(log, 14) == ("new\n", 4, ""), "it became shorter"


def test_long_lines_come_in_pieces(log: Path) -> None:
    log.write_text("x" * 25 + "\nshort\n")
    read, offset = "", 0
    for _ in range(9):
        text, offset, begun = read_lines(log, offset, limit=10)
        read += text
        assert len(text) <= 10
        assert begun in {"", "short"}
    assert read == log.read_text()


def test_whole_lines_behind_an_archived_head(log: Path, tmp_path: Path) -> None:
    log.write_text("".join(f"line {number:06}\n" for number in range(2000)))
    assert archive_head(log, tmp_path / "archive.gz", keep=5000).archived > 0
    text, after, begun = read_lines(log, 0)
    assert text.startswith("line 00")
    assert (text.splitlines()[-1], after, begun) == ("line 001999", log.stat().st_size, "")
    assert begin_of_end(log, 1) == log.stat().st_size - 12
