"""Removed checkouts wait in the trash, and then they are gone for good."""

from __future__ import annotations

import datetime
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import time_machine
from django.conf import settings

from environments.jobs import purge
from events.models import Event
from tests.environments.places import Place


@pytest.fixture
def removed_at() -> Iterator[datetime.datetime]:
    """Everything is removed at this moment."""
    moment = datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.UTC)
    with time_machine.travel(moment, tick=True):
        yield moment


def test_the_trash_is_purged_after_seven_days(place: Place, removed_at: datetime.datetime) -> None:
    place.ready(1)
    [removed] = place.clean()
    trash = Path(removed["trash"])
    (settings.GAIA.home.trash / "somebody's").mkdir()

    with time_machine.travel(removed_at + datetime.timedelta(days=6, hours=23)):
        assert purge() == 0
        assert trash.is_dir()
    with time_machine.travel(removed_at + datetime.timedelta(days=7, hours=1)):
        assert purge() == 1
        assert purge() == 0

    assert not trash.exists()
    assert (settings.GAIA.home.trash / "somebody's").is_dir()
    [event] = Event.objects.filter(kind="trash.purged")
    assert (event.actor, event.data) == ("jobs:purge-trash", {"purged": [str(trash)]})


def test_what_cannot_be_purged_does_not_keep_the_rest(
    place: Place, removed_at: datetime.datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.ready(2)
    stuck, other = (Path(removed["trash"]) for removed in place.clean())
    rmdir = os.rmdir

    def busy(path: str, **options: object) -> None:
        """As when a disk is mounted there."""
        if str(path) == str(stuck):
            raise OSError(errno.EBUSY, "Device or resource busy", str(path))
        rmdir(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rmdir", busy)
    with time_machine.travel(removed_at + datetime.timedelta(days=8)):
        assert purge() == 1

    assert not other.exists()
    assert stuck.is_dir()
    told = Event.objects.get(kind="trash.stuck")
    assert (told.level, told.data) == ("error", {"path": str(stuck)})
    assert "Device or resource busy" in told.message


def test_the_days_in_the_trash_are_a_setting(
    place: Place, removed_at: datetime.datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.GAIA.values, "environments.trash_days", 1)  # type: ignore[arg-type]
    place.ready(1)
    place.clean()

    with time_machine.travel(removed_at + datetime.timedelta(days=1, hours=1)):
        assert purge() == 1
