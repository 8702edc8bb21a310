"""Whether a stage's SQLite database is there and whole, looked at without writing and in nobody's way.

Two facts shape it (SQLite 3.40, tried out). Opening a database in WAL mode makes its `-wal` and `-shm`, even with
`mode=ro`, and leaves them there. And a reader of a database in the older journal modes keeps writers from committing
for as long as it reads. So a database that nobody has open is read as `immutable`, without any lock or file beside it,
and what that finds is believed only when the file did not change meanwhile; one with a write-ahead log is read through
it with `readonly_shm`, which holds up no writer.
"""

from __future__ import annotations

import sqlite3
import stat
import time
from contextlib import closing, suppress
from enum import Enum
from pathlib import Path
from urllib.parse import quote

from common.errors import Conflict
from environments.drivers.checks import StageFacts, Subject
from environments.drivers.databases import stage_database
from environments.findings import Finding, size_told, well
from environments.states import Verdict

CHECK_S = 3.0
"""Seconds that looking through one database may take."""
_TRIES = 3
_STEPS = 20_000  # of SQLite's virtual machine between two looks at the clock
_MAGIC = b"SQLite format 3\0"


class _Unclear(Enum):
    """Why it could not be found out this time."""

    SLOW = f"it took longer than {CHECK_S:g} s"
    BUSY = "it was being written the whole time"
    LOCKED = "a program has it locked"
    JOURNAL = "a write is under way, or was interrupted"
    NO_INDEX = "it lies there with a write-ahead log that no program has open"


def check_databases(one: Subject) -> list[Finding]:
    """Every stage's database is there, whole, and does not grow out of bounds."""
    if not one.is_there():
        return []
    sizes: dict[str, int] = {}
    found: list[Finding] = []
    for stage in one.stages:
        found += _check(one, stage, sizes)
    number = "1 database" if len(sizes) == 1 else f"{len(sizes)} databases"
    whole = "" if found else ", whole"
    return [*found, well("databases", f"{number}, {size_told(sum(sizes.values()))}{whole}", sizes=sizes)]


def _check(one: Subject, stage: StageFacts, sizes: dict[str, int]) -> list[Finding]:
    try:
        file = stage_database(one.path, stage.name, stage.database)
    except Conflict as error:
        return [_failed(stage, "leads-out", error.what, error.meaning, error.fix)]
    try:
        facts = file.stat()
        if not stat.S_ISREG(facts.st_mode):
            return [_failed(stage, "no-file", f"{_called(stage)} is no file", str(file), f"ls -l {file}")]
        sizes[stage.name] = facts.st_size
        return [*_look_through(one, stage, file, facts.st_size), *_grown(one, stage, file, facts.st_size)]
    except FileNotFoundError:
        return [_missing(one, stage, file)]
    except PermissionError:
        return [_failed(stage, "barred", f"{_called(stage)} cannot be read", str(file), f"chmod u+rw {file}")]


def _look_through(one: Subject, stage: StageFacts, file: Path, size: int) -> list[Finding]:
    with file.open("rb") as opened:
        head = opened.read(len(_MAGIC))
    if not head:
        return []  # SQLite takes an empty file for an empty database
    if head != _MAGIC:
        return [_damaged(one, stage, "its beginning is not that of a SQLite database")]
    if size > one.limits.largest_database:
        what = f"{_called(stage)} has {size_told(size)} and is not looked through for damage"
        fix = "Raise health.database_mb to have it read as a whole with every look."
        return [Finding("databases", Verdict.OK, what, "Only its beginning was.", fix, "large", stage.name, note=True)]
    answer = problem_of(file)
    if isinstance(answer, _Unclear):
        what = f"{_called(stage)} could not be looked through: {answer.value}"
        fix = f"sqlite3 {file} 'PRAGMA quick_check'"
        if answer is _Unclear.SLOW:
            fix += ", or leave it out: lower health.database_mb"
        return [Finding("databases", Verdict.UNKNOWN, what, "", fix, "unclear", stage.name, passing=True)]
    return [_damaged(one, stage, answer)] if answer else []


def problem_of(file: Path, *, timeout: float = CHECK_S) -> str | _Unclear:
    """What SQLite finds wrong with a database; "" when nothing is.

    Args:
        timeout: seconds for all tries.
    """
    end = time.monotonic() + timeout
    answer: str | _Unclear = _Unclear.BUSY
    for _ in range(_TRIES):
        before = _marks(file)
        if before[1]:
            return _quick_check(file, "mode=ro&readonly_shm=1", end) if _has(file, "-shm") else _Unclear.NO_INDEX
        if _has(file, "-journal"):
            answer = _Unclear.JOURNAL
            time.sleep(0.1)
            continue
        answer = _quick_check(file, "immutable=1", end)
        if not answer or answer is _Unclear.SLOW or _marks(file) == before:
            return answer
        answer = _Unclear.BUSY
    return answer


def _quick_check(file: Path, how: str, end: float) -> str | _Unclear:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?{how}", uri=True, timeout=0.2)) as database:
            database.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
            [first] = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return _Unclear.SLOW
        return _Unclear.LOCKED if "locked" in str(error) else str(error)
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if first == "ok" else " ".join(str(first).split())


def _marks(file: Path) -> tuple[tuple[int, int, int], bool]:
    """What changes when somebody writes, and whether a write-ahead log has something in it."""
    facts = file.stat()
    return (facts.st_ino, facts.st_mtime_ns, facts.st_size), _has(file, "-wal")


def _has(file: Path, ending: str) -> bool:
    with suppress(OSError):
        return Path(f"{file}{ending}").stat().st_size > 0
    return False


def _grown(one: Subject, stage: StageFacts, file: Path, size: int) -> list[Finding]:
    before = one.sizes_before.get(stage.name)
    if before is None or size - before <= one.limits.growth:
        return []
    what = f"{_called(stage)} grew by {size_told(size - before)} within a day, to {size_told(size)}"
    fix = f"sqlite3 {file} 'SELECT name, SUM(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC'"  # noqa: S608  text
    meaning = "Something may be writing without end."
    return [Finding("databases", Verdict.WARNING, what, meaning, fix, "growing", stage.name)]


def _missing(one: Subject, stage: StageFacts, file: Path) -> Finding:
    what = f"{_called(stage)} is missing: {file}"
    if stage.state in {"running", "starting"}:
        meaning = "The stage still writes into the file that was deleted; that is lost when it ends."
        return _failed(stage, "missing", what, meaning, f"gaia env stop {one.directory} {stage.name} && {one.repair}")
    meaning = "An empty one is made by the repair."
    return Finding("databases", Verdict.WARNING, what, meaning, one.repair, "missing", stage.name)


def _damaged(one: Subject, stage: StageFacts, why: str) -> Finding:
    meaning = f"SQLite says: {why}. What reads the damaged pages fails."
    fix = f"gaia env repair-database {one.directory} {stage.name}"
    return _failed(stage, "damaged", f"{_called(stage)} is damaged", meaning, fix)


def _failed(stage: StageFacts, fault: str, what: str, meaning: str, fix: str) -> Finding:
    return Finding("databases", Verdict.FAILED, what, meaning, fix, fault, stage.name)


def _called(stage: StageFacts) -> str:
    return f"the database of {stage.called}"
