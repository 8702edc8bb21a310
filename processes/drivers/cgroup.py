"""Control groups, version 2, where one was delegated to GAIA; never taken for granted.

A group for each start: the kernel keeps its memory and CPU, tells who is in it whatever they did to their session and
their environment, and kills all of it at once. systemd delegates with `Delegate=yes` and says so by an extended
attribute (systemd's CGROUP_DELEGATION); a container's owner may name a directory. The interface is that of the kernel's
Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from common.errors import Unavailable
from processes.limits import MEGABYTE, Limits

_WANTED = ("memory", "cpu")
_OWN = "gaia-daemon"
_PREFIX = "gaia-start-"
_PERIOD_US = 100_000
_MARKS = ("user.delegate", "trusted.delegate")


@dataclass(frozen=True)
class Cgroups:
    """A delegated group that is divided among starts.

    Args:
        root: its directory.
        controllers: those that work in the groups below it.
    """

    root: Path
    controllers: frozenset[str]

    def make(self, token: str, limits: Limits) -> Path:
        """A group for a start, with what the kernel keeps of its limits. Raises: OSError."""
        group = self.root / f"{_PREFIX}{token.replace('/', '_')}"
        group.mkdir(exist_ok=True)
        if limits.memory_mb is not None and "memory" in self.controllers:
            _write(group / "memory.max", str(limits.memory_mb * MEGABYTE))
            with suppress(OSError):  # a kernel without swap
                _write(group / "memory.swap.max", "0")
            _write(group / "memory.oom.group", "1")
        if limits.cpu_percent is not None and "cpu" in self.controllers:
            _write(group / "cpu.max", f"{max(1000, round(limits.cpu_percent * _PERIOD_US / 100))} {_PERIOD_US}")
        return group

    def of(self, token: str) -> Path | None:
        """The group of a start, if it has one."""
        group = self.root / f"{_PREFIX}{token.replace('/', '_')}"
        return group if group.is_dir() else None

    def sweep(self, tokens: Collection[str]) -> None:
        """Remove the groups that nobody is in and that none of these starts has."""
        kept = {f"{_PREFIX}{token.replace('/', '_')}" for token in tokens}
        for group in self.root.glob(f"{_PREFIX}*"):
            if group.name not in kept:
                remove(group)


_in_use: list[Cgroups] = []


def use(cgroups: Cgroups | None) -> None:
    """From now on this process starts everything in a group of its own; None: in none."""
    _in_use[:] = [cgroups] if cgroups is not None else []


def in_use() -> bool:
    """Whether this process starts anything in a group of its own."""
    return bool(_in_use)


def made_for(token: str, limits: Limits) -> Path | None:
    """A new group for a start; None where there are none, or it cannot be made."""
    for cgroups in _in_use:
        with suppress(OSError):
            return cgroups.make(token, limits)
    return None


def group_of(token: str) -> Path | None:
    """The group that a start has."""
    return next((group for cgroups in _in_use if (group := cgroups.of(token)) is not None), None)


def controllers_of(token: str) -> frozenset[str]:
    """The controllers of the group that a start has; none without a group."""
    return next((cgroups.controllers for cgroups in _in_use if cgroups.of(token) is not None), frozenset())


def members(token: str) -> list[int]:
    """Who is in the group that a start has."""
    group = group_of(token)
    return pids(group) if group is not None else []


def release(token: str) -> None:
    """A start is over: its group goes."""
    group = group_of(token)
    if group is not None:
        remove(group)


def sweep(tokens: Collection[str]) -> None:
    """Remove the groups that nobody is in and that none of these starts has."""
    for cgroups in _in_use:
        cgroups.sweep(tokens)


def delegated(chosen: str = "") -> Cgroups | None:
    """The group that is GAIA's to divide; None where there is none.

    Args:
        chosen: its directory; empty: the one this process is in, if systemd has delegated it.

    Raises: Unavailable when the chosen one cannot be used.
    """
    root = Path(chosen) if chosen else _of_systemd()
    if root is None:
        return None
    try:
        return Cgroups(root, _divide(root))
    except OSError as error:
        if not chosen:
            return None
        raise Unavailable(
            f"{root} is no cgroup that GAIA can divide: {error.strerror}",
            meaning="Limits of memory and CPU are kept by looking.",
            fix="Name a directory of a version 2 hierarchy that was delegated to GAIA's account, or leave it empty.",
        ) from error


def pids(group: Path) -> list[int]:
    """Who is in a group, and in those it was divided into."""
    found = []
    for directory in (group, *(path.parent for path in group.glob("**/cgroup.procs"))):
        with suppress(OSError):
            found += [int(line) for line in (directory / "cgroup.procs").read_text().split()]
    return sorted(set(found))


def kill(group: Path) -> bool:
    """KILL everybody in it at once; False where the kernel cannot (before Linux 5.14)."""
    try:
        _write(group / "cgroup.kill", "1")
    except OSError:
        return False
    return True


def killed_for_memory(group: Path) -> bool:
    """Whether the kernel has killed something in it because it wanted more memory than it may have."""
    with suppress(OSError):
        for line in (group / "memory.events").read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count) > 0
    return False


def remove(group: Path) -> None:
    """Remove a group and those below it; one that somebody is in stays."""
    below = sorted(group.glob("**/"), key=lambda path: len(path.parts), reverse=True)
    for directory in (*below, group):
        with suppress(OSError):
            directory.rmdir()


def _of_systemd() -> Path | None:
    own = _own_directory()
    if own is None:
        return None
    if own.name == _OWN:  # a daemon of before, that was replaced by exec
        own = own.parent
    for mark in _MARKS:
        with suppress(OSError, AttributeError):  # not marked, or a system without such attributes
            if os.getxattr(own, mark) == b"1":
                return own
    return None


def _own_directory() -> Path | None:
    """Where this process is in the version 2 hierarchy, as it is mounted here."""
    try:
        places = Path("/proc/self/cgroup").read_text().splitlines()
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return None
    place = next((line[3:] for line in places if line.startswith("0::")), None)
    for line in mounts if place is not None else ():
        fields, _, kind = line.partition(" - ")
        if kind.split(" ", 1)[0] == "cgroup2":
            root, mounted = fields.split(" ")[3:5]
            return Path(mounted) / os.path.relpath(str(place), root)
    return None


def _divide(root: Path) -> frozenset[str]:
    """Let the controllers there are work in the groups below. Raises: OSError when it is not ours to divide."""
    available = (root / "cgroup.controllers").read_text().split()
    (root / f"{_PREFIX}probe").mkdir(exist_ok=True)
    (root / f"{_PREFIX}probe").rmdir()
    for controller in _WANTED:
        if controller in available:
            with suppress(OSError):
                _enable(root, controller)
    return frozenset((root / "cgroup.subtree_control").read_text().split())


def _enable(root: Path, controller: str) -> None:
    try:
        _write(root / "cgroup.subtree_control", f"+{controller}")
    except OSError:
        # Who is in a group keeps it from being divided ("no internal processes"): step aside, if it is us.
        if os.getpid() not in pids(root):
            raise
        (root / _OWN).mkdir(exist_ok=True)
        _write(root / _OWN / "cgroup.procs", str(os.getpid()))
        _write(root / "cgroup.subtree_control", f"+{controller}")


def _write(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)  # never made: in such a directory the kernel makes the files
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
