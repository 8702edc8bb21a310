"""What tests of environments work with: a place with a source, free ports, the command line, a daemon."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from environments.actions.setup import plan_setup, request_clean, request_setup
from environments.models import Environment, Stage
from environments.states import ENVIRONMENT_ACTIVE
from processes.actions.nodes import daemon_runs
from processes.actions.operations import run_operation
from processes.models import Operation, Process
from processes.states import OperationState
from projects.actions import find
from tests import warm
from tests.environments.prepared import make_ready

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 40.0
OFFSETS = {"dev": 0, "qa": 100, "staging": 200}
_BLOCKS = range(11_000, 31_700, 600)  # for two projects each, below the kernel's own choice of ports

APP = {
    "app.py": """import http.server, os, sqlite3

class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
        self.wfile.write(" ".join(os.environ[name] for name in ("APP_ENV", "PORT", "DATABASE_PATH")).encode())

sqlite3.connect(os.environ["DATABASE_PATH"]).execute("CREATE TABLE IF NOT EXISTS visit (id INTEGER)")
print("serving", os.environ["STAGE"], flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), App).serve_forever()
""",
    "gaia.yaml": "command: exec python3 app.py\nhealth: /health\n",
}


def until(question: Callable[[], Any], what: str = "it") -> Any:
    """Ask again until the answer is true, and return it."""
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := question()):
        assert time.monotonic() < deadline, f"{what} did not become true within {PATIENCE_S:g} s"
        time.sleep(0.02)
    return answer


@contextmanager
def free_ports() -> Iterator[int]:
    """The base of a project's ports and, 300 above, of a second one's; room for ten each, no other test gets them."""
    folder = Path(tempfile.gettempdir(), "gaia-test-ports")
    folder.mkdir(mode=0o777, exist_ok=True)
    for base in random.sample(_BLOCKS, len(_BLOCKS)):
        with open(folder / str(base), "a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if _are_free(base):
                yield base
                return
    raise AssertionError("there is no free block of ports")


def own_ports() -> int:
    """A block that this test process keeps; another one when somebody has come to listen there."""
    if _KEPT:
        base, kept = _KEPT[-1]
        for _ in range(40):
            if _are_free(base):
                return base
            time.sleep(0.05)  # the last test's servers are ending
        kept.close()
    kept = ExitStack()
    base = kept.enter_context(free_ports())
    _KEPT.append((base, kept))
    return base


_KEPT: list[tuple[int, ExitStack]] = []


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """The address under which a real git server offers the repositories of a directory."""
    with free_ports() as port:
        server = subprocess.Popen(
            ["git", "daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1", f"--port={port}",
             f"--base-path={directory}", str(directory)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            until(lambda: not _is_free(port), "the git server")
            yield f"git://127.0.0.1:{port}"
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _are_free(base: int) -> bool:
    return all(_is_free(base + hundred * 100 + number) for hundred in range(6) for number in range(10))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@dataclass(frozen=True)
class Said:
    """What a command line printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Place:
    """A directory with a source in it.

    Args:
        root: where the source lies, and the checkouts beside it.
        source: the repository.
        base_port: of the first project.
    """

    root: Path
    source: Path
    base_port: int

    def operate(self, operation: Operation) -> Operation:
        """Run an operation here; it must succeed."""
        done = run_operation(operation.pk)
        assert done.state == OperationState.SUCCEEDED, done.error
        return done

    def set_up(self, count: int | None = 2, **wanted: Any) -> dict[str, Any]:
        """Make environments in this process; what the operation says it did."""
        plan = plan_setup(**{"source": str(self.source), "count": count, "cwd": self.root, **wanted})
        return dict(self.operate(request_setup(plan, detached=False)).result)

    def ready(self, count: int = 2) -> None:
        """Have environments, for tests of what is done with them; a copy where that is the same."""
        make_ready(self, count)

    def clean(self, *names: str, project: str = "shop") -> list[dict[str, Any]]:
        """Remove environments in this process; what the operation says of each."""
        operation = request_clean(find(project), list(names) or None, detached=False)
        return list(self.operate(operation).result["removed"])

    def path(self, number: int, project: str = "shop") -> Path:
        return self.root / f"{project}-dev{number}"

    def environment(self, number: int, project: str = "shop") -> Environment:
        live = Environment.objects.filter(state__in=ENVIRONMENT_ACTIVE).select_related("project", "git")
        return live.get(project__name=project, number=number)

    def stage(self, number: int, name: str) -> Stage:
        return Stage.objects.select_related("environment__project").get(environment=self.environment(number), name=name)

    def gaia(self, *words: str | Path, cwd: Path | None = None, **options: Any) -> Said:
        """Run the command line to its end.

        Args:
            options: for `subprocess.run`; `env` is added to the environment.
        """
        if options.keys() <= {"env"} and warm.possible(options.get("env", {})):
            self._put_stamp()
            done = warm.run(
                ["-m", "gaia_site.cli", *words], cwd=cwd or self.root, timeout=PATIENCE_S,
                environ={**os.environ, "NO_COLOR": "1", **options.get("env", {})},
            )  # fmt: skip
            self._keep_stamp()
            return Said(done.returncode, done.stdout, done.stderr)
        with self.start(*words, cwd=cwd, **options) as process:
            out, err = process.communicate(timeout=PATIENCE_S)
        self._keep_stamp()
        return Said(process.returncode, out, err)

    def start(self, *words: str | Path, cwd: Path | None = None, **options: Any) -> subprocess.Popen[str]:
        """Start the command line."""
        self._put_stamp()
        stands = str(cwd or self.root)
        env = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **options.pop("env", {})}
        return subprocess.Popen(
            [*options.pop("before", ()), sys.executable, "-P", "-m", "gaia_site.cli", *map(str, words)],
            cwd=stands, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            **options,
        )  # fmt: skip

    # The home is emptied after each test, the database is not: looking for migrations again takes a second.

    def _keep_stamp(self) -> None:
        with suppress(FileNotFoundError):
            _STAMPS.append((settings.GAIA.home.run / "schema").read_text())

    def _put_stamp(self) -> None:
        if _STAMPS:
            (settings.GAIA.home.run / "schema").write_text(_STAMPS[-1])


_STAMPS: list[str] = []


class DaemonProcess:
    """A real node daemon as a process of its own; web and jobs, which these tests do not need, are left out."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.process = warm.Running(
            ["-m", "tests.environments.a_daemon"], cwd=ROOT, environ={**os.environ, "GAIA_ROLE": "node"}, log=log
        )

    def wait_until_up(self) -> None:
        """Block until it holds its lock. Raises: AssertionError with its log."""
        until(lambda: daemon_runs() or self.process.poll() is not None, "the daemon's lock")
        assert self.process.poll() is None, self.log.read_text()

    def kill(self) -> None:
        """End it as kill -9 does."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def processes_of(owner: str) -> list[Process]:
    """Every start for an owner, oldest first."""
    return list(Process.objects.filter(owner=owner).order_by("id"))
