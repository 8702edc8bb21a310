"""Which git processes work in a repository, and which files are held open: one look through /proc.

Processes of another process namespace are not to be seen: where a checkout is shared with a container, GAIA has to run
outside of it.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_ROUNDING_S = 2.0  # the kernel tells the time of its start in whole seconds
_VALUED = ("-C", "-c", "--git-dir", "--work-tree", "--namespace", "--config-env", "--exec-path")
# They run for hours and lock nothing: they are no reason to take a lock for held.
_READERS = frozenset(
    ("blame", "cat-file", "credential-cache--daemon", "daemon", "fsmonitor--daemon", "grep", "log", "rev-list", "show")
)
_GIT_DIR, _WORK_TREE = b"GIT_DIR=", b"GIT_WORK_TREE="


@dataclass(frozen=True)
class GitProcess:
    """A running git.

    Args:
        pid: its id.
        started: when, in seconds of the epoch, to about two seconds.
        words: its command line.
        places: the directories it works in: its own, and those it was given; None when they may not be seen.
        user: the id of its user.
    """

    pid: int
    started: float
    words: tuple[str, ...]
    places: tuple[str, ...] | None
    user: int

    @property
    def subcommand(self) -> str:
        return self.words[_subcommand(self.words)] if _subcommand(self.words) < len(self.words) else ""

    def works_in(self, places: Iterable[str]) -> bool:
        """Whether it works in one of these directories or below."""
        own = self.places or ()
        return any(mine == place or mine.startswith(f"{place}/") for mine in own for place in places)

    def may_hold(self, lock: os.stat_result, places: Iterable[str]) -> bool:
        """Whether a lock file in these directories may be its own."""
        if self.subcommand in _READERS or self.started > lock.st_mtime + _ROUNDING_S:
            return False
        return self.user == lock.st_uid if self.places is None else self.works_in(places)

    def __str__(self) -> str:
        return f"git {self.subcommand} (pid {self.pid})"


def can_look() -> bool:
    """Whether this kernel tells who has a file open."""
    return os.path.isdir("/proc/self/fd")


def running_git() -> list[GitProcess]:
    """Every git that runs on this machine."""
    found = []
    for pid in _pids():
        with suppress(OSError, ValueError, IndexError):  # it has ended
            if _is_git(pid):
                found.append(_read(pid))
    return found


def opened(files: Sequence[os.stat_result]) -> set[tuple[int, int]]:
    """Device and inode of those files that any process has open; processes of other users cannot be seen."""
    wanted = {(each.st_dev, each.st_ino) for each in files}
    found: set[tuple[int, int]] = set()
    for pid in _pids():
        with suppress(OSError):
            for descriptor in os.scandir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    facts = descriptor.stat()
                    if (facts.st_dev, facts.st_ino) in wanted:
                        found.add((facts.st_dev, facts.st_ino))
        if found == wanted:
            break
    return found


def places_of(git_dir: Path) -> tuple[str, ...]:
    """The directories of a repository as processes show them: its own, and the checkout around a `.git`."""
    own = os.path.realpath(git_dir)
    return (own, os.path.dirname(own)) if os.path.basename(own) == ".git" else (own,)


def _pids() -> Iterator[int]:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            yield int(entry.name)


def _is_git(pid: int) -> bool:
    name = Path(f"/proc/{pid}/comm").read_bytes().rstrip(b"\n")
    return name == b"git" or name.startswith(b"git-")


def _read(pid: int) -> GitProcess:
    place = Path(f"/proc/{pid}")
    words = tuple(os.fsdecode(word) for word in (place / "cmdline").read_bytes().split(b"\0")[:-1])
    after_name = (place / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    started = _booted() + int(after_name[19]) / os.sysconf("SC_CLK_TCK")
    return GitProcess(pid, started, words, _places(place, words), place.stat().st_uid)


def _places(place: Path, words: tuple[str, ...]) -> tuple[str, ...] | None:
    try:
        own = os.readlink(place / "cwd")
        variables = (place / "environ").read_bytes().split(b"\0")
    except PermissionError:
        return None
    given = [os.fsdecode(each.partition(b"=")[2]) for each in variables if each.startswith((_GIT_DIR, _WORK_TREE))]
    given += [word.partition("=")[2] for word in words if word.startswith(("--git-dir=", "--work-tree="))]
    given += [value for word, value in itertools.pairwise(words) if word in ("-C", "--git-dir")]
    return (own, *(os.path.realpath(os.path.join(own, each)) for each in given))


def _subcommand(words: tuple[str, ...]) -> int:
    at = 1
    while at < len(words) and words[at].startswith("-"):
        at += 2 if words[at] in _VALUED else 1
    return at


@functools.cache
def _booted() -> float:
    text = Path("/proc/stat").read_text(encoding="ascii")
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith("btime ")))
