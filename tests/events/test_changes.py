"""Noticing commits of others."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from django.db import connection, connections

from events import log
from events.actor import acting_as
from events.changes import ChangeSignal

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
