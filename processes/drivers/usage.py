"""What trees of processes use, measured in one pass over the process table for all of them.

A process belongs to a tree when it is in its session, carries its token, or descends from one that does. Who was seen
once and belongs to none is looked into again only now and then: a look costs little more than reading the members.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace

from processes.drivers.liveness import Identity, tokens_of
from processes.drivers.table import Use, table

_LARGE = 16 << 20  # bytes: of less, what is shared changes nothing that anybody looks at
_SHARED_EVERY_S = 60.0
_CHANGED_EVERY_S = 10.0
_CHANGED = 0.1
_ALL_EVERY = 10  # looks: who was mistaken for a stranger, right after a fork, is found then


@dataclass(frozen=True)
class Tree:
    """All processes of one start.

    Args:
        key: what its figures come with.
        shim: leader of its session; it is not counted itself.
        token: the attempt's.
    """

    key: Hashable
    shim: Identity
    token: str


@dataclass(frozen=True)
class Total:
    """What a tree uses.

    Args:
        cpu_s: seconds of CPU so far, of its processes and of those that these have waited for.
        memory: bytes in memory; what two of its processes share counts twice.
        pids: its processes.
        shared: how many of those bytes count too often, by the last look at what its processes share.
    """

    cpu_s: float
    memory: int
    pids: tuple[int, ...]
    shared: int = 0

    @property
    def own_memory(self) -> int:
        """Bytes in memory, each page once."""
        return max(0, self.memory - self.shared)


@dataclass(frozen=True)
class _Shared:
    """What processes of a tree were found to share, and of what that was found."""

    at: float
    pids: tuple[int, ...]
    memory: int
    shared: int


class Meter:
    """Measures trees again and again, and remembers who is a stranger.

    Args:
        clock: seconds that only ever grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._shared: dict[Hashable, _Shared] = {}
        self._strangers: dict[int, int] = {}  # pid and start
        self._tokens: dict[int, tuple[int, frozenset[bytes]]] = {}  # of members: pid, start, what it carries
        self._looks = itertools.count()
        self._keys: set[Hashable] = set()

    def look(self, trees: Iterable[Tree]) -> dict[Hashable, Total]:
        """What each tree uses now. One that has ended, or whose processes are gone, uses nothing."""
        wanted = list(trees)
        keys = {tree.key for tree in wanted}
        if next(self._looks) % _ALL_EVERY == 0 or not keys <= self._keys:  # theirs may have been taken for strangers
            self._strangers.clear()
        self._keys = keys
        found = self._read({tree.shim.pid for tree in wanted})
        owners = self._assign(found, wanted)
        members: dict[Hashable, list[Use]] = {tree.key: [] for tree in wanted}
        for pid, tree in owners.items():
            if pid != tree.shim.pid and not found[pid].row.dead:
                members[tree.key].append(found[pid])
        self._strangers |= {pid: use.row.start_ticks for pid, use in found.items() if pid not in owners}
        self._shared = {key: known for key, known in self._shared.items() if key in keys}
        return {key: self._with_shared(key, _total(uses)) for key, uses in members.items()}

    def _with_shared(self, key: Hashable, total: Total) -> Total:
        """The kernel walks all pages to tell what is shared, a millisecond for 100 MB: it is asked for groups that are
        large, when they have changed much, and once a minute.
        """
        if len(total.pids) < 2 or total.memory < _LARGE:
            return total
        known = self._shared.get(key)
        if known is None or self._is_old(known, total):
            shared = max(0, total.memory - own_memory(total.pids, total.memory))
            self._shared[key] = known = _Shared(self._clock(), total.pids, total.memory, shared)
        return replace(total, shared=known.shared)

    def _is_old(self, known: _Shared, total: Total) -> bool:
        changed = known.pids != total.pids or abs(total.memory - known.memory) > _CHANGED * known.memory
        passed = self._clock() - known.at
        return passed >= _SHARED_EVERY_S or (changed and passed >= _CHANGED_EVERY_S)

    def _read(self, shims: set[int]) -> dict[int, Use]:
        """All that may be members: those who were, and those nobody has looked at."""
        found = {}
        pids = set(table().pids())
        self._strangers = {pid: start for pid, start in self._strangers.items() if pid in pids}
        for pid in pids:
            if pid in shims or pid not in self._strangers:
                use = table().use(pid)
                if use is not None:
                    found[pid] = use
        self._tokens = {pid: known for pid, known in self._tokens.items() if pid in found}
        return found

    def _assign(self, found: dict[int, Use], trees: list[Tree]) -> dict[int, Tree]:
        sessions = {tree.shim.pid: tree for tree in trees}
        bearers = {tree.token.encode(): tree for tree in trees}
        owners: dict[int, Tree] = {}
        for pid, use in sorted(found.items(), key=lambda each: each[1].row.start_ticks):  # parents before children
            row = use.row
            tree = sessions.get(row.session)
            if tree is None or row.start_ticks < tree.shim.start_ticks:
                carried = self._carried(pid, row.start_ticks)
                named = next((bearers[token] for token in carried if token in bearers), None)
                tree = named or (owners.get(row.parent) if not carried else None)
            if tree is not None:
                owners[pid] = tree
        return owners

    def _carried(self, pid: int, start: int) -> frozenset[bytes]:
        known = self._tokens.get(pid)
        if known is None or known[0] != start:
            known = (start, tokens_of(pid) or frozenset())
            self._tokens[pid] = known
        return known[1]


def _total(uses: list[Use]) -> Total:
    return Total(
        cpu_s=sum(use.cpu_s for use in uses),
        memory=sum(use.memory for use in uses),
        pids=tuple(sorted(use.row.pid for use in uses)),
    )


def own_memory(pids: Iterable[int], fallback: int) -> int:
    """Bytes of memory of these together, each shared page counted once (PSS). Of processes whose pages may not be
    looked at, as those of another account: what is mapped from files or shared on purpose counts for the largest only,
    what forks share counts for each. `fallback` where the system does not tell even that.
    """
    pids = list(pids)
    parts = [table().own_memory(pid) for pid in pids]
    known = [part for part in parts if part is not None]
    if known and len(known) == len(parts):
        return sum(known)
    uses = [(use.memory, table().shared_memory(pid)) for pid in pids if (use := table().use(pid)) is not None]
    shares = [shared for _, shared in uses if shared is not None]
    if not shares or len(shares) != len(uses):
        return fallback
    return sum(memory for memory, _ in uses) - sum(shares) + max(shares)


def most_open_files(pids: Iterable[int]) -> int:
    """The most descriptors that one of these has open."""
    return max((count for pid in pids if (count := table().open_files(pid)) is not None), default=0)


def age(shim: Identity) -> float:
    """Seconds since it was started."""
    return table().age(shim.start_ticks)
