"""The exit codes of processes that are somebody else's children, with a real kernel."""

from __future__ import annotations

import dataclasses
import os
import platform
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from processes.drivers.exits import exit_of
from processes.drivers.liveness import Identity, identify
from tests.processes.drivers.conftest import Until

_KERNEL = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])


@contextmanager
def grandchild(script: str, parent: str) -> Iterator[tuple[Identity, int, subprocess.Popen[str]]]:
    """A child of a shell of ours, waiting for a line on `pipe`; its identity, a pidfd and that shell."""
    shell = subprocess.Popen(
        ["/bin/sh", "-c", f"(read x; {script}) <&3 & echo $!; {parent}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.dup2(0, 3), pass_fds=[3],
    )  # fmt: skip
    assert shell.stdin is not None
    assert shell.stdout is not None
    pid = int(shell.stdout.readline())
    identity = identify(pid)
    assert identity is not None
    pidfd = os.pidfd_open(pid)
    if parent.startswith("exec"):  # a shell reaps whatever ends before it has become the other program
        _until_it_runs("sleep", shell.pid)
    try:
        yield identity, pidfd, shell
    finally:
        os.close(pidfd)
        shell.kill()
        shell.communicate()


def _until_it_runs(program: str, pid: int) -> None:
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}/comm").read_text() != f"{program}\n":
        assert time.monotonic() < deadline, f"{pid} does not run {program}"
        time.sleep(0.002)


def end(pidfd: int, shell: subprocess.Popen[str]) -> None:
    assert shell.stdin is not None
    shell.stdin.write("go\n")
    shell.stdin.flush()
    waiting = select.poll()
    waiting.register(pidfd, select.POLLIN)
    assert waiting.poll(30_000)


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("exit 200", 200), ("kill -9 $$", None)])
def test_of_a_zombie_that_its_parent_has_not_reaped(script: str, code: int | None) -> None:
    with grandchild(script.replace("$$", "$(sh -c 'echo $PPID')"), "exec sleep 100") as (identity, pidfd, shell):
        end(pidfd, shell)
        expected = code if code is not None else -9
        assert exit_of(identity, pidfd) == expected
        assert exit_of(identity) == expected  # without a descriptor, too


def test_of_one_that_its_parent_has_reaped(until: Until) -> None:
    """Only the kernel knows, and only through a descriptor that was opened before, since Linux 6.15."""
    with grandchild("exit 9", "wait; exec sleep 100") as (identity, pidfd, shell):
        end(pidfd, shell)
        until(lambda: not os.path.exists(f"/proc/{identity.pid}"))
        assert exit_of(identity, pidfd) == (9 if _KERNEL >= (6, 15) else None)
        assert exit_of(identity) is None


def test_of_one_that_runs() -> None:
    with grandchild("exit 9", "wait") as (identity, pidfd, _):
        assert exit_of(identity, pidfd) is None


def test_of_a_zombie_that_has_the_pid_of_another() -> None:
    with grandchild("exit 9", "exec sleep 100") as (identity, pidfd, shell):
        end(pidfd, shell)
        assert exit_of(dataclasses.replace(identity, start_ticks=identity.start_ticks - 1)) is None
        assert exit_of(dataclasses.replace(identity, boot_id="another")) is None
