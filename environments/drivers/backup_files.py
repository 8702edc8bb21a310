"""Backups as files: packed, told apart by a checksum, described beside, verified by restoring them.

    data/backups/shop-dev1-qa-20250131T120000Z.sqlite3.gz
                 shop-dev1-qa-20250131T120000Z.json          what it is of, when it was taken, its checksum, its tables
                 .shop-dev1-qa-20250131T120000Z.….gaia-unfinished   while it is worked on

The description is also what finds a backup again when GAIA's own database is what was lost.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

from common.errors import Conflict, GaiaError, NotFound, Unavailable
from common.files import write_json
from environments.drivers.backup_sqlite import copy_database
from environments.drivers.databases import TRACES, Contents, DatabaseDamaged, Watch, examine, too_long
from environments.drivers.partial import cannot_write
from environments.drivers.writing import UNFINISHED

SQLITE, POSTGRES = "sqlite", "postgresql"
SUFFIXES = {SQLITE: ".sqlite3.gz", POSTGRES: ".dump"}
OWN = "gaia"
"""Whose backups are GAIA's own database's."""

_STAMP = "%Y%m%dT%H%M%SZ"
_LEVEL = 1  # of gzip: a database packs nearly as well as with 6, three times as fast
_CHUNK = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Facts:
    """What is known of a backup without any database.

    Args:
        name: `shop-dev1-qa-20250131T120000Z`.
        of: key of whose database it is: `environment/shop-dev1/qa`, or `gaia`.
        engine: sqlite or postgresql.
        reason: why it was taken.
        taken_at: when the copy began, UTC in ISO 8601.
        source: where the database lay.
        size: bytes of the file; `unpacked` of the database in it.
        sha256: of the file.
        tables: rows by table, None where they could not be counted.
        orphans: rows whose foreign keys lead nowhere; None when that is not known.
        check: how it was verified.
    """

    name: str
    of: str
    engine: str
    reason: str
    taken_at: str
    source: str
    size: int = 0
    unpacked: int = 0
    sha256: str = ""
    tables: dict[str, int] | None = None
    orphans: int | None = 0
    check: str = ""

    @property
    def moment(self) -> datetime:
        return datetime.fromisoformat(self.taken_at)

    def file_in(self, directory: Path) -> Path:
        """The backup itself."""
        return directory / f"{self.name}{SUFFIXES[self.engine]}"


def new_name(directory: Path, label: str, now: datetime, taken: Callable[[str], bool]) -> str:
    """A name nobody has: the label, the moment, and a number for the second one of the same second.

    Args:
        taken: whether somebody has it without a file.
    """
    plain = f"{label}-{now.astimezone(UTC).strftime(_STAMP)}"
    for number in range(1, 1000):
        name = plain if number == 1 else f"{plain}-{number}"
        if not taken(name) and not any(directory.glob(f"{name}.*")):
            return name
    raise Conflict(f"there are too many backups named {plain}", fix="Wait a second.")


def take_sqlite(
    source: Path, directory: Path, facts: Facts, *, timeout: float, watch: Watch | None = None
) -> tuple[Facts, Path]:
    """Copy a SQLite database, pack it, and restore it into a scratch file that is then examined.

    A kill at any moment leaves nothing under the backup's own name, or all of it.

    Args:
        facts: what is known beforehand.
        timeout: seconds for each of the three.
        watch: told how far it is; what it raises ends it.

    Returns: all facts, and the file.
    Raises: NotFound; DatabaseDamaged, then there is no backup; DatabaseInUse, Refused, Unavailable.
    """
    file = facts.file_in(directory)
    with unfinished(directory, facts.name) as place:
        plain, packed, scratch = place("copy"), place("packed"), place("scratch")
        _require_room(directory, source)
        copy_database(source, plain, timeout=timeout, watch=_share(watch, 0.0, 0.4))
        sha256 = _pack(plain, packed, timeout, _share(watch, 0.4, 0.3))
        unpacked = plain.stat().st_size
        plain.unlink()
        unpack(packed, scratch, timeout=timeout)
        contents = examine_copy(scratch, source, timeout=timeout, watch=_share(watch, 0.7, 0.3))
        whole = replace(
            facts, size=packed.stat().st_size, unpacked=unpacked, sha256=sha256,
            tables=dict(contents.tables), orphans=contents.orphans, check=contents.check,
        )  # fmt: skip
        publish(packed, file, whole, directory)
    return whole, file


def publish(packed: Path, file: Path, facts: Facts, directory: Path) -> None:
    """Give a finished backup its name: what it is first, so that no backup is ever without."""
    os.chmod(packed, 0o600)
    describe(facts, directory)
    os.replace(packed, file)
    sync_directory(directory)


def describe(facts: Facts, directory: Path) -> None:
    """Write down what a backup is."""
    write_json(directory / f"{facts.name}.json", asdict(facts))


def known(directory: Path, name: str) -> Facts | None:
    """What is written down of a backup; None when nothing is, or it cannot be read."""
    if not _NAME.fullmatch(name):
        return None
    try:
        data = json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))
        facts = Facts(**data)
        return facts if facts.name == name and facts.engine in SUFFIXES and facts.moment.tzinfo else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def all_known(directory: Path) -> list[Facts]:
    """Every backup whose file is there, oldest first."""
    found = (known(directory, path.stem) for path in directory.glob("*.json"))
    there = [facts for facts in found if facts is not None and facts.file_in(directory).is_file()]
    return sorted(there, key=lambda facts: (facts.taken_at, facts.name))


def remove(directory: Path, name: str) -> bool:
    """Remove a backup's files, the finished and the unfinished; False when there were none."""
    there = [path for suffix in (*SUFFIXES.values(), ".json") for path in [directory / f"{name}{suffix}"]]
    there += remains(directory, name)
    removed = False
    for path in there:
        with suppress(FileNotFoundError):
            path.unlink()
            removed = True
    return removed


def remains(directory: Path, name: str) -> list[Path]:
    """What a backup that was interrupted has left."""
    ours = re.compile(rf"\.{re.escape(name)}\.[a-z]+{re.escape(UNFINISHED)}({'|'.join(TRACES)})?")
    return [path for path in directory.glob(f".{name}.*") if ours.fullmatch(path.name)]


def verify_sqlite(file: Path, directory: Path, facts: Facts, *, timeout: float, watch: Watch | None = None) -> Contents:
    """Restore a backup into a scratch file once more and examine that.

    Raises: DatabaseDamaged, NotFound when the backup is not what it was; Unavailable.
    """
    require_same(file, facts.sha256)
    with unfinished(directory, facts.name) as place:
        unpack(file, place("scratch"), timeout=timeout)
        return examine_copy(place("scratch"), file, timeout=timeout, watch=_share(watch, 0.3, 0.7))


def require_same(file: Path, sha256: str) -> None:
    """Raise NotFound when a backup's file is gone, DatabaseDamaged when it is not the one that was written."""
    try:
        same = digest(file) == sha256
    except FileNotFoundError as error:
        raise NotFound(f"the backup {file.name} is gone", meaning=f"There is no {file}.") from error
    except OSError as error:
        raise Unavailable(f"{file} cannot be read: {error.strerror}", fix="Is the disk failing?") from error
    if not same:
        raise spoiled(file)


def spoiled(file: Path) -> DatabaseDamaged:
    """The error for a backup that cannot be trusted any more."""
    return DatabaseDamaged(
        f"the backup {file.name} was damaged or changed since it was taken",
        meaning="It cannot be relied upon.",
        fix="Take another one; gaia backup list shows what there is.",
        path=str(file),
    )


def unpack(file: Path, target: Path, *, timeout: float) -> None:
    """Restore a packed SQLite database into a new file, mode 0600, on disk when this returns.

    Raises: DatabaseDamaged for a file that is no whole archive; Unavailable when it cannot be written, or in time.
    """
    deadline = time.monotonic() + timeout
    try:
        with gzip.open(file, "rb") as packed, open(target, "xb", opener=_private) as plain:
            _pour(packed, plain, deadline, timeout)
            plain.flush()
            os.fsync(plain.fileno())
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise spoiled(file) from error
    except OSError as error:
        raise cannot_write(target.parent, error) from error


def examine_copy(scratch: Path, source: Path, *, timeout: float, watch: Watch | None = None) -> Contents:
    """Examine what was restored; what is wrong is told of where it came from.

    Raises: as `examine`.
    """
    try:
        return examine(scratch, timeout=timeout, watch=watch, alone=True)
    except GaiaError as error:
        texts = [
            text.replace(str(scratch), str(source)).replace(scratch.name, source.name)
            for text in (error.what, error.meaning, error.fix)
        ]
        raise type(error)(texts[0], meaning=texts[1], fix=texts[2], path=str(source)) from error


def digest(file: Path) -> str:
    """SHA-256 of a file."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def unfinished(directory: Path, name: str) -> Iterator[Any]:
    """Gives places for what is not finished yet; what is left there is gone when the block ends.

    Raises: Unavailable, Refused when they cannot be written.
    """
    for path in remains(directory, name):
        path.unlink(missing_ok=True)
    try:
        yield lambda kind: directory / f".{name}.{kind}{UNFINISHED}"
    except OSError as error:
        raise cannot_write(directory, error) from error
    finally:
        for path in remains(directory, name):
            path.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Have names that were changed in a directory survive a power cut."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _require_room(directory: Path, source: Path) -> None:
    try:
        needed, free = source.stat().st_size, shutil.disk_usage(directory).free
    except OSError:
        return  # whoever opens it says what is wrong
    if free < 2 * needed:  # the copy and what it is packed into
        raise Unavailable(
            f"{directory} has {free // 1_000_000} MB left, a backup of {source.name} needs {2 * needed // 1_000_000}",
            fix="Make room there: gaia backup list, gaia backup delete.",
            path=str(directory),
        )


class _Hashing:
    """Writes to a file and adds up what it wrote."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.sum = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sum.update(data)
        return self._stream.write(data)

    def flush(self) -> None:
        self._stream.flush()


def _pack(plain: Path, packed: Path, timeout: float, watch: Watch | None) -> str:
    """Returns: the checksum of what was written, which is on disk."""
    deadline, total = time.monotonic() + timeout, plain.stat().st_size
    with open(plain, "rb") as source, open(packed, "xb", opener=_private) as stream:
        hashing = _Hashing(stream)
        with gzip.GzipFile(
            filename="", mode="wb", compresslevel=_LEVEL, fileobj=cast(Any, hashing), mtime=0
        ) as archive:
            _pour(source, archive, deadline, timeout, total, watch)
        stream.flush()
        os.fsync(stream.fileno())
    return hashing.sum.hexdigest()


def _pour(
    source: Any, target: Any, deadline: float, timeout: float, total: int = 0, watch: Watch | None = None
) -> None:
    done = 0
    while chunk := source.read(_CHUNK):
        target.write(chunk)
        done += len(chunk)
        if time.monotonic() > deadline:
            raise too_long("packing or unpacking a backup", timeout)
        if watch is not None:
            watch(done / total if total else 0.0)


def _share(watch: Watch | None, begin: float, part: float) -> Watch | None:
    """Somebody who watches the whole, for one part of it."""
    return None if watch is None else lambda fraction: watch(begin + part * fraction)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
