"""A disk that is full: what runs goes on, what cannot be done is said, and with room again all of it is made up for."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.conf import settings

from tests import warm
from tests.installation import free_port
from tests.live import ROOT
from tests.processes.conftest import running
from tests.waiting import until

PROGRAM = 'echo "$$ $GAIA_ATTEMPT_TOKEN" >>"$1"; exec sleep 1000000'

pytestmark = pytest.mark.chaos


class Machine:
    """GAIA whose home is a disk of its own, seen as its operator sees it: by its command line and over HTTP."""

    def __init__(self, disk: Path, outside: Path) -> None:
        self.disk = disk
        self.outside = outside
        self.port = free_port()
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GAIA_")},
            "GAIA_HOME": str(disk / "home"), "GAIA_JOBS_WORKERS": "1", "GAIA_SESSIONS_SHELL": "/bin/sh",
            "GAIA_SESSIONS_SOCKET_DIRS": str(disk / "sockets"), "GAIA_SESSIONS_PATH": str(disk),
        }  # fmt: skip
        data = disk / "home" / "data"
        data.mkdir(parents=True, mode=0o700)
        with (  # migrated already
            closing(sqlite3.connect(settings.DATABASES["default"]["NAME"])) as ours,
            closing(sqlite3.connect(data / "gaia.sqlite3")) as its,
        ):
            ours.backup(its)

    def __call__(self, *words: str, code: int = 0) -> str:
        done = warm.run(["-m", "gaia_site.cli", *words], cwd=ROOT, environ=self._environ, timeout=90)
        assert done.returncode == code, f"{words} ended with {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def up(self) -> None:
        self("up", "--detach", "--json", "--port", str(self.port))

    def register(self, name: str) -> None:
        """A service that says outside of the disk that it has begun."""
        definition = self.outside / f"{name}.json"
        words = ["/bin/sh", "-c", PROGRAM, "-", str(self.outside / f"{name}.began")]
        definition.write_text(
            json.dumps({"name": name, "command": words, "cwd": str(self.outside), "auto_restart": True})
        )
        self("service", "register", str(definition), "--start")
        until(lambda: self.pids(name))

    def pids(self, name: str) -> list[int]:
        path = self.outside / f"{name}.began"
        return [int(line.split()[0]) for line in path.read_text().splitlines()] if path.exists() else []

    def service(self, name: str) -> dict[str, Any]:
        return dict(json.loads(self("service", "show", name, "--json")))

    def ready(self) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}/ready", timeout=30)

    def fill(self) -> None:
        """Not a byte is left."""
        with (self.disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"x" * 4096)

    def make_room(self) -> None:
        (self.disk / "filler").unlink()


@pytest.fixture
def machine(transactional_db: None, tmp_path: Path) -> Iterator[Machine]:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "gaia-test", disk], check=True, timeout=30)
    one = Machine(disk, tmp_path)
    try:
        yield one
    finally:
        kill_all_of(disk / "home")
        for path in tmp_path.glob("*.began"):
            for pid in one.pids(path.stem):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        subprocess.run(["umount", "-l", disk], check=True, timeout=30)


def kill_all_of(home: Path) -> None:
    """Whoever has this home in its environment."""
    mark = f"GAIA_HOME={home}".encode()
    while found := [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if mark in variables(pid)]:
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def variables(pid: int) -> list[bytes]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []


@pytest.mark.timeout(240)
def test_a_full_disk(machine: Machine) -> None:
    machine.up()
    for name in ("stays", "dies", "stops"):
        machine.register(name)
    machine.fill()

    # what runs goes on; what was asked for is refused, and says why
    refused = machine("service", "stop", "stops", code=6)
    assert "full" in refused
    assert running(machine.pids("stops")[0])
    assert running(machine.pids("stays")[0])
    said = machine.ready()
    assert (said.status_code, said.json()["waiting"]) == (
        503,
        ["disk: full, nothing new can be started or written down"],
    )
    assert "is full" in machine("status", "--json")
    assert "is full" in machine("up", "--detach", code=6)

    # a service that dies now cannot be written down, so it is not started again either
    os.kill(machine.pids("dies")[0], signal.SIGKILL)
    until(lambda: not running(machine.pids("dies")[0]))

    # nor does the end of the daemon change anything
    daemon = int((machine.disk / "home" / "run" / "node.lock").read_text().rpartition(" ")[2])
    os.kill(daemon, signal.SIGKILL)
    until(lambda: not running(daemon))
    assert len(machine.pids("dies")) == 1

    machine.make_room()
    machine.up()
    until(lambda: len(machine.pids("dies")) == 2)
    until(lambda: machine.service("dies")["state"] == "running")
    assert machine.service("dies")["last_death"]["code"] == 137, "the true code, though nobody could write it down"
    assert machine.ready().status_code == 200
    machine("service", "stop", "stops")
    until(lambda: not running(machine.pids("stops")[0]))
    assert [len(machine.pids(name)) for name in ("stays", "stops")] == [1, 1]
    assert running(machine.pids("stays")[0])
