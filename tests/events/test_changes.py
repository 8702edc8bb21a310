"""Noticing commits of others."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection, connections

from events import log
from events.actor import acting_as
from events.changes import ChangeSignal
from events.drivers.writes import WriteWatch
from events.models import Destination

pytestmark = pytest.mark.django_db(transaction=True)
LONG = 30.0


@pytest.fixture
def signal() -> Iterator[ChangeSignal]:
    made = ChangeSignal()
    assert made.wait(LONG)  # the first look: whatever was before
    yield made
    made.close()


def elsewhere(emitting: bool = True) -> None:
    """Another connection commits, or takes back, an event."""

    def write() -> None:
        try:
            with acting_as("user:tester"), log.atomic():
                log.emit("test.written", subject="test", message="written")
                if not emitting:
                    raise InterruptedError
        except InterruptedError:
            pass
        finally:
            connections.close_all()

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()


def test_a_commit_wakes(signal: ChangeSignal) -> None:
    elsewhere()
    assert signal.wait(LONG)


def test_commits_while_nobody_waits_are_not_forgotten(signal: ChangeSignal) -> None:
    elsewhere()
    elsewhere()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM events_event")
    assert signal.wait(LONG)


def test_a_commit_without_an_event_is_no_news(signal: ChangeSignal) -> None:
    assert not signal.wait(0.1)

    def write() -> None:
        Destination.objects.create(name="ops", kind="webhook", address="http://127.0.0.1:9/")
        connections.close_all()

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert not signal.wait(0.1)
    elsewhere()
    assert signal.wait(LONG)


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="PostgreSQL tells of commits by itself")
@pytest.mark.parametrize("told", [True, False])
def test_whether_or_not_the_kernel_tells_of_writes(
    told: bool, signal: ChangeSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal.close()
    if not told:

        def refuse(_path: Path) -> None:
            raise OSError(errno.EMFILE, "too many")

        monkeypatch.setattr("events.changes.WriteWatch", refuse)
    assert signal.wait(LONG)
    while signal.wait(0.3):  # until all is quiet, and it waits to be told
        pass
    for _ in range(3):
        later = threading.Timer(0.1, elsewhere)
        later.start()
        began = time.monotonic()
        assert signal.wait(LONG)
        assert time.monotonic() - began < LONG / 2
        later.join()


def test_a_file_that_is_written_to_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one")
    watch = WriteWatch(path)
    assert not watch.wait(0)
    with path.open("a") as file:
        file.write("two")
    assert watch.wait(LONG)
    assert watch.clear()
    assert not watch.wait(0)
    path.unlink()
    assert watch.wait(LONG)
    assert not watch.clear()
    watch.close()
    with pytest.raises(FileNotFoundError):
        WriteWatch(path)


def test_silence_is_a_timeout(signal: ChangeSignal) -> None:
    assert not signal.wait(0.05)
    elsewhere(emitting=False)
    assert not signal.wait(0.05)


def test_a_lost_connection_counts_as_news_and_a_new_one_is_made(signal: ChangeSignal) -> None:
    assert connection.connection is not None
    connection.connection.close()  # behind Django's back, as a server that went away
    assert signal.wait(LONG)
    assert signal.wait(LONG)  # listening again
    elsewhere()
    assert signal.wait(LONG)
