"""Two checkouts of one hub, as two agents have them, and what to do in them."""

from __future__ import annotations

import functools
from pathlib import Path

from environments.drivers.build import build_all
from environments.drivers.follow import follow_hub
from environments.drivers.git import bare
from environments.drivers.hub import create_or_update_hub
from environments.drivers.snapshots import (
    Snapshot,
    find_snapshot,
    restore_snapshot,
    take_branch_snapshot,
    take_snapshot,
)
from environments.drivers.verbs import Author, Keep
from tests.environments.drivers.repositories import git, source_of, targets_in

AUTHOR = Author("Operator", "operator@localhost")
TEXT = "".join(f"line {number}\n" for number in range(1, 21))


class Pair:
    """A source, its hub, and the checkouts `one` and `two`."""

    def __init__(self, repository: Path, root: Path) -> None:
        self.source = repository
        self.hub = root / "hub.git"
        built = build_all(source_of(repository), self.hub, targets_in(root, 2))[1]
        assert [each.error for each in built] == [None, None]
        self.one, self.two = root / "demo-dev1", root / "demo-dev2"

    def keep(self, path: Path) -> Keep:
        """Snapshots of a checkout."""
        return functools.partial(self._keep, path)

    def _keep(self, path: Path, reason: str) -> str:
        return take_snapshot(path, self.hub, name=path.name, reason=reason, actor="user:ada")

    def keep_branch(self, path: Path, branch: str) -> Keep:
        return lambda reason: take_branch_snapshot(
            path, self.hub, branch, name=path.name, reason=reason, actor="user:ada"
        )

    def fetch(self, path: Path) -> None:
        """What is new in the source and in the hub is known to the checkout."""
        state = create_or_update_hub(source_of(self.source), self.hub, timeout=60)
        follow_hub(path, self.hub, default_branch=state.default_branch, head=state.head_sha)

    def restore(self, path: Path, name: str) -> Snapshot:
        snapshot = find_snapshot(self.hub, name)
        restore_snapshot(path, self.hub, snapshot)
        return snapshot

    def check(self) -> None:
        """Nothing is broken anywhere."""
        for place in (self.one, self.two, self.hub):
            git(place, "fsck", "--strict", "--no-dangling")
        assert not bare(self.hub).text("for-each-ref", "refs/heads/HEAD")
