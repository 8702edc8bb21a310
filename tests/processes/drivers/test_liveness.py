"""Who is alive, who holds a lock, who belongs to an attempt."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from processes.drivers import liveness
from processes.drivers.liveness import Identity
from processes.drivers.shim import TOKEN_VARIABLE
from processes.drivers.table import ProcTable, PsutilTable
from tests.processes.drivers.conftest import Place, Until


@pytest.fixture(params=[ProcTable, PsutilTable], autouse=True)
def tables(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything here holds for Linux's own table and for the one that other systems get."""
    chosen = request.param()
    monkeypatch.setattr(liveness, "table", lambda: chosen)
    liveness.boot_id.cache_clear()
    yield
    liveness.boot_id.cache_clear()


@contextmanager
def sleeper(*argv: str | Path, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(argv or ("sleep", "100"), **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_process_is_itself(place: Place) -> None:
    myself = liveness.identify(os.getpid())
    assert myself is not None
    assert myself.boot_id == liveness.boot_id()
    assert liveness.alive(myself)


def test_who_is_gone_is_dead() -> None:
    with sleeper() as process:
        identity = liveness.identify(process.pid)
        assert identity is not None
    assert liveness.identify(process.pid) is None
    assert not liveness.alive(identity)


def test_a_zombie_is_dead(until: Until) -> None:
    with sleeper() as process:
        identity = liveness.identify(process.pid)
        assert identity is not None
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        found = liveness.table().row(process.pid)
        assert found is not None  # still in the table
        assert found.dead
        assert liveness.identify(process.pid) is None
        assert not liveness.alive(identity)


def test_another_with_the_same_pid_or_of_another_boot_is_not_the_one() -> None:
    with sleeper() as process:
        identity = liveness.identify(process.pid)
        assert identity is not None
        assert not liveness.alive(dataclasses.replace(identity, start_ticks=identity.start_ticks - 1))
        assert not liveness.alive(dataclasses.replace(identity, boot_id="another"))


@pytest.mark.parametrize("name", ["a) S 1 (b", "with space", ") Z 1 1 1"])
def test_a_name_cannot_forge_the_table(tmp_path: Path, name: str) -> None:
    program = Path(shutil.copy(shutil.which("sleep") or "", tmp_path / name))
    with sleeper(program, "100", start_new_session=True) as process:
        found = liveness.table().row(process.pid)
        assert found is not None
        assert (found.parent, found.session) == (os.getpid(), process.pid)
        assert liveness.identify(process.pid) is not None


def pids(session: int, token: str) -> set[int]:
    return {found.pid for found in liveness.members(session, token)}


def test_session_token_and_descent_all_make_a_member(place: Place, until: Until) -> None:
    spec, shim = place.sh(
        "echo $$ >command;"
        "setsid sh -c 'echo $$ >fled; exec sleep 100' &"  # a session of its own, known by its token
        "env -i /bin/sh -c 'echo $$ >bare; exec /bin/sleep 100' &"  # no token, known by its session
        "env -i /usr/bin/setsid /bin/sh -c 'echo $$ >child; exec /bin/sleep 100' & wait"  # neither, known by its parent
    )
    names = ("command", "fled", "bare", "child")
    until(lambda: all(place.pid_in(name) for name in names))
    expected = {shim.pid, *(place.pid_in(name) for name in names)}
    assert pids(shim.pid, spec.token) >= expected
    assert {os.getsid(pid) == shim.pid for pid in pids(shim.pid, spec.token) - expected} <= {True}
    assert liveness.members(shim.pid, spec.token)[0] == shim.identity


def test_parent_that_left_does_not_hide_who_fled(place: Place, until: Until) -> None:
    spec, shim = place.sh("(setsid sh -c 'echo $$ >fled; exec sleep 100' &); exit 0")
    fled = until(lambda: place.pid_in("fled"))
    os.waitpid(shim.pid, 0)
    assert pids(shim.pid, spec.token) == {fled}


def test_another_attempt_is_not_a_member_though_a_member_started_it(place: Place, until: Until) -> None:
    other = place.token()
    spec, shim = place.sh(
        "echo $$ >command;"
        f"GAIA_ATTEMPT_TOKEN={other} setsid sh -c 'echo $$ >other; exec sleep 100' &"
        f"GAIA_ATTEMPT_TOKEN={other} sh -c 'echo $$ >near; exec sleep 100' & wait"
    )
    found = {until(lambda name=name: place.pid_in(name)) for name in ("other", "near")}
    assert not found & pids(shim.pid, spec.token)
    assert found <= pids(0, other)


def test_a_token_that_only_begins_alike_is_another(place: Place, until: Until) -> None:
    spec, shim = place.sh("echo $$ >command; exec sleep 100")
    until(lambda: place.pid_in("command"))
    assert pids(0, spec.token[:-1]) == set()
    assert shim.pid in pids(0, spec.token)


def test_session_number_that_came_again_claims_no_stranger(place: Place) -> None:
    """As after a reuse of the shim's pid: a session of that number whose people have never heard of the attempt."""
    with sleeper("sleep", "100", start_new_session=True, env={"PATH": os.environ["PATH"]}) as stranger:
        assert pids(stranger.pid, place.token()) == set()


def test_session_whose_environments_were_overwritten_is_still_ours(place: Place) -> None:
    """As setproctitle does. Nothing speaks against it, and it may hold our port."""
    with sleeper("/bin/sleep", "100", start_new_session=True, env={}) as process:
        assert pids(process.pid, place.token()) == {process.pid}


def test_unreadable_environments_are_no_obstacle(place: Place, until: Until) -> None:
    spec, shim = place.sh("echo $$ >command; exec sleep 100")
    command = until(lambda: place.pid_in("command"))
    if os.getuid() == 0:
        seen = _as_nobody(lambda: pids(shim.pid, spec.token))
    else:  # then there are such processes anyway: those of root
        with pytest.raises(PermissionError):
            Path("/proc/1/environ").read_bytes()
        seen = pids(shim.pid, spec.token)
    assert {shim.pid, command} <= seen


def _as_nobody(question: Callable[[], set[int]]) -> set[int]:
    """The answer of a fork of ours that gave up root's rights."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setresuid(65534, 65534, 65534)
            ctypes.CDLL(None).prctl(4, 0)  # PR_SET_DUMPABLE
            os.write(writing, " ".join(map(str, question())).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with open(reading) as answer:
        text = answer.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return {int(word) for word in text.split()}


def test_processes_that_come_and_go_during_the_pass(place: Place, until: Until) -> None:
    spec, shim = place.sh("touch up; while :; do /bin/true; done")
    until(lambda: place.exists("up"))
    for _ in range(50):
        assert shim.pid in pids(shim.pid, spec.token)


def test_a_stopped_process_is_alive(place: Place, until: Until) -> None:
    with sleeper() as process:
        identity = liveness.identify(process.pid)
        process.send_signal(signal.SIGSTOP)
        until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
        assert identity is not None
        assert liveness.alive(identity)


def test_identities_can_be_compared_and_kept() -> None:
    one = Identity(boot_id="b", pid=1, start_ticks=2)
    assert {one} == {Identity("b", 1, 2)}


def test_who_was_seen_before_is_looked_at_again(monkeypatch: pytest.MonkeyPatch, place: Place, until: Until) -> None:
    """A member is found by a look that need not read him, and not any more once he has ended, reaped or not."""
    monkeypatch.setattr(liveness, "_TICKS_PER_S", -1_000_000)  # everybody is settled at once
    token = place.token()
    with sleeper(env={TOKEN_VARIABLE: token}) as process:
        for _ in range(2):
            assert [each.pid for each in liveness.members(0, token)] == [process.pid]
        process.kill()
        until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
        assert liveness.members(0, token) == []
    assert liveness.members(0, token) == []


def test_whoever_starts_moves_the_newest_pid() -> None:
    before = ProcTable().newest_pid()
    subprocess.run(["true"], check=True, timeout=30)
    assert before is not None
    assert ProcTable().newest_pid() != before
    assert PsutilTable().newest_pid() is None
