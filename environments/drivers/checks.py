"""What is looked at of an environment from outside the database: its directory, and the disk below it.

Nothing here writes. What needs a checkout that is there says nothing where there is none: that is `directory`'s to say,
and one fault should be told once. git, databases and stages are in `checks_git`, `checks_databases`, `checks_stages`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from environments.drivers.checkout import inspect
from environments.drivers.stage_files import SCRIPTS
from environments.findings import Finding, size_told, well
from environments.states import Verdict
from processes.drivers.ports import Holder

if TYPE_CHECKING:
    from environments.drivers.checks_layer import LayerFacts

MB = 1024 * 1024
_FEWEST_INODES = (0.01, 0.001)  # of all: a warning, a failure


@dataclass(frozen=True)
class Limits:
    """From when on something is called wrong, as the settings say.

    Args:
        behind: commits of the default branch that may be missing.
        uncommitted_days: days that uncommitted work may lie around before it is mentioned.
        disk_warning, disk_failed: bytes that have to be free.
        largest_database: bytes of a database that is still looked through from its first to its last page.
        growth: bytes that a database may grow within a day.
    """

    behind: int
    uncommitted_days: int
    disk_warning: int
    disk_failed: int
    largest_database: int
    growth: int


@dataclass(frozen=True)
class StageFacts:
    """What is on record of a stage.

    Args:
        called: as people call it. state: as every door shows it, from the newest process. since: seconds it is so.
        problem: why it failed. pid: its shim's, which leads its session. token: marks its processes.
    """

    name: str
    called: str
    port: int
    url: str
    database: str
    state: str
    since: float = 0.0
    alive: bool = False
    pid: int = 0
    token: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Subject:
    """An environment as the checks see it.

    Args:
        directory: its name, such as `shop-dev1`. hub: its project's hub.
        authority: certificate of who vouches for its stages' HTTPS.
        damage: what GAIA has on record against it; empty when nothing.
        sizes_before: bytes of its databases a day ago, or when they were first looked at, by stage.
        listeners: who listens on ports of stages that run, by port.
        layer: what its layer wants of it.
    """

    directory: str
    path: Path
    branch: str
    project: str
    hub: Path
    stages: tuple[StageFacts, ...]
    limits: Limits
    authority: Path | None = None
    damage: str = ""
    sizes_before: Mapping[str, int] = field(default_factory=dict)
    listeners: Mapping[int, Holder] = field(default_factory=dict)
    layer: LayerFacts | None = None

    @property
    def repair(self) -> str:
        """The command that makes what is missing again and touches nothing else."""
        return f"gaia env setup --project {self.project}"

    def is_there(self) -> bool:
        """Whether there is a checkout to look into."""
        return (self.path / ".git").exists()


def check_record(one: Subject) -> list[Finding]:
    """What GAIA has on record against it, unless that is what `check_directory` sees."""
    if not one.damage or not one.is_there():
        return []
    what = f"{one.directory} is damaged: {one.damage}"
    meaning = "Its set-up or removal did not come to its end."
    return [Finding("environment", Verdict.FAILED, what, meaning, one.repair, "damaged")]


def check_directory(one: Subject) -> list[Finding]:
    """The checkout is there, GAIA's, can be read and written, and has its scripts."""
    path = one.path
    if not path.is_dir():
        what = "is no directory" if path.exists() or path.is_symlink() else "is missing"
        return [_broken(one, "missing", f"its checkout {path} {what}", "Its branch and pushed work are in the hub.")]
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        fix = f"Give your user the right to read and write there: chmod u+rwx {path}"
        return [_broken(one, "barred", f"{path} cannot be read and written", "No stage or agent can work there.", fix)]
    if not one.is_there():
        return [
            _broken(one, "not-a-checkout", f"{path} is no checkout any more", "Its .git is gone.", _aside(one)),
        ]
    if not inspect(path).is_ours:
        told = "Its mark .git/gaia.json is missing or damaged: it was replaced by another repository."
        return [_broken(one, "foreign", f"{path} is not the checkout that GAIA made", told, _aside(one))]
    return _check_parts(one) or [well("directory", "the checkout is there, with its scripts")]


def _check_parts(one: Subject) -> list[Finding]:
    missing = [name for name in SCRIPTS if not _has_script(one.path, name)]
    missing += [name for name in (f".gaia/stages/{stage.name}.env" for stage in one.stages) if not _is_file(one, name)]
    missing += [name for name in (".gaia/stage.sh", ".gaia/shim") if not _is_file(one, name)]
    if not missing:
        return []
    are = "is" if len(missing) == 1 else "are"
    meaning = "Its stages cannot be started, stopped or shown without it."
    return [_broken(one, "incomplete", f"{', '.join(missing)} of {one.directory} {are} missing", meaning)]


def _has_script(path: Path, name: str) -> bool:
    """A script that can be run, at the top or, where the repository has one of that name, in .gaia/."""
    return any(os.access(path / place, os.X_OK) and (path / place).is_file() for place in (name, f".gaia/{name}"))


def _is_file(one: Subject, name: str) -> bool:
    return (one.path / name).is_file()


def _broken(one: Subject, fault: str, what: str, meaning: str, fix: str = "") -> Finding:
    return Finding("directory", Verdict.FAILED, what, meaning, fix or one.repair, fault)


def _aside(one: Subject) -> str:
    return f"mv {one.path} {one.path}.aside && {one.repair}"


def check_disk(one: Subject) -> list[Finding]:
    """There is room, and inodes, on the file systems of the checkout and of its hub."""
    found: list[Finding] = []
    seen: set[int] = set()
    least: list[int] = []
    for path in (one.path, one.hub):
        with suppress(FileNotFoundError):
            there = next(parent for parent in (path, *path.parents) if parent.exists())
            if there.stat().st_dev in seen:
                continue
            seen.add(there.stat().st_dev)
            facts = os.statvfs(there)
            least.append(facts.f_bavail * facts.f_frsize)
            found += _check_room(one, there, facts)
    return found or [well("disk", f"{size_told(min(least, default=0))} free", free=min(least, default=0))]


def _check_room(one: Subject, path: Path, facts: os.statvfs_result) -> list[Finding]:
    found = []
    free, limits = facts.f_bavail * facts.f_frsize, one.limits
    if free < max(limits.disk_warning, limits.disk_failed):
        verdict = Verdict.FAILED if free < limits.disk_failed else Verdict.WARNING
        what = f"only {size_told(free)} are free on the file system of {path}"
        found.append(_short(verdict, "space", what, f"du -xh --max-depth=2 {path} | sort -h | tail", free=free))
    if facts.f_files and facts.f_favail < facts.f_files * _FEWEST_INODES[0]:
        verdict = Verdict.FAILED if facts.f_favail < facts.f_files * _FEWEST_INODES[1] else Verdict.WARNING
        what = f"only {facts.f_favail} more files can be made on the file system of {path}"
        found.append(_short(verdict, "inodes", what, f"du -x --inodes --max-depth=2 {path} | sort -n | tail"))
    return found


def _short(verdict: Verdict, fault: str, what: str, fix: str, **data: int) -> Finding:
    meaning = "Commits, databases and logs cannot be written when it is full."
    return Finding("disk", verdict, what, meaning, fix, fault, data=data)
