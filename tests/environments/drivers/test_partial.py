"""Directories that are built beside their place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.errors import Conflict, Refused, Unavailable
from environments.drivers.partial import partial_directory, publish, remove_dead_partials


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty directory."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def test_published_in_one_step_and_nothing_is_left(place: Path) -> None:
    target = place / "demo [1]*"
    with partial_directory(target) as partial:
        (partial / "built").mkdir()
        (partial / "built/x").write_text("1")
        assert not target.exists()
        publish(partial / "built", target)
    assert (target / "x").read_text() == "1"
    assert os.listdir(place) == [target.name]


def test_a_failure_leaves_nothing(place: Path) -> None:

    def fail() -> None:
        with partial_directory(place / "demo") as partial:
            (partial / "built").mkdir()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert os.listdir(place) == []


def test_what_appeared_in_the_meantime_is_not_replaced(place: Path) -> None:
    with partial_directory(place / "demo") as partial:
        (partial / "built").mkdir()
        (place / "demo").mkdir()
        with pytest.raises(Conflict):
            publish(partial / "built", place / "demo")


def test_only_the_partials_of_the_dead_are_removed(place: Path) -> None:
    target = place / "demo"
    dead, foreign = place / ".demo.gaia-partial-dead", place / ".demo.gaia-partial-mine"
    for directory in (dead, foreign, place / ".demo.gaia-partial-empty", place / ".demo2.gaia-partial-dead"):
        directory.mkdir()
    for directory in (dead, place / ".demo2.gaia-partial-dead"):
        (directory / "gaia-partial.json").write_text("{}")
        (directory / "tree").mkdir()
    (foreign / "work").write_text("mine")
    (place / ".demo.gaia-partial-link").symlink_to(dead)
    with partial_directory(target) as living:
        assert remove_dead_partials(target) == ()
        assert not dead.exists()
        assert living.exists()
    assert sorted(os.listdir(place)) == [
        ".demo.gaia-partial-link",
        ".demo.gaia-partial-mine",
        ".demo2.gaia-partial-dead",
    ]


def test_a_partial_half_removed_is_still_known(place: Path) -> None:
    """Somebody wrote into it while it was removed: the marker must outlast the rest."""
    dead = place / ".demo.gaia-partial-dead"
    (dead / "tree").mkdir(parents=True)
    (dead / "gaia-partial.json").write_text("{}")
    (dead / "stubborn").write_text("")
    remove_dead_partials(place / "demo")
    assert (dead / "gaia-partial.json").exists() or not dead.exists()


@pytest.mark.parametrize("target", ["file/demo", "/proc/demo"])
def test_places_that_cannot_be_written(place: Path, target: str) -> None:
    (place / "file").write_text("")
    with pytest.raises((Unavailable, Refused)) as raised, partial_directory(place / target):
        pass
    assert raised.value.fix
