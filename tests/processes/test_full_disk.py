"""A disk that is really full: a small tmpfs under the home. GAIA goes on, says so, and recovers by itself."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from events.models import Event
from processes.actions.logs import read_all
from processes.disk import DiskWatch
from processes.drivers import logs
from processes.models import Node, Process
from processes.rotation import Rotation
from processes.states import ProcessState
from tests import warm
from tests.live import ROOT
from tests.processes.conftest import Until, running
from tests.processes.turns import Turn, kinds

pytestmark = pytest.mark.usefixtures("leave_nothing")


def _mount(directory: Path, size: str) -> bool:
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory], capture_output=True)
    return done.returncode == 0


def _unmount(directory: Path) -> None:
    subprocess.run(["umount", "-l", directory], check=True, timeout=30)


def _may_mount() -> bool:
    with tempfile.TemporaryDirectory() as directory:
        if os.geteuid() != 0 or shutil.which("mount") is None or not _mount(Path(directory), "1m"):
            return False
        _unmount(Path(directory))
    return True


class Disk:
    """A small disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._filler = root / "filler"

    def fill(self) -> None:
        with open(self._filler, "ab", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                return

    def make_room(self) -> None:
        self._filler.unlink()

    @property
    def free(self) -> int:
        facts = os.statvfs(self.root)
        return facts.f_bavail * facts.f_frsize


if _may_mount():

    @pytest.fixture
    def disk(leave_nothing: None, home: Any) -> Iterator[Disk]:
        """Where logs, locks and journals of processes are."""
        home.ensure()
        assert _mount(home.processes, "8m")
        yield Disk(home.processes)
        _unmount(home.processes)

    def test_what_runs_goes_on_and_its_end_is_known(
        turn: Turn, disk: Disk, request_sh: Any, tmp_path: Path, until: Until
    ) -> None:
        """Neither the log nor the journal can be written, and what is started meanwhile runs all the same."""
        process = request_sh("touch up; while [ ! -e go ]; do sleep 0.01; done; echo told; exit 7")
        turn.tick()
        until((tmp_path / "up").exists)
        disk.fill()
        started = request_sh("exit 8", "test/two")
        turn.tick()
        (tmp_path / "go").touch()
        assert turn.wait_for_end(process).exit_code == 7
        started.refresh_from_db()
        if started.state == ProcessState.RUNNING:
            assert turn.wait_for_end(started).exit_code == 8
        else:  # not even its log could be made
            assert "No space left" in started.problem
            assert "Free some disk space" in started.problem
        disk.make_room()
        third = request_sh("echo told; exit 9", "test/three")
        turn.tick()
        assert turn.wait_for_end(third).exit_code == 9
        assert read_all(Path(third.log)) == "told\n"

    def test_it_is_said_once_and_again_when_there_is_room(node: Node, disk: Disk) -> None:
        now = 1000.0
        watch = DiskWatch(node, lambda: now)
        watch.turn()
        assert kinds(f"node/{node.name}")[1:] == []
        disk.fill()
        for _ in range(3):
            watch.turn()
            now += 60
        disk.make_room()
        watch.turn()
        watch.turn()
        assert kinds(f"node/{node.name}")[1:] == ["node.disk_full", "node.disk_has_room"]
        assert Event.objects.get(kind="node.disk_has_room").message.endswith("it was full for 3 min")
        assert str(disk.root) in Event.objects.get(kind="node.disk_full").message

    def test_a_log_that_filled_the_disk_gives_its_lines_up(
        turn: Turn, node: Node, disk: Disk, request_sh: Any, monkeypatch: pytest.MonkeyPatch, until: Until
    ) -> None:
        """Nobody makes room: the next look at the logs does, and the process goes on writing."""
        monkeypatch.setitem(settings.GAIA.values, "processes.log_mb", 1)  # type: ignore[arg-type]
        request_sh("while :; do seq 1000000; sleep 0.1; done 2>/dev/null")
        turn.tick()
        until(lambda: disk.free == 0)
        rotation = Rotation(node)

        def has_room() -> bool:
            rotation.turn()
            return disk.free > 2_000_000

        until(has_room)
        assert running(Process.objects.get().pid or 0)
        assert Event.objects.filter(kind="log.flooded").count() == 1

    if connection.vendor == "sqlite":

        @pytest.fixture
        def small_home(leave_nothing: None, tmp_path: Path) -> Iterator[Disk]:
            """A home of its own, with the test's database, that is full but for some megabytes."""
            root = Path(tempfile.mkdtemp(prefix="gaia-"))
            assert _mount(root, "40m")
            yield Disk(root)
            _unmount(root)
            root.rmdir()

        def test_a_database_that_cannot_be_written(
            small_home: Disk, request_sh: Any, tmp_path: Path, until: Until
        ) -> None:
            """The daemon outlives it, and writes down what happened meanwhile as soon as there is room."""
            process = request_sh("touch up; while [ ! -e go ]; do sleep 0.01; done; exit 7")
            database = small_home.root / "data" / "gaia.sqlite3"
            database.parent.mkdir()
            connection.ensure_connection()
            with closing(sqlite3.connect(database)) as copy:
                connection.connection.backup(copy)
            log = tmp_path / "daemon.log"
            environ = {**os.environ, "GAIA_ROLE": "node", "GAIA_HOME": str(small_home.root)}
            daemon = warm.Running(["-m", "tests.processes.bare_daemon"], cwd=ROOT, environ=environ, log=log)

            def state() -> tuple[str, int | None]:
                with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=20)) as reader:
                    row: tuple[str, int | None] = reader.execute(
                        "SELECT state, exit_code FROM processes_process WHERE id = ?", [process.pk]
                    ).fetchone()
                    return row

            try:
                until(lambda: state()[0] == "running" and (tmp_path / "up").exists())
                small_home.fill()
                (tmp_path / "go").touch()
                until(lambda: "full" in log.read_text())
                assert daemon.poll() is None
                small_home.make_room()
                until(lambda: state() == ("exited", 7))
            finally:
                daemon.send_signal(9)
                daemon.wait(30)


@pytest.mark.usefixtures("acting")
def test_a_flood_stays_bounded_and_holds_nobody_up(
    turn: Turn, node: Node, request_sh: Any, until: Until, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """200 MB as fast as they can be written, of which a log may hold one: what is given up is told of once."""
    monkeypatch.setitem(settings.GAIA.values, "processes.log_mb", 1)  # type: ignore[arg-type]
    flood = request_sh("touch up; yes 'a line of a flood' | head -c 198000000; exit 3")
    turn.tick()
    until((tmp_path / "up").exists)
    log, rotation, most = Path(flood.log), Rotation(node), 0
    other = request_sh("exit 4", "test/other")
    turn.tick()
    assert turn.wait_for_end(other).exit_code == 4
    while log.stat().st_size < 198_000_000:
        rotation.turn()
        most = max(most, sum(path.stat().st_size for path in log.parent.glob(f"{log.name}.*")))
    assert turn.wait_for_end(flood).exit_code == 3
    rotation.turn()
    assert logs.on_disk(log) <= 1_100_000
    assert len(list(log.parent.glob(f"{log.name}.*.gz"))) <= 4
    assert most < 20_000_000
    told = Event.objects.get(kind="log.flooded")
    assert told.data["path"] == str(log)
    assert read_all(log).splitlines()[-1] == "a line of a flood"
