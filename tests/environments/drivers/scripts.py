"""Furnished checkouts whose scripts are run, with no GAIA running."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import urllib.request
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from environments.drivers.launching import stage_paths
from environments.drivers.stage_files import Layout, ensure
from processes.drivers import journal

# Answers the health path like an application would, and writes down what it was given.
SERVER = """
import http.server, json, os, sys
json.dump(dict(os.environ), open("seen.json", "w"))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/up" else 404)
        self.end_headers()
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on and that no outgoing connection is given."""
    ports: list[int] = []
    first = random.randrange(10_000, 30_000)
    while len(ports) < count:
        first += 1
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", first))
            ports.append(first)
    return ports


class Checkout:
    """A furnished checkout and its scripts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ports = dict(zip(("dev", "qa", "staging"), free_ports(3), strict=True))
        self.furnish()

    def furnish(self) -> None:
        stages = {name: (port, f"data/{name}/demo.db") for name, port in self.ports.items()}
        ensure(self.path, Layout("demo", self.path.name, self.path, stages))

    def run(self, script: str, *args: str, code: int | None = 0, cwd: Path | None = None, **env: str) -> str:
        """Run a script; returns stdout and stderr together."""
        done = subprocess.run(
            [self.path / script, *args],
            cwd=cwd or self.path.parent,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=60,
        )
        told = done.stdout + done.stderr
        assert code is None or done.returncode == code, told
        return told

    def status(self) -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in json.loads(self.run("status.sh", "--json"))["stages"]}

    def pid(self, stage: str = "dev") -> int:
        return int(self.status()[stage]["pid"])

    def records(self, stage: str = "dev") -> list[journal.Record]:
        return list(journal.records(stage_paths(self.path, stage).journal).values())


def get(port: int, path: str = "/health") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return str(answer.read().decode())
