"""Writing the log: in the transaction of the change, by somebody, without credentials."""

from __future__ import annotations

from contextlib import suppress

import pytest
from django.db import transaction

from events import log
from events.actor import NoActor, acting_as
from events.models import Event

pytestmark = pytest.mark.django_db


def emit(name: str, **data: object) -> None:
    log.emit(f"test.{name}", subject=f"test/{name}", message=name, **data)


def kinds() -> list[str]:
    return list(Event.objects.order_by("id").values_list("kind", flat=True))


def test_an_event_says_who_did_what_to_what(acting: str) -> None:
    with log.atomic():
        emit("written", answer=42)
    event = Event.objects.get()
    assert event.as_dict() == {
        "id": event.id,
        "at": event.at.isoformat(),
        "actor": acting,
        "kind": "test.written",
        "subject": "test/written",
        "level": "info",
        "message": "written",
        "data": {"answer": 42},
    }


def test_outside_of_a_block_nothing_can_be_emitted(acting: str) -> None:
    with pytest.raises(RuntimeError, match="outside"):
        emit("lonely")
    with log.atomic():
        emit("kept")
    with pytest.raises(RuntimeError, match="outside"), transaction.atomic():
        emit("late")
    assert kinds() == ["test.kept"]


def test_without_an_actor_the_whole_change_is_refused() -> None:
    with pytest.raises(NoActor), log.atomic():
        emit("anonymous")
    assert kinds() == []


def test_whoever_acts_when_it_is_written_is_the_actor() -> None:
    asked: list[str] = []

    def lazily() -> str:
        asked.append("")
        return "user:late"

    with acting_as(lazily), log.atomic():
        assert not asked
        emit("one")
        with acting_as("user:inner"):
            emit("two")
    assert list(Event.objects.order_by("id").values_list("actor", flat=True)) == ["user:late", "user:inner"]


class Undone(Exception):
    pass


def undo(*names: str) -> None:
    """A block that emits, in a block of its own each, and fails."""
    with log.atomic():
        for name in names:
            emit(name)
            with log.atomic():
                emit(f"under_{name}")
        raise Undone


def test_a_failed_change_leaves_no_event(acting: str) -> None:
    with pytest.raises(Undone):
        undo("one", "two")
    assert kinds() == []
    with log.atomic():
        emit("next")
    assert kinds() == ["test.next"]


def test_a_failed_inner_block_takes_only_its_own_events_with_it(acting: str) -> None:
    with log.atomic():
        emit("first")
        with pytest.raises(Undone):
            undo("one")
        with log.atomic():
            emit("second")
        emit("third")
    assert kinds() == ["test.first", "test.second", "test.third"]


def test_a_failed_outer_block_takes_the_inner_ones_with_it(acting: str) -> None:
    with suppress(Undone), log.atomic():
        with log.atomic():
            emit("inner")
        raise Undone
    assert kinds() == []


@pytest.mark.parametrize(
    ("message", "stored"),
    [
        ("cloned https://me:hunter2@example.org/x.git", "cloned https://me:***@example.org/x.git"),
        ("cloned https://ghp_0123456789abcdef0123@example.org/x", "cloned https://***@example.org/x"),
        ("postgresql://gaia:s3:cr/et@db/gaia", "postgresql://gaia:s3:cr/et@db/gaia"),
        ("git@example.org:x.git and a@b", "git@example.org:x.git and a@b"),
    ],
    ids=["password", "token", "not a URL", "addresses"],
)
def test_passwords_in_urls_are_masked(acting: str, message: str, stored: str) -> None:
    with log.atomic():
        log.emit("test.masked", subject="test/masked", message=message)
    assert Event.objects.get().message == stored
