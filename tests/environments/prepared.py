"""Environments that are ready: the product sets them up once in a test process, further tests get copies.

A set-up costs 0.2 s of processor time, a copy a tenth of that. Copies lie at the same paths, with the same ports and
rows, so a test process keeps a directory and a block of ports for all of its tests. What a test has changed
beforehand - settings, the source, git's configuration, the home, other rows - makes the product do it.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection, transaction

from tests.environments.drivers.repositories import commit, make_repository

if TYPE_CHECKING:
    from tests.environments.places import Place

_EVENTS, _NODES = "events_event", "processes_node"  # both may be there before: a daemon's, an operator's
_OWN = ("gaia.sqlite3", "secret_key")
_PASSING = ("run", "logs", "processes")
_Rows = tuple[list[str], list[tuple[Any, ...]]]


@dataclass(frozen=True)
class _Made:
    """What a set-up left behind: files of the root and of the home, rows by table, and when."""

    files: Path
    rows: dict[str, _Rows]
    at: datetime


_made: dict[tuple[object, ...], _Made] = {}


@functools.cache
def own_root() -> Path:
    """Where this test process has the environments of its tests, one test after the other."""
    return _lasting("gaia-code-") / "code"


def copy_source(path: Path, files: dict[str, str]) -> Path:
    """A source with two commits; the same two in every test of this process."""
    shutil.copytree(_source(tuple(files.items())), path, symlinks=True)
    return path


def make_ready(place: Place, count: int) -> None:
    """Environments of the place's source, as `Place.set_up` makes them."""
    key = _key(place, count)
    if key is None:
        place.set_up(count)
    elif (made := _made.get(key)) is not None and _has_room(made):
        _put(place, made)
    else:
        before = _tables()
        place.set_up(count)
        if made is None and not any(rows for name, (_, rows) in before.items() if name == _NODES):
            _keep(key, place, before)


def _key(place: Place, count: int) -> tuple[object, ...] | None:
    """What a set-up depends on; None when it is not one of this process's usual ones."""
    home = settings.GAIA.home
    if connection.vendor != "sqlite" or place.root != own_root() or os.listdir(place.root) != [place.source.name]:
        return None
    if any(file for file in _files(home.root) if file.parts[0] not in _PASSING and not file.name.startswith(_OWN)):
        return None
    git = place.source / ".git"
    refs = [
        (name, (git / name).read_bytes()) for name in sorted(_files(git)) if name.parts[0] not in ("objects", "logs")
    ]
    variables = sorted(each for each in os.environ.items() if each[0].startswith(("GAIA_", "GIT_AUTHOR", "GIT_COMM")))
    configuration = Path(os.environ["GIT_CONFIG_GLOBAL"]).read_bytes()
    return count, place.base_port, repr(settings.GAIA.values), repr(refs), repr(variables), configuration


def _keep(key: tuple[object, ...], place: Place, before: dict[str, _Rows]) -> None:
    rows = {}
    for name, (columns, now) in _tables().items():
        if now != before[name][1]:
            rows[name] = columns, [row for row in now if row not in before[name][1]]
            if before[name][1] and name != _EVENTS:
                return
    files, home = _lasting("gaia-prepared-"), settings.GAIA.home
    _copy([each for each in place.root.iterdir() if each != place.source], files / "root")
    _copy(home.hubs.iterdir(), files / "hubs")
    _copy([each for each in home.data.iterdir() if each.is_file() and not each.name.startswith(_OWN)], files / "data")
    _made[key] = _Made(files, rows, datetime.now(UTC))


def _has_room(made: _Made) -> bool:
    with closing(connection.cursor()) as cursor:
        for name in made.rows.keys() - {_EVENTS, _NODES}:
            cursor.execute(f'SELECT EXISTS (SELECT 1 FROM "{name}")')  # noqa: S608  our own names
            if cursor.fetchone()[0]:
                return False
    return True


def _put(place: Place, made: _Made) -> None:
    home = settings.GAIA.home
    for name, target in (("root", place.root), ("hubs", home.hubs), ("data", home.data)):
        _copy((made.files / name).iterdir(), target)
    later = datetime.now(UTC) - made.at
    with transaction.atomic(), closing(connection.cursor()) as cursor:
        cursor.execute(f"SELECT EXISTS (SELECT 1 FROM {_NODES})")  # noqa: S608
        known = bool(cursor.fetchone()[0])
        for name, (columns, rows) in made.rows.items():
            if name == _NODES and known:
                continue
            skipped = ("id",) if name == _EVENTS else ()
            for row in rows:
                values = {column: value for column, value in zip(columns, row, strict=True) if column not in skipped}
                if known and values.get("kind") == "node.registered":
                    continue
                names, places = ", ".join(f'"{each}"' for each in values), ", ".join(["%s"] * len(values))
                told = [_later(value, later) for value in values.values()]
                cursor.execute(f'INSERT INTO "{name}" ({names}) VALUES ({places})', told)  # noqa: S608


def _later(value: Any, by: timedelta) -> Any:
    return value + by if isinstance(value, datetime) else value


def _tables() -> dict[str, _Rows]:
    found = {}
    with closing(connection.cursor()) as cursor:
        for name in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{name}"')  # noqa: S608
            found[name] = [column[0] for column in cursor.description], list(cursor.fetchall())
    return found


def _files(directory: Path) -> list[Path]:
    return [
        Path(place, name).relative_to(directory) for place, _, names in os.walk(directory) for name in names
    ]  # fmt: skip


def _copy(paths: Iterable[Path], target: Path) -> None:
    target.mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", "--", *paths, target], check=True, timeout=60)


@functools.cache
def _source(files: tuple[tuple[str, str], ...]) -> Path:
    source = make_repository(_lasting("gaia-source-") / "shop", dict(files))
    commit(source, {"docs/guide.md": "read me\n"}, "More")
    return source


def _lasting(prefix: str) -> Path:
    directory = Path(tempfile.mkdtemp(prefix=prefix)).resolve()
    atexit.register(_remove, directory, os.getpid())
    return directory


def _remove(directory: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked child has no business with it
        shutil.rmtree(directory, ignore_errors=True)
