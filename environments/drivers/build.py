"""Sets up many environments at once: hub, checkouts, GAIA's files and databases."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import GaiaError
from environments.drivers.checkout import (
    Prepared,
    check_place,
    copy_tree,
    prepare_checkout,
    publish_checkout,
    start_commit,
    submodules,
    write_tree,
)
from environments.drivers.git import Progress
from environments.drivers.hub import HubState, create_or_update_hub
from environments.drivers.partial import cannot_write
from environments.drivers.source import Source
from environments.drivers.stage_files import Layout, Report, ensure
from environments.drivers.status import fill_untracked_cache

TRANSFER_S = 3600.0
"""Seconds a clone or fetch may take."""


@dataclass(frozen=True)
class Target:
    """One environment to set up.

    Args:
        path: where its checkout goes.
        branch: its branch, such as `env/dev1`.
        layout: what GAIA writes into it.
        base: what a new branch starts from; the hub's default branch when empty.
    """

    path: Path
    branch: str
    layout: Layout
    base: str = ""


@dataclass(frozen=True)
class Built:
    """What became of a target.

    Args:
        created: the checkout was made just now; False when it was there.
        sha: the commit checked out.
        report: GAIA's files in it; None when it failed before.
        submodules: paths of submodules, which are left uninitialised.
        error: why it failed; the other targets do not suffer from it.
    """

    target: Target
    created: bool = False
    sha: str = ""
    report: Report | None = None
    submodules: tuple[str, ...] = ()
    error: GaiaError | None = None


@dataclass
class _Steps:
    """Counts what is done, for the progress bar; called from several threads."""

    progress: Progress | None
    total: int
    done: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def step(self, text: str) -> None:
        with self.lock:
            self.done += 1
            if self.progress is not None:
                with suppress(Exception):  # a broken progress bar must not break a set-up
                    self.progress(text, min(1.0, self.done / max(1, self.total)))


def build_all(
    source: Source,
    hub: Path,
    targets: Sequence[Target],
    progress: Progress | None = None,
    *,
    timeout: float = TRANSFER_S,
) -> tuple[HubState, list[Built]]:
    """Bring the hub up to date and make every target that is missing; repair GAIA's files in all of them.

    Args:
        source: where the project comes from.
        hub: the project's bare repository.
        targets: the environments; run again with the same ones after a kill, and what is missing is made.
        progress: told what was done and the fraction.
        timeout: seconds for each transfer.

    Returns: the hub's state, and one result per target in their order.
    Raises: what `create_or_update_hub` raises; an error of one target is in its result.
    """
    state = create_or_update_hub(source, hub, timeout=timeout, progress=progress)
    steps = _Steps(progress, 2 * len(targets))
    with ThreadPoolExecutor(max_workers=_workers(), thread_name_prefix="environment") as pool:
        builds = [_Build(hub, state, target, timeout, steps) for target in targets]
        _in_parallel(pool, builds, _Build.look)
        for group in _same_commit(builds):
            _make(pool, group)
        _in_parallel(pool, builds, _Build.furnish)
    return state, [build.result() for build in builds]


def _workers() -> int:
    return max(2, min(8, os.cpu_count() or 2))


def _in_parallel(pool: ThreadPoolExecutor, builds: Iterable[_Build], work: Callable[[_Build], None]) -> None:
    """Do the work for every target that has not failed, and note the failures; unforeseen ones are raised."""
    running: list[tuple[_Build, Future[None]]] = [(build, pool.submit(work, build)) for build in builds]
    for build, future in running:
        try:
            future.result()
        except GaiaError as error:
            build.error = error
        except OSError as error:
            build.error = cannot_write(build.target.path, error)


class _Build:
    """One target on its way."""

    def __init__(self, hub: Path, state: HubState, target: Target, timeout: float, steps: _Steps) -> None:
        self.hub, self.state, self.target, self.timeout, self.steps = hub, state, target, timeout, steps
        self.sha = ""
        self.exists = False
        self.report: Report | None = None
        self.submodules: tuple[str, ...] = ()
        self.error: GaiaError | None = None
        self.prepared: Prepared | None = None

    @property
    def is_missing(self) -> bool:
        return self.error is None and not self.exists

    def result(self) -> Built:
        return Built(
            self.target,
            created=self.prepared is not None and self.error is None,
            sha=self.sha,
            report=self.report,
            submodules=self.submodules,
            error=self.error,
        )

    def look(self) -> None:
        present = check_place(self.hub, self.target.path, self.target.branch)
        self.exists = present is not None
        base = self.target.base or self.state.default_branch
        self.sha = present.head if present else start_commit(self.hub, self.target.branch, base)

    def prepare(self, stack: ExitStack) -> None:
        self.prepared = stack.enter_context(
            prepare_checkout(self.hub, self.target.path, branch=self.target.branch, sha=self.sha, timeout=self.timeout)
        )

    def write(self) -> None:
        assert self.prepared is not None  # noqa: S101
        write_tree(self.prepared, timeout=self.timeout, workers=_workers())

    def copy_from(self, seed: _Build) -> None:
        assert seed.prepared is not None  # noqa: S101  # the seed was written before
        assert self.prepared is not None  # noqa: S101
        copy_tree(seed.prepared, self.prepared, timeout=self.timeout)

    def publish(self) -> None:
        assert self.prepared is not None  # noqa: S101
        publish_checkout(self.prepared, self.hub)
        self.exists = True
        self.steps.step(f"{self.target.path.name}: checked out")

    def furnish(self) -> None:
        if self.error is None:
            self.report = ensure(self.target.path, self.target.layout)
            self.submodules = submodules(self.target.path)
            if self.prepared is not None:
                fill_untracked_cache(self.target.path)
        self.steps.step(f"{self.target.path.name}: ready" if self.error is None else f"{self.target.path.name}: failed")


def _make(pool: ThreadPoolExecutor, group: list[_Build]) -> None:
    """Check one out, copy the others from it, then put all at their places."""
    with ExitStack() as stack:
        stacks = [stack.enter_context(ExitStack()) for _ in group]
        _in_parallel(pool, group, lambda build: build.prepare(stacks[group.index(build)]))
        whole = [build for build in group if build.error is None]
        seed = None
        while whole and seed is None:
            first = whole.pop(0)
            _in_parallel(pool, [first], _Build.write)
            seed = first if first.error is None else None
        if seed is None:
            return
        _in_parallel(pool, whole, lambda build: build.copy_from(seed))
        _in_parallel(pool, [seed, *whole], _Build.publish)


def _same_commit(builds: Iterable[_Build]) -> list[list[_Build]]:
    groups: dict[str, list[_Build]] = {}
    for build in builds:
        if build.is_missing:
            groups.setdefault(build.sha, []).append(build)
    return list(groups.values())
