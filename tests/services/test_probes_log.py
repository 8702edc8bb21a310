"""Lines of logs: patterns that cannot run away, and reading on while the log's head is archived."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from common.errors import InvalidInput
from common.patterns import compile_pattern
from processes.actions.logs import trim
from processes.actions.processes import request_start
from processes.models import Node
from services.drivers import probe_log
from services.drivers.probe_log import LogWatch


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "api.log"


def watch(log: Path, pattern: str = "ready", offset: int = 0, **options: int) -> LogWatch:
    return LogWatch(log, offset, compile_pattern(pattern), **options)


def write(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


# -- patterns


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        ("ready", "now ready to serve"),
        (r"listening on .*:\d+$", "INFO listening on http://127.0.0.1:8080"),
        (r"^(?:\d{1,3}\.){3}\d{1,3} up", "10.0.0.1 up"),
        (r"started|listening on port \d+", "listening on port 3000"),
        (r"started in (\d+(?:\.\d+)?) ?m?s", "started in 1.5 s"),
        ("(?i)READY", "Ready."),
        ("server ready", "\x1b[32mserver\x1b[0m \x1b[1mready\x1b[0m"),
        ("bereit für", "bereit für Anfragen"),
    ],
)
def test_patterns_people_write(pattern: str, line: str) -> None:
    found = compile_pattern(pattern)
    assert found.is_in(line)
    assert not found.is_in("something else")


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(a+)+$", "a loop or a choice within a loop"),
        ("(a|a)*$", "a loop or a choice within a loop"),
        ("(a?)*", "a loop or a choice within a loop"),
        ("(.*a){12}", "too many loops"),
        ("a*" * 12 + "b", "too many loops"),
        ("a{1,90}" * 6 + "b", "too many loops"),
        ("(((a{1,16}){16}){16})b", "too many loops"),
        (r"(a)\1", "refers back"),
        ("(", "no regular expression"),
        ("a{99999999999}", "no regular expression"),
    ],
)
def test_patterns_that_could_run_away_are_refused(pattern: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        compile_pattern(pattern)


def test_the_more_loops_the_less_of_a_line_is_looked_at() -> None:
    assert compile_pattern("ready").longest > compile_pattern(".*x.*y").longest > compile_pattern(".*x.*y.*z").longest
    worst = compile_pattern("a*a*b")
    assert not worst.is_in("a" * 1_000_000), "comes to an end"


# -- reading


def test_lines_of_this_start_only(log: Path) -> None:
    assert watch(log).look().answer == "there is no log yet"
    write(log, "ready\n")
    second = watch(log, offset=log.stat().st_size)
    assert second.look().answer == "no line has 'ready' yet"
    write(log, "almost\nrea")
    assert not second.look().ok
    write(log, "dy now\nmore\n")
    assert second.look().answer == "ready now"
    log.write_text("")
    assert second.look().ok, "what was found stays found"


def test_a_prompt_without_an_end_and_a_progress_bar(log: Path) -> None:
    write(log, "10 %\r50 %\r100 %: ready> ")
    assert watch(log).look().answer == "100 %: ready>"


def test_a_log_that_is_made_anew_is_read_from_its_start(log: Path) -> None:
    write(log, "a long line that was there before\n")
    found = watch(log)
    assert not found.look().ok
    log.write_text("ready\n")
    assert found.look().ok


def test_bytes_that_are_no_text(log: Path) -> None:
    log.write_bytes(b"\xff\xfe\x00 \xc3\nready \xe2\x82\n")
    assert watch(log).look().ok


def test_a_flood_is_read_piece_by_piece(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_log, "_PIECE", 400)
    write(log, "noise\n" * 500 + "ready\n")
    found, looks = watch(log, most=1000), 1
    while not found.look().ok:
        looks += 1
    assert looks == 3  # 3,006 bytes in pieces of 400, and at least 1,000 in a look


@pytest.mark.parametrize("seen", [0, 30_000, 95_000])
def test_nothing_is_missed_when_the_head_is_archived(log: Path, seen: int) -> None:
    """However far it had read before: what went into archives meanwhile is read there."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    line = "x" * 99 + "\n"
    write(log, "ready, but of an earlier start\n")
    offset = log.stat().st_size
    found = watch(log, offset=offset)
    write(log, line * (seen // 100))
    assert not found.look().ok
    write(log, line * ((100_000 - seen) // 100) + "ready\n" + line * 2000)
    for turn in range(3):
        assert trim(log, now + timedelta(seconds=turn), limit=90_000 - 20_000 * turn, archives=9).archived > 0
        write(log, line * 600)
    assert b"ready" not in log.read_bytes(), "it is in an archive"
    assert found.look().answer == "ready"


def test_a_look_that_ends_within_the_archives_is_gone_on_with_there(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look reads one piece: what comes before the offset has to be unpacked, and counts, too."""
    monkeypatch.setattr(probe_log, "_PIECE", 4096)
    write(log, "ready, but of an earlier start\n" * 1000)
    found, looks = watch(log, offset=log.stat().st_size, most=probe_log._PIECE), 1
    write(log, "x" * 99 + "\n")
    assert not found.look().ok
    write(log, ("x" * 99 + "\n") * 200 + "ready\n" + "y\n" * 50_000)
    trim(log, datetime(2026, 1, 1, tzinfo=UTC), limit=10_000, archives=3)
    while not found.look().ok:
        looks += 1
        assert looks < 30
    assert found.look().answer == "ready"
    assert looks > 31_000 // 4096, "of an archive no more was read at once"


def test_a_line_across_the_cut_is_one_line(log: Path) -> None:
    write(log, "first\nthe server is ")
    found = watch(log, "server is ready")
    assert not found.look().ok
    write(log, "ready\n" + "x\n" * 50_000)
    trim(log, datetime(2026, 1, 1, tzinfo=UTC), limit=10_000, archives=3)
    assert found.look().answer == "the server is ready"


def test_what_archives_do_not_keep_is_gone(log: Path) -> None:
    found = watch(log)
    write(log, "ready\n" + "x\n" * 50_000)
    trim(log, datetime(2026, 1, 1, tzinfo=UTC), limit=10_000, archives=3)
    next(log.parent.glob("*.gz")).unlink()
    assert found.look().answer == "no line has 'ready' yet"


def test_a_start_knows_where_its_lines_begin(node: Node, tmp_path: Path) -> None:
    log = tmp_path / "one.log"
    log.write_text("of an earlier start\n")
    process = request_start(node, "test/log", ["true"], cwd=tmp_path, log_file=log)
    assert process.log_offset == log.stat().st_size
    assert request_start(node, "test/new", ["true"], cwd=tmp_path, log_file=tmp_path / "two.log").log_offset == 0
