"""GAIA beside the supervisors of `bench/supervisors.py`: the daemon as `gaia up` starts it, asked through its actions.

The actions are what the command line, the API and the admin call; they run in the benchmark's own process, which is
set up as any door of GAIA is. Import it only after `GAIA_HOME` is set.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from bench.supervisors import Supervisor
from bench.witness import PATIENCE_S, Witness, free_port

ROOT = Path(__file__).resolve().parents[1]
_LOOK_S = 0.002


class Gaia(Supervisor):
    """The node daemon with an exit shim for each service; the console and the jobs are counted apart."""

    name = "gaia"
    _port = 0  # of the console; one daemon has all fleets

    def __init__(self, witness: Witness, directory: Path, count: int) -> None:
        super().__init__(witness, directory, count)
        from services.models import Service

        self._services = Service.objects.select_related("node").filter(name__startswith=f"{self.fleet}-")

    def up(self) -> None:
        Gaia._port = Gaia._port or free_port()
        self._gaia("up", "--detach", "--json", "--port", str(self._port))
        if not self._services.exists():
            self._register()

    def _register(self) -> None:
        from events.actor import acting_as
        from services.actions.definitions import register
        from services.spec import parse_spec

        with acting_as("cli:bench"):
            for number in range(self.count):
                name = f"{self.fleet}-{number}"
                what = {"name": name, "command": self.command(number), "cwd": str(self.directory), "auto_restart": True}
                register(parse_spec(what))

    def ask_start(self) -> None:
        from events.actor import acting_as
        from services.actions.running import start_all

        with acting_as("cli:bench"):
            start_all(self._services.all())

    def ask_stop(self) -> None:
        """Until each row says that it has stopped: that is when nothing of it is left and its exit code is known."""
        from events.actor import acting_as
        from services.actions.running import stop_all

        with acting_as("cli:bench"):
            stop_all(self._services.all())
        self._wait_until("stopped")

    def settle(self) -> None:
        """Until GAIA has written down that all of them run."""
        self._wait_until("running")

    def _wait_until(self, state: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self._services.exclude(state=state).exists():
            if time.monotonic() >= deadline:
                raise TimeoutError(f"not every service is {state}")
            time.sleep(_LOOK_S)

    def supervisors(self) -> list[int]:
        return [self._daemon(), *self._shims()]

    def parts(self) -> list[int]:
        """The console and the jobs, with their shims and children."""
        from processes.drivers.liveness import members
        from processes.models import Process

        rows = Process.objects.active().filter(owner__startswith="gaia/")
        return [each.pid for row in rows for each in members(row.pid or 0, row.token)]

    def _daemon(self) -> int:
        from gaia_site.platform import daemon_pid

        pid = daemon_pid()
        assert pid is not None
        return pid

    def _shims(self) -> list[int]:
        from processes.models import Process

        owners = self._services.values_list("owner", flat=True)
        return [pid for pid in Process.objects.active().filter(owner__in=owners).values_list("pid", flat=True) if pid]

    def revive(self) -> None:
        self._gaia("up", "--detach", "--json", "--port", str(self._port))

    def ask_shutdown(self) -> None:
        self._gaia("down")

    def down(self) -> None:
        with suppress(subprocess.SubprocessError):
            self._gaia("down", "--all")

    def _gaia(self, *words: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "gaia_site.cli", *words],
            cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"gaia {' '.join(words)}: {done.stdout}{done.stderr}")
