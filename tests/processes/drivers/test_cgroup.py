"""Cgroups: with the kernel's own hierarchy where this machine lets us make groups, and what is written into them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.errors import Unavailable
from processes.drivers import cgroup
from processes.drivers.cgroup import Cgroups, delegated
from processes.drivers.liveness import Census
from processes.drivers.stop import stop, with_group
from processes.limits import Limits
from tests.processes.conftest import running
from tests.processes.drivers.conftest import Place, Until

FULL = Limits(memory_mb=64, cpu_percent=50, run_time_s=1, quiet_s=1, open_files=20)


def _hierarchy() -> Path | None:
    """Where groups of version 2 can really be made here."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        mounted = Path(fields.split(" ")[4])
        if kind.startswith("cgroup2 ") and os.access(mounted, os.W_OK):
            try:
                (mounted / "gaia-test-probe").mkdir(exist_ok=True)
                (mounted / "gaia-test-probe").rmdir()
            except OSError:
                continue
            return mounted
    return None


HIERARCHY = _hierarchy()


@pytest.fixture(autouse=True)
def _unused() -> Iterator[None]:
    yield
    cgroup.use(None)


@pytest.fixture
def paper(tmp_path: Path) -> Path:
    """A directory with the files that a delegated group has, to see what is written."""
    root = tmp_path / "group"
    root.mkdir()
    (root / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (root / "cgroup.subtree_control").write_text("")
    (root / "cgroup.procs").write_text("")
    return root


def paper_group(root: Path, token: str, *files: str) -> Path:
    group = root / f"gaia-start-{token}"
    group.mkdir()
    for name in files:
        (group / name).touch()
    return group


def test_nothing_was_delegated() -> None:
    """As on most machines: unless systemd has marked it, the group we are in is not ours."""
    own = cgroup._own_directory()
    marked = own is not None and any(mark in os.listxattr(own) for mark in ("user.delegate", "trusted.delegate"))
    assert (delegated() is not None) == marked
    assert cgroup.made_for("t", FULL) is None
    assert (cgroup.group_of("t"), cgroup.controllers_of("t"), cgroup.members("t")) == (None, frozenset(), [])
    cgroup.release("t")
    cgroup.sweep([])


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        delegated(str(tmp_path))
    assert "No such file" in caught.value.what
    assert caught.value.fix


def test_controllers_are_asked_for(paper: Path) -> None:
    found = delegated(str(paper))
    assert found is not None
    assert (paper / "cgroup.subtree_control").read_text() in ("+memory", "+cpuory")  # a file keeps what was longer


def test_limits_are_written_where_the_kernel_keeps_them(paper: Path) -> None:
    names = ("memory.max", "memory.swap.max", "memory.oom.group", "cpu.max")
    group = paper_group(paper, "t", *names)
    assert Cgroups(paper, frozenset({"memory", "cpu"})).make("t", FULL) == group
    assert [(group / name).read_text() for name in names] == [str(64 << 20), "0", "1", "50000 100000"]


def test_limits_without_controllers_are_left_to_others(paper: Path) -> None:
    group = Cgroups(paper, frozenset()).make("t", FULL)
    assert list(group.iterdir()) == []


@pytest.mark.parametrize(("events", "killed"), [("low 0\noom_kill 2\n", True), ("oom_kill 0\n", False), (None, False)])
def test_killed_for_memory(paper: Path, events: str | None, killed: bool) -> None:
    group = paper_group(paper, "t")
    if events is not None:
        (group / "memory.events").write_text(events)
    assert cgroup.killed_for_memory(group) is killed


def test_a_group_that_cannot_be_made_is_done_without(tmp_path: Path) -> None:
    cgroup.use(Cgroups(tmp_path / "gone", frozenset({"memory"})))
    assert cgroup.made_for("t", FULL) is None
    assert cgroup.controllers_of("t") == frozenset()


if HIERARCHY is not None:

    @pytest.fixture
    def root() -> Iterator[Path]:
        assert HIERARCHY is not None
        made = HIERARCHY / f"gaia-test-{secrets.token_hex(6)}"
        made.mkdir()
        yield made
        cgroup.kill(made)
        cgroup.remove(made)

    def test_a_real_group_is_divided(root: Path) -> None:
        found = delegated(str(root))
        assert found is not None
        assert found.controllers <= set((root / "cgroup.controllers").read_text().split())
        group = found.make("a/b", Limits())
        assert found.of("a/b") == group
        assert found.of("other") is None
        found.sweep(["a/b"])
        assert group.is_dir()
        found.sweep([])
        assert not group.exists()

    def test_command_is_in_its_group_and_the_shim_is_not(
        root: Path, place: Place, until: Until, reaped: Callable[[int], int]
    ) -> None:
        """Nobody leaves it by a session and an environment of his own; all of it is killed at once."""
        cgroup.use(delegated(str(root)))
        token = place.token()
        group = cgroup.made_for(token, Limits())
        escape = "(env -i PATH=$PATH setsid sh -c 'trap \"\" TERM; echo $$ >far; while :; do sleep 100; done' &)"
        spec, spawned = place.sh(f"{escape}; echo $$ >near; exec sleep 100", token=token, cgroup=group)
        far, near = until(lambda: place.pid_in("far")), until(lambda: place.pid_in("near"))
        assert group is not None
        until(lambda: near in cgroup.members(token))
        assert {far, near} <= set(cgroup.members(token))
        assert spawned.pid not in cgroup.members(token)
        alone = Census().members(spawned.pid, token)
        assert far not in [row.pid for row in alone], "by session and token he is not found"
        assert far in [row.pid for row in with_group(alone, group)]

        report = stop(spawned.identity, token=spec.token, grace=0.2)

        assert (report.ended, report.survivors) == (True, ())
        assert not running(far)
        assert reaped(spawned.pid) in (137, 143)
        assert place.code(token) in (137, 143), "the shim outlived the kill and noted the end"
        cgroup.release(token)
        assert not group.exists()

    def test_group_that_somebody_is_in_stays(root: Path, place: Place, until: Until) -> None:
        cgroup.use(delegated(str(root)))
        token = place.token()
        group = cgroup.made_for(token, Limits())
        place.sh("touch up; exec sleep 100", token=token, cgroup=group)
        until(lambda: place.exists("up"))
        cgroup.release(token)
        cgroup.sweep([])
        assert cgroup.members(token)
        assert group is not None
        assert cgroup.kill(group)
        until(lambda: not cgroup.members(token))
        cgroup.release(token)
        assert not group.exists()
