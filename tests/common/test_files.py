"""Files that are never half-written, blocks in other people's files, and locks that end with their holder."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from common.errors import Conflict
from common.files import file_lock, managed_block, write_atomic, write_if_changed, write_json


def test_an_atomic_write(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_atomic(path, "one ✓")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("one ✓", 0o600)
    write_atomic(path, "two", mode=0o644)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("two", 0o644)
    assert os.listdir(path.parent) == ["file"]


def test_a_write_that_fails_leaves_the_old_text_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "new \ud800")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_readers_see_the_old_text_or_the_new_one(tmp_path: Path) -> None:
    path, sizes = tmp_path / "file", (10, 200_000)
    write_atomic(path, "x" * sizes[0])
    stop, seen = threading.Event(), set[int]()

    def read() -> None:
        while not stop.is_set():
            seen.add(len(path.read_text()))

    reader = threading.Thread(target=read)
    reader.start()
    for round_ in range(60):
        write_atomic(path, "x" * sizes[round_ % 2])
    stop.set()
    reader.join()
    assert seen <= set(sizes)


def test_only_what_differs_is_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert write_if_changed(path, "a")
    inode = path.stat().st_ino
    assert not write_if_changed(path, "a")
    assert write_if_changed(path, "a", mode=0o644)
    assert (path.stat().st_ino, path.stat().st_mode & 0o777) == (inode, 0o644)
    path.write_bytes(b"\xff")
    assert write_if_changed(path, "a")


def test_json_is_stable(tmp_path: Path) -> None:
    assert write_json(tmp_path / "x.json", {"b": 1, "a": "ä"})
    assert not write_json(tmp_path / "x.json", {"a": "ä", "b": 1})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": "ä", "b": 1}


@pytest.mark.parametrize("mine", ["", "A=1\n", "A=1", "A=1\n\n# >>> other >>>\n"])
def test_a_managed_block_leaves_the_rest_alone(mine: str) -> None:
    once = managed_block(mine, "PORT=1\n")
    assert once.startswith(mine)
    twice = managed_block(once + "B=2\n", "PORT=2\nSTAGE=qa")
    assert "PORT=1" not in twice
    assert twice.endswith("PORT=2\nSTAGE=qa\n# <<< GAIA <<<\nB=2\n")
    assert managed_block(twice, "PORT=2\nSTAGE=qa") == twice


def test_a_block_with_backslashes_is_taken_as_it_is() -> None:
    assert r"X=\1\n" in managed_block(managed_block("", "X=0"), r"X=\1\n")


HOLD = """
import sys
from pathlib import Path
from common.files import file_lock
with file_lock(Path(sys.argv[1]), what="the work"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "x.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Conflict) as caught, file_lock(path, what="the work"):
            pass
        assert caught.value.what == f"the work is already being worked on by pid {holder.pid}"
        assert caught.value.fix
        holder.send_signal(signal.SIGKILL)
        with file_lock(path, timeout=20):
            assert path.read_text() == f"pid {os.getpid()}"
    finally:
        holder.kill()
        holder.communicate()


def test_who_only_asks_is_no_holder(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    path.touch()
    probe = os.open(path, os.O_RDONLY)
    fcntl.flock(probe, fcntl.LOCK_SH)
    threading.Timer(0.005, os.close, [probe]).start()
    with file_lock(path):
        pass


def test_two_threads_exclude_each_other(tmp_path: Path) -> None:
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(20):
            with file_lock(tmp_path / "x.lock", timeout=20):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
