"""The real web server, as `gaia up` runs it, on the test's home and database."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import httpx

from tests import warm

ROOT = Path(__file__).resolve().parent.parent


class Web:
    """A running uvicorn. It inherits this process's environment, so it sees the test's home and database."""

    def __init__(self, log: Path, **environ: str) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
            self.port: int = listening.getsockname()[1]
            # it is given the socket: no port to lose to somebody else, and whoever connects early is answered late
            self.process = warm.Running(
                ["-m", "uvicorn", "gaia_site.asgi:application", "--fd", "10", "--timeout-graceful-shutdown", "2",
                 "--lifespan", "off", "--no-access-log"],
                cwd=ROOT, environ={**os.environ, **environ}, log=log, passed=[listening.fileno()],
            )  # fmt: skip
        self.log = log
        self.url = f"http://127.0.0.1:{self.port}"
        self.socket_url = f"ws://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_until_up(self) -> None:
        """Block until it answers. Raises: AssertionError with its log when it does not come up."""
        try:
            answer = httpx.get(f"{self.url}/api/events/", timeout=60)
        except httpx.TransportError as error:
            raise AssertionError(f"the web server did not start: {self.log.read_text()}") from error
        assert answer.status_code == 401, f"the web server is not well: {self.log.read_text()}"

    def terminate(self, timeout: float = 30) -> int:
        """Ask it to stop; its exit code. Raises: subprocess.TimeoutExpired."""
        self.process.terminate()
        return self.process.wait(timeout)

    def kill(self) -> None:
        """End it in any case."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
