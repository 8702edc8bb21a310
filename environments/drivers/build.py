"""Sets up many environments at once: hub, checkouts, GAIA's files and databases."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Concatenate, ParamSpec

from common.errors import Cancelled, GaiaError
from environments.drivers.checkout import (
    Prepared,
    adopt,
    check_place,
    copy_tree,
    has_large_files,
    prepare_checkout,
    publish_checkout,
    start_commit,
    submodules,
    write_tree,
)
from environments.drivers.git import Progress
from environments.drivers.git_index import Index
from environments.drivers.hub import HubState, create_or_update_hub
from environments.drivers.partial import cannot_write, remove_dead_partials
from environments.drivers.source import Source
from environments.drivers.stage_files import Layout, Report, ensure
from environments.drivers.status import fill_untracked_cache

_P = ParamSpec("_P")
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
        large_files: whether git-lfs keeps files of it, which are left as pointers.
        error: why it failed; the other targets do not suffer from it.
    """

    target: Target
    created: bool = False
    sha: str = ""
    report: Report | None = None
    submodules: tuple[str, ...] = ()
    large_files: bool = False
    error: GaiaError | None = None


@dataclass
class _Steps:
    """Counts what is done, for the progress bar; called from several threads."""

    progress: Progress | None
    total: int
    done: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    cancelled: Cancelled | None = None

    def step(self, text: str) -> None:
        with self.lock:
            self.done += 1
            if self.progress is None:
                return
            with suppress(Exception):  # a broken progress bar must not break a set-up
                try:
                    self.progress(text, min(1.0, self.done / max(1, self.total)))
                except Cancelled as error:  # what is not finished yet is left unmade
                    self.cancelled = error


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
        progress: told what was done and the fraction, from several threads; when it raises Cancelled, what is not
            finished yet is left unmade.
        timeout: seconds for each transfer.

    Returns: the hub's state, and one result per target in their order.
    Raises: what `create_or_update_hub` raises; an error of one target is in its result.
    """
    state = create_or_update_hub(source, hub, timeout=timeout, progress=progress)
    with ThreadPoolExecutor(
        max_workers=2 * _processors(),  # one waits for its disk, its git or its Python while another copies
        thread_name_prefix="environment",
    ) as pool:
        steps = _Steps(progress, len(targets))
        builds = [_Build(hub, state, target, timeout, steps) for target in targets]
        _all(pool, builds, _Build.look)
        for group in _same_commit(builds):
            _make(pool, group)
        _all(pool, [build for build in builds if build.exists], _complete)
    return state, [build.close() for build in builds]


def _processors() -> int:
    return max(2, min(8, os.cpu_count() or 2))


def _noting(work: Callable[Concatenate[_Build, _P], None]) -> Callable[Concatenate[_Build, _P], None]:
    """A step of a build: its failure is noted in `error`, after which the following steps do nothing."""

    def noted(build: _Build, /, *args: _P.args, **options: _P.kwargs) -> None:
        build.error = build.error or build.steps.cancelled
        if build.error is not None:
            return
        try:
            work(build, *args, **options)
        except GaiaError as error:
            build.error = error
        except OSError as error:
            build.error = cannot_write(build.target.path, error)

    return noted


class _Build:
    """One target on its way."""

    def __init__(self, hub: Path, state: HubState, target: Target, timeout: float, steps: _Steps) -> None:
        self.hub, self.state, self.target, self.timeout, self.steps = hub, state, target, timeout, steps
        self.sha = ""
        self.exists = False
        self.report: Report | None = None
        self.submodules: tuple[str, ...] = ()
        self.large_files = False
        self.error: GaiaError | None = None
        self.prepared: Prepared | None = None
        self.index: Index | None = None
        self._partial = ExitStack()

    @_noting
    def look(self) -> None:
        """Find out what is there and which commit is to be there."""
        target, default = self.target, self.state.default_branch
        remove_dead_partials(target.path)  # also beside a checkout that was finished before its maker died
        present = check_place(self.hub, target.path)
        self.exists = present is not None
        if present:
            self.sha = present.head
        elif not target.base and target.branch not in self.state.branches:
            self.sha = self.state.head_sha
        else:
            self.sha = start_commit(self.hub, target.branch, target.base or default)

    @_noting
    def prepare(self) -> None:
        target, default = self.target, self.state.default_branch
        preparing = prepare_checkout(
            self.hub, target.path, branch=target.branch, sha=self.sha, default=default, timeout=self.timeout
        )
        self.prepared = self._partial.enter_context(preparing)

    @_noting
    def write(self) -> None:
        assert self.prepared is not None  # noqa: S101  # prepared without an error
        self.index = write_tree(self.prepared, timeout=self.timeout, workers=_processors())

    @_noting
    def copy_from(self, seed: _Build) -> None:
        assert seed.prepared is not None  # noqa: S101  # it was written without an error
        assert self.prepared is not None  # noqa: S101
        copy_tree(seed.prepared, seed.index, self.prepared, timeout=self.timeout)

    @_noting
    def publish(self) -> None:
        if self.prepared is not None:
            publish_checkout(self.prepared, self.hub)

    @_noting
    def furnish(self) -> None:
        adopted = self.prepared is None and adopt(self.target.path, self.hub)
        report = ensure(self.target.path, self.target.layout)
        self.report = replace(report, repaired=(".git/config", *report.repaired)) if adopted else report
        self.submodules = submodules(self.target.path)
        self.large_files = has_large_files(self.target.path)
        if self.prepared is not None:
            fill_untracked_cache(self.target.path)

    def close(self) -> Built:
        """Remove what is left of the partial directory; returns what became of the target."""
        self._partial.close()
        created = self.prepared is not None and self.error is None
        return Built(self.target, created, self.sha, self.report, self.submodules, self.large_files, self.error)


def _make(pool: ThreadPoolExecutor, group: list[_Build]) -> None:
    """Have git write one checkout and copy the others from it; that one gets to its place last."""
    ready = [pool.submit(build.prepare) for build in group]
    waiting = list(group)
    while waiting:
        seed = waiting.pop(0)
        ready.pop(0).result()
        seed.write()
        if seed.error is None:
            wait(ready)
            _all(pool, waiting, functools.partial(_complete, seed=seed))
            _complete(seed)
            return


def _complete(build: _Build, seed: _Build | None = None) -> None:
    if seed is not None:
        build.copy_from(seed)
    build.publish()
    build.furnish()
    build.steps.step(f"{build.target.path.name}: {'failed' if build.error else 'ready'}")


def _all(pool: ThreadPoolExecutor, builds: Iterable[_Build], work: Callable[[_Build], None]) -> None:
    for future in [pool.submit(work, build) for build in builds]:
        future.result()


def _same_commit(builds: Iterable[_Build]) -> list[list[_Build]]:
    groups: dict[str, list[_Build]] = {}
    for build in builds:
        if build.error is None and not build.exists:
            groups.setdefault(build.sha, []).append(build)
    return list(groups.values())
