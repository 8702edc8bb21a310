"""The trash: nothing is lost on the way there, and only what is old leaves it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from common.errors import NotFound, Refused, Unavailable
from environments.drivers import trash as trash_module
from environments.drivers.trash import move_to_trash, purge_trash, stamp
from tests.environments.drivers.repositories import snapshot_of

NOON = datetime(2025, 1, 31, 12, tzinfo=UTC)
WEEK_S = 7 * 86400.0


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with one of each kind."""
    path = tmp_path / "demo-dev1"
    (path / "deep/er").mkdir(parents=True)
    (path / "deep/er/file").write_text("x" * 5000)
    (path / "run").write_text("#!/bin/sh\n")
    (path / "run").chmod(0o755)
    (path / "link").symlink_to("nowhere")
    (path / "with\nnewline").write_bytes(b"\0\xff")
    return path


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A directory on another file system."""
    here = tmp_path.stat().st_dev
    others = [place for place in ("/dev/shm", "/var/tmp", "/tmp") if Path(place).stat().st_dev != here]
    assert others, "the tests need /dev/shm to be a file system of its own"
    place = Path(tempfile.mkdtemp(prefix="gaia-test-", dir=others[0]))
    yield place
    trash_module.remove_tree(place)


def contents(path: Path) -> dict[str, tuple[int, str]]:
    return {name: (mode, content) for name, (_, mode, _, content) in snapshot_of(path).items()}


def test_a_directory_moves_as_it_is(tree: Path, tmp_path: Path) -> None:
    before = snapshot_of(tree)
    place = move_to_trash(tree, tmp_path / "trash", now=NOON)
    assert place == tmp_path / "trash/demo-dev1-20250131T120000Z"
    assert not tree.exists()
    assert snapshot_of(place) == before
    assert (tmp_path / "trash").stat().st_mode & 0o777 == 0o700


def test_two_of_one_name_in_one_second(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        (tmp_path / "dev").mkdir()
        names.append(move_to_trash(tmp_path / "dev", tmp_path / "trash", now=NOON).name)
    assert names == ["dev-20250131T120000Z", "dev-20250131T120000Z-2", "dev-20250131T120000Z-3"]
    assert len(purge_trash(tmp_path / "trash", 0, NOON + timedelta(days=1))) == 3


def test_to_another_file_system_with_everything(tree: Path, elsewhere: Path) -> None:
    before = contents(tree)
    place = move_to_trash(tree, elsewhere / "trash", now=NOON)
    assert contents(place) == before
    assert not tree.exists()
    assert os.listdir(elsewhere / "trash") == [place.name]


def test_a_file_that_changes_on_the_way_keeps_the_original(
    tree: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The cp on PATH copies and then somebody writes into the original, as an agent still at work would."""
    (tmp_path / "bin").mkdir()
    script = f"#!/bin/sh\n/bin/cp \"$@\"\necho late >'{tree}/deep/er/late'\n"
    (tmp_path / "bin/cp").write_text(script)
    (tmp_path / "bin/cp").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    with pytest.raises(Unavailable, match=r"changed while it was moved.*deep/er/late"):
        move_to_trash(tree, elsewhere / "trash", now=NOON)
    assert (tree / "deep/er/file").exists()
    assert os.listdir(elsewhere / "trash") == []


@pytest.mark.parametrize("kind", ["missing", "file", "link"])
def test_only_directories_go_to_the_trash(tree: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "other"
    if kind == "file":
        path.write_text("")
    elif kind == "link":
        path.symlink_to(tree)
    with pytest.raises(NotFound):
        move_to_trash(path, tmp_path / "trash")
    assert tree.exists()


def test_a_trash_that_cannot_be_made(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((Unavailable, Refused)):
        move_to_trash(tree, tmp_path / "file/trash")
    assert tree.exists()


def test_only_the_old_is_purged(tmp_path: Path) -> None:
    trash = tmp_path / "trash"
    for name in ("a-20250101T000000Z", "b-20250130T000000Z", "mine", "c-20250101T000000Z.keep", "2025"):
        (trash / name).mkdir(parents=True)
    (trash / "file-20250101T000000Z").write_text("")
    (trash / "link-20250101T000000Z").symlink_to(tmp_path)
    assert purge_trash(trash, WEEK_S, NOON) == (trash / "a-20250101T000000Z",)
    assert len(os.listdir(trash)) == 6
    assert purge_trash(trash, WEEK_S, NOON) == ()
    assert purge_trash(tmp_path / "nothing", WEEK_S, NOON) == ()


def test_directories_without_write_permission_are_removed_too(tree: Path, tmp_path: Path) -> None:
    place = move_to_trash(tree, tmp_path / "trash", now=NOON)
    (place / "deep/er").chmod(0o500)
    (place / "deep").chmod(0)
    assert purge_trash(tmp_path / "trash", 0, NOON + timedelta(seconds=1)) == (place,)
    assert not place.exists()


def test_the_stamp_is_utc() -> None:
    assert stamp(datetime.fromisoformat("2025-01-31T13:00:00+01:00")) == "20250131T120000Z"
