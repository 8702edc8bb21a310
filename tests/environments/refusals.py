"""How GAIA refuses at every door: what happened, what to do, and nothing was written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings

from environments.models import Environment
from events.models import Event
from processes.models import Operation, PortLease
from projects.models import Project
from tests.environments.places import Said

# Root may do anything; without its capabilities it is bound by the modes of files like everybody else.
UNPRIVILEGED = ("setpriv", "--inh-caps=-all", "--bounding-set=-all") if os.geteuid() == 0 else ()


def told(said: Said, code: int, *parts: str) -> None:
    """The command line has said what happened and what to do, and nothing of a traceback."""
    assert said.code == code, said
    assert "Traceback" not in said.err
    lines = [line for line in said.err.splitlines() if line != "Preparing the database …"]
    assert lines[0].startswith("gaia: ")
    assert len(lines) > 1, "it does not say what to do"
    assert all(line.startswith("  ") for line in lines[1:])
    for part in parts:
        assert part in said.err, said.err


def own_home(tmp_path: Path) -> dict[str, str]:
    """A home and database of its own: without its capabilities, root may not use another user's PostgreSQL socket."""
    return {"GAIA_HOME": str(tmp_path / "home"), "GAIA_DATABASE_URL": ""}


def nothing_written() -> None:
    """No project, environment, lease, operation or event, and no hub."""
    for model in (Project, Environment, PortLease, Operation):
        assert not model.objects.exists(), model
    assert not Event.objects.exclude(kind="node.registered").exists()
    assert list(settings.GAIA.home.hubs.iterdir()) == []


def problem(answer: Any, status: int, *parts: str) -> dict[str, Any]:
    """The answer is problem details with that status and those parts."""
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    body = dict(answer.json())
    assert body["status"] == status
    for part in parts:
        assert part in str(body), body
    return body


@contextmanager
def listening(port: int) -> Iterator[int]:
    """A stranger that listens on a port; its pid."""
    script = f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); print(flush=True); time.sleep(600)"
    process = subprocess.Popen(["python3", "-c", script], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
    finally:
        process.kill()
        process.communicate()
