"""Logs that are written all the time stay bounded, lose nothing, and are followed all the while."""

from __future__ import annotations

import gzip
import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from common.home import gaia_home
from events.models import Event
from gaia_site.node import loops
from processes.actions import logs as actions
from processes.actions.logs import read_all, read_end, read_on, remove_old, trim
from processes.actions.operations import request_operation
from processes.drivers import logs as driver
from processes.models import Node, Process
from processes.rotation import Rotation
from processes.states import OperationState
from tests.processes.conftest import Daemon, Until
from tests.processes.operation_settings import KINDS

LIMIT, KEEP = 100_000, 50_000
NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


def archives(log: Path) -> list[Path]:
    return sorted(log.parent.glob(f"{log.name}.*.gz"))


def text_of(archive: Path) -> str:
    with gzip.open(archive, "rt") as file:
        return file.read()


class Follower:
    """Reads a log by its offset, as a page that is open does."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.offset = 0
        self.text = ""

    def read(self) -> None:
        while True:
            part, after = read_on(self.log, self.offset)
            self.text += part
            if after == self.offset:
                return
            self.offset = after


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts a shell that appends to `log` for as long as the test runs."""
    started: list[subprocess.Popen[bytes]] = []

    def start(script: str) -> subprocess.Popen[bytes]:
        with open(tmp_path / "log", "ab") as log:
            started.append(
                subprocess.Popen(
                    ["/bin/sh", "-c", script], stdin=subprocess.PIPE, stdout=log, cwd=tmp_path, start_new_session=True
                )
            )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_no_line_is_lost_of_a_process_that_keeps_writing(
    writer: Callable[[str], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    log, turns = tmp_path / "log", 0
    process = writer('n=0; while [ ! -e enough ]; do n=$((n+1)); echo "line $n of many words"; done')
    while turns < 5:
        turns += trim(log, NOW + timedelta(seconds=turns), limit=LIMIT, archives=100).archived > 0
        assert "\0" not in read_end(log, 10)
    (tmp_path / "enough").touch()
    process.wait(60)
    assert len(archives(log)) == 5
    lines = ("".join(map(text_of, archives(log))) + read_all(log)).splitlines()
    assert lines == [f"line {number} of many words" for number in range(1, len(lines) + 1)]
    assert log.stat().st_blocks * 512 < log.stat().st_size


def test_a_reader_that_follows_by_offset_misses_nothing_and_reads_nothing_twice(
    writer: Callable[[str], subprocess.Popen[bytes]], tmp_path: Path, until: Until
) -> None:
    log, follower = tmp_path / "log", Follower(tmp_path / "log")
    process = writer("while read n; do seq -f 'line %08g' $n $((n+9999)); done")
    assert process.stdin is not None
    for turn in range(5):
        process.stdin.write(f"{turn * 10_000}\n".encode())
        process.stdin.flush()
        until(lambda turn=turn: log.stat().st_size == 14 * 10_000 * (turn + 1))
        if turn % 2:
            follower.read()
        assert trim(log, NOW + timedelta(seconds=turn), limit=LIMIT, archives=2).archived > 0
        follower.read()
        assert driver.occupied(log) < LIMIT
    seen = follower.text.splitlines()
    assert all(line.startswith("line ") and len(line) == 13 for line in seen), "lines are whole"
    assert len(set(seen)) == len(seen)
    assert sorted(seen) == seen
    assert {f"line {number:08}" for number in range(10_000, 20_000)} <= set(seen), "it kept up with that turn"
    assert len(archives(log)) == 2, "the oldest went"
    assert text_of(archives(log)[-1]).endswith(f"line {49_999 - KEEP // 14 - 1:08}\n")


def test_a_log_that_is_not_too_long_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert trim(log, NOW, limit=LIMIT, archives=2).archived == 0
    log.write_text("x\n" * 50_000)
    assert trim(log, NOW, limit=LIMIT, archives=2).archived == 0
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log may hold a megabyte."""
    monkeypatch.setitem(settings.GAIA.values, "processes.log_mb", 1)  # type: ignore[arg-type]


def long_log(path: Path) -> Path:
    path.write_text("a line of a log that is too long\n" * 60_000)
    return path


@pytest.mark.django_db
def test_every_log_that_is_written_is_looked_at(node: Node, small: None, tmp_path: Path, request_sh: Any) -> None:
    home, elsewhere = gaia_home(), long_log(tmp_path / "qa.log")
    inside = [long_log(home.logs / "node.log"), long_log(home.processes / "gaia-web.log")]
    request_sh("true", log_file=elsewhere)
    strangers = long_log(tmp_path / "mine.log")
    [logs] = [loop for loop in loops(node) if loop.name == "logs"]
    logs.work()
    for log in (*inside, elsewhere):
        assert len(archives(log)) == 1
        assert driver.occupied(log) < 600_000
    assert archives(strangers) == []


@pytest.mark.django_db
def test_a_directory_that_leads_out_of_the_checkout_is_left_alone(
    node: Node, small: None, tmp_path: Path, request_sh: Any
) -> None:
    checkout, elsewhere = tmp_path / "checkout", tmp_path / "elsewhere"
    checkout.mkdir()
    elsewhere.mkdir()
    treasure = long_log(elsewhere / "qa.log")
    (checkout / "logs").symlink_to(elsewhere)
    request_sh("true", cwd=checkout, log_file=checkout / "logs" / "qa.log")
    Rotation(node).turn()
    assert list(elsewhere.iterdir()) == [treasure]
    assert not Event.objects.filter(kind="log.not_trimmed").exists()


@pytest.mark.django_db
def test_one_that_cannot_be_trimmed_is_told_once_and_keeps_no_other_from_it(
    node: Node, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = long_log(gaia_home().processes / "a.log"), long_log(gaia_home().processes / "b.log")
    now = 1000.0
    rotation = Rotation(node, lambda: now)
    with monkeypatch.context() as broken:
        broken.setattr(driver, "_PUNCH_HOLE", 1 << 20)  # as on a file system that knows no holes
        rotation.turn()
        rotation.turn()
        told = Event.objects.filter(kind="log.not_trimmed").order_by("id")
        assert [event.data["path"] for event in told] == [str(bad), str(good)]
        assert (told[0].level, "a.log cannot be archived" in told[0].message) == ("warning", True)
        now += 3601
        rotation.turn()
        assert told.count() == 2, "told once"
    good.unlink()
    now += 3601
    rotation.turn()
    assert len(archives(bad)) == 1


@pytest.mark.django_db
def test_logs_of_old_operations_go(node: Node, settings: Any, acting: str) -> None:
    settings.GAIA_OPERATIONS = {**settings.GAIA_OPERATIONS, **KINDS}
    old, live = (request_operation("test.count", "T", subject=f"test/{n}", params={"to": 1}) for n in range(2))
    type(old).objects.filter(pk=old.pk).update(state=OperationState.SUCCEEDED, ended_at=NOW)
    folder = gaia_home().processes
    names = [f"operation-{old.pk}.log", f"operation-{old.pk}.log.20290101T000000000000Z.gz", f"operation-{live.pk}.log"]
    for name in (*names, "operation-mine.log", "gaia-web.log"):
        (folder / name).touch()
        os.utime(folder / name, (NOW.timestamp(), NOW.timestamp()))
    assert remove_old(folder, NOW + timedelta(days=30), days=30) == 0
    assert remove_old(folder, NOW + timedelta(days=30, seconds=1), days=30) == 2
    assert {path.name for path in folder.glob("*.log*")} == {names[2], "operation-mine.log", "gaia-web.log"}


@pytest.mark.django_db(transaction=True)
def test_a_process_of_the_daemon_floods_its_log(
    daemon: Daemon,
    node: Node,
    small: None,
    request_sh: Any,
    until: Until,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under the shim, with the log that GAIA gave it; nothing is lost for as long as it is compressed in time."""
    monkeypatch.setattr(actions, "_MOST", 1000)  # on a busy machine, too
    daemon.start()
    process = request_sh("n=0; while [ ! -e enough ]; do seq -f 'line %012g' $n $((n+99999)); n=$((n+100000)); done")
    log, rotation = Path(process.log), Rotation(node)
    while len(archives(log)) < 3:
        rotation.turn()
    (tmp_path / "enough").touch()
    until(lambda: not Process.objects.active().exists())
    lines = ("".join(map(text_of, archives(log))) + read_all(log)).splitlines()
    assert lines == [f"line {number:012}" for number in range(len(lines))]
