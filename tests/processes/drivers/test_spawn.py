"""Spawning: the lock decides who starts, the child gets what it should and nothing else."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common.errors import InvalidInput
from common.locks import lock_held
from processes.drivers import journal, liveness
from processes.drivers.journal import Record
from processes.drivers.spawn import LockHeld, SpawnFailed, spawn
from tests.processes.drivers.conftest import Place, Until

Reaped = Callable[[int], int]


def test_what_comes_back_identifies_the_shim(place: Place, until: Until) -> None:
    spec, spawned = place.sh("touch up; exec sleep 100")
    until(lambda: place.exists("up"))
    assert liveness.identify(spawned.pid) == spawned.identity
    assert journal.records(spec.journal) == {spec.token: Record(spec.token, pid=spawned.pid, code=None)}
    assert os.getsid(spawned.pid) == os.getpgid(spawned.pid) == spawned.pid


@pytest.mark.parametrize("code", [0, 3, 137, 255])
def test_exit_code_reaches_the_parent_and_the_journal(place: Place, reaped: Reaped, code: int) -> None:
    spec, spawned = place.sh(f"exit {code}")
    assert reaped(spawned.pid) == code
    assert place.code(spec.token) == code


def test_environment_is_complete_and_names_the_attempt(place: Place, reaped: Reaped) -> None:
    spec = place.spec("env", env={"PATH": os.environ["PATH"], "A": "x y", "GAIA_ATTEMPT_TOKEN": "somebody-elses"})
    reaped(place.start(spec).pid)
    assert sorted(place.log.read_text().splitlines()) == sorted(
        [f"PATH={os.environ['PATH']}", "A=x y", f"GAIA_ATTEMPT_TOKEN={spec.token}", f"PWD={place.root}"]
    )


def test_output_is_appended_to_a_private_log(place: Place, reaped: Reaped) -> None:
    deep = place.root / "a" / "b"
    for word in ("one", "two"):
        spec = place.spec("sh", "-c", f"echo {word}; echo {word} wrong >&2; cat", log=deep / "log", lock=deep / "lock")
        assert reaped(place.start(spec).pid) == 0  # cat ends: stdin is empty
    assert (deep / "log").read_text() == "one\none wrong\ntwo\ntwo wrong\n"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (deep.parent, deep, deep / "log", deep / "lock")}
    assert modes == {"a": 0o700, "b": 0o700, "log": 0o600, "lock": 0o600}


def test_no_other_descriptor_reaches_the_child(place: Place, reaped: Reaped) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    high = fcntl.fcntl(writing, fcntl.F_DUPFD, 200)
    try:
        reaped(place.start(place.spec("sh", "-c", "ls /proc/$$/fd")).pid)
    finally:
        for fd in (reading, writing, high):
            os.close(fd)
    assert place.log.read_text().split() == ["0", "1", "2"]


def test_parent_keeps_no_descriptor(place: Place, reaped: Reaped) -> None:
    before = os.listdir("/proc/self/fd")
    reaped(place.start(place.spec("true")).pid)
    with pytest.raises(InvalidInput):
        spawn(place.spec())
    with pytest.raises(SpawnFailed):
        spawn(place.spec("true", log=place.root))
    assert os.listdir("/proc/self/fd") == before


def test_signals_that_python_ignores_or_blocks_are_as_usual(place: Place, reaped: Reaped) -> None:
    reaped(place.start(place.spec("grep", "-E", "Sig(Ign|Blk)", "/proc/self/status")).pid)
    of_libc = 1 << 31 | 1 << 32  # 32 and 33 are glibc's own: its posix_spawn ignores them between fork and exec
    assert {int(line.split()[1], 16) & ~of_libc for line in place.log.read_text().splitlines()} == {0}


def test_second_start_is_refused_while_the_first_runs(place: Place, until: Until, reaped: Reaped) -> None:
    os.mkfifo(place.root / "fifo")
    spec, spawned = place.sh("touch up; read x <fifo")
    until(lambda: place.exists("up"))
    with pytest.raises(LockHeld) as caught:
        spawn(place.spec("true", lock=spec.lock))
    assert caught.value.detail == {"path": str(spec.lock)}
    (place.root / "fifo").write_text("go\n")
    reaped(spawned.pid)
    assert reaped(place.start(place.spec("true", lock=spec.lock)).pid) == 0


def test_of_fifty_at_once_exactly_one_wins(place: Place) -> None:
    lock = place.root / "lock"
    specs = [place.spec("sleep", "100", lock=lock) for _ in range(50)]
    together = threading.Barrier(50)

    def attempt(number: int) -> bool:
        together.wait()
        try:
            place.start(specs[number])
        except LockHeld:
            return False
        return True

    with ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(attempt, range(50))) == 1
    assert len(place.pids) == 1


def test_of_several_programs_exactly_one_wins(place: Place, until: Until) -> None:
    script = (
        "import sys; from pathlib import Path; from processes.drivers.spawn import *; d = Path(sys.argv[1]);"
        "spawn(Spec(argv=('sleep', '100'), cwd=d, env={'PATH': '/usr/bin:/bin'}, log=d/'log', lock=d/'lock',"
        "journal=d/'journal', token=sys.argv[2]))"
    )
    root = Path(__file__).parents[3]
    programs = [
        subprocess.Popen([sys.executable, "-c", script, place.root, place.token()], cwd=root, stderr=subprocess.PIPE)
        for _ in range(6)
    ]
    errors = [program.communicate(timeout=60)[1] for program in programs]
    assert sorted(program.returncode for program in programs) == [0, 1, 1, 1, 1, 1]
    assert sum(b"LockHeld" in error for error in errors) == 5
    until(lambda: [entry.kind for entry in journal.read(place.journal)] == ["S"])
    assert lock_held(place.root / "lock")  # though the program that took it is gone


def test_looking_at_the_lock_never_keeps_a_start_from_happening(place: Place, reaped: Reaped) -> None:
    lock = place.root / "lock"
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            lock_held(lock)

    watchers = [threading.Thread(target=look) for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    try:
        codes = [reaped(place.start(place.spec("true", lock=lock)).pid) for _ in range(30)]
    finally:
        done.set()
        for watcher in watchers:
            watcher.join()
    assert codes == [0] * 30


def test_lock_file_that_is_replaced_meanwhile_is_taken_anew(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = place.root / "lock"
    real = fcntl.flock
    replaced = []

    def flock(fd: int, operation: int) -> None:
        if not replaced:
            replaced.append(lock.unlink())  # as if somebody cleaned up between open and flock
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    place.start(place.spec("sleep", "100", lock=lock))
    assert replaced
    assert lock_held(lock)


def test_works_from_a_daemon_without_standard_descriptors(place: Place, until: Until) -> None:
    """Descriptors 0 to 2 closed and 9 in use: the lock's own number then collides with those of the child."""
    script = (
        "import os, sys; from pathlib import Path; from processes.drivers.spawn import *; d = Path(sys.argv[1]);"
        "spec = Spec(argv=('sh', '-c', 'ls -l /proc/$$/fd; exec sleep 100'), cwd=d, env={'PATH': '/usr/bin:/bin'},"
        "log=d/'log', lock=d/'lock', journal=d/'journal', token=sys.argv[2]);"
        "os.open('/dev/zero', os.O_RDONLY); [os.dup2(3, fd, inheritable=True) for fd in range(4, 12)];"
        "os.closerange(0, 3); spawn(spec)"
    )
    root = Path(__file__).parents[3]
    assert (
        subprocess.run([sys.executable, "-c", script, place.root, place.token()], cwd=root, timeout=60).returncode == 0
    )
    until(lambda: place.log.exists() and place.log.read_text().count("->") == 3)
    assert "zero" not in place.log.read_text()
    assert lock_held(place.root / "lock")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"log": "."}, "cannot be opened"),
        ({"lock": "file/lock"}, "cannot be opened: Not a directory"),
        ({"lock": "file/deeper/lock"}, "cannot be made: Not a directory"),
        ({"journal": "/proc/nowhere/journal"}, "cannot be made"),
    ],
)
def test_path_that_cannot_be_used_is_named(place: Place, changes: dict[str, str], part: str) -> None:
    (place.root / "file").touch()
    changed = {name: place.root / path for name, path in changes.items()}
    spec = place.spec("touch", "ran", **changed)
    with pytest.raises(SpawnFailed, match=part) as caught:
        place.start(spec)
    assert caught.value.meaning == "Nothing was started."
    assert not lock_held(place.root / "lock")


def test_too_long_an_argument_list_fails_and_frees_the_lock(place: Place) -> None:
    spec = place.spec("true", *["x" * 100_000] * 60)
    with pytest.raises(SpawnFailed, match="Argument list too long") as caught:
        place.start(spec)
    assert caught.value.fix
    assert not lock_held(spec.lock)


def test_program_that_does_not_exist_ends_with_127_and_says_so(place: Place, reaped: Reaped) -> None:
    assert reaped(place.start(place.spec("no-such-program")).pid) == 127
    assert "no-such-program" in place.log.read_text()


@pytest.mark.parametrize(
    ("argv", "changes"),
    [
        ((), {}),
        (("",), {}),
        (("a\0b",), {}),
        (("true",), {"env": {"A": "b\0c"}}),
        (("true",), {"token": "two words"}),
        (("true",), {"token": "line\n"}),
    ],
)
def test_malformed_specs_are_refused(place: Place, argv: tuple[str, ...], changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        spawn(place.spec(*argv, **changes))  # type: ignore[arg-type]
