"""What follows from probes' answers: a real prober, a real supervisor, programs that stop answering."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from events.models import Event, Level
from processes.models import Node, Process
from processes.states import ProcessState, StopCause
from services.models import Service
from services.states import ServiceState
from tests.services.house import kinds, last_event, process_of
from tests.services.keeping import Keeping

pytestmark = pytest.mark.django_db(transaction=True)

PROGRAM = """import http.server, os, sys
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if os.path.exists("busy") else 200)
        self.end_headers()
        self.wfile.write(b"busy with something" if os.path.exists("busy") else b"fine")
    def log_message(self, *_): pass
print("serving", flush=True)
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answers).serve_forever()
"""


@pytest.fixture
def keeping(node: Node, leave_nothing: None) -> Iterator[Keeping]:
    made = Keeping(node)
    yield made
    made.close()


@pytest.fixture
def make(registered: Callable[..., Service], free_port: int, tmp_path: Path) -> Callable[..., Service]:
    """A small web server with these probes, started."""

    def start(*probes: dict[str, Any], **fields: Any) -> Service:
        quick = [{"interval": 0.1, "timeout": 0.5, "retries": 2, **each} for each in probes]
        command = [sys.executable, "-S", "-u", "-c", PROGRAM]
        more = {"command": command, "probes": quick, "port": free_port, "stop_grace": 0.2, **fields}
        return registered("api", start=True, **more)

    return start


def web(purpose: str) -> dict[str, Any]:
    return {"type": "http", "endpoint": "/health", "purpose": purpose}


def test_who_does_not_answer_any_more_is_restarted(keeping: Keeping, make: Callable[..., Service]) -> None:
    service = make({**web("startup"), "retries": 600}, web("readiness"), web("liveness"))  # starting takes its time
    keeping.until_state(service, ServiceState.RUNNING)
    first = process_of(service)
    os.killpg(keeping.watched[first.pk].pid, signal.SIGSTOP)  # as one that hangs: it is there and says nothing
    keeping.until(lambda: process_of(service).attempt == 2)
    assert first.attempt == 1
    first.refresh_from_db()
    assert first.cause == StopCause.LIVENESS
    failed = last_event(service, "liveness_failed")
    assert failed.level == Level.WARNING
    assert failed.data["probe"] == "liveness"
    assert failed.data["answer"] == "no answer within 0.5 s"
    keeping.until_state(service, ServiceState.RUNNING)
    assert service.restarts == 1
    assert last_event(service, "died").data["cause"] == "liveness"


def test_who_is_not_ready_is_left_alone(keeping: Keeping, make: Callable[..., Service], tmp_path: Path) -> None:
    service = make(web("readiness"))
    keeping.until_state(service, ServiceState.RUNNING)
    (tmp_path / "busy").touch()
    keeping.until_state(service, ServiceState.UNREADY)
    assert service.ready_at is None
    answer = "HTTP 503 Service Unavailable: busy with something"
    assert last_event(service, "unready").data["answer"] == answer
    assert answer in service.problem
    (tmp_path / "busy").unlink()
    keeping.until_state(service, ServiceState.RUNNING)
    assert Process.objects.filter(owner=service.owner).count() == 1
    assert kinds(service)[-2:] == ["unready", "ready"]


def test_who_never_comes_up_is_restarted(keeping: Keeping, registered: Callable[..., Service]) -> None:
    probe = {"type": "log", "pattern": "ready", "purpose": "startup", "interval": 0.05, "retries": 2}
    service = registered("api", "echo starting; exec sleep 600", start=True, probes=[probe], stop_grace=0.2)
    keeping.until(lambda: last_event_or_none(service, "liveness_failed"))
    assert last_event(service, "liveness_failed").data["answer"] == "no line has 'ready' yet"
    keeping.until(lambda: kinds(service).count("died") >= 1)
    assert process_of(service).log_offset > 0


def test_a_line_of_an_earlier_start_makes_nobody_ready(
    keeping: Keeping, registered: Callable[..., Service], tmp_path: Path
) -> None:
    probe = {"type": "log", "pattern": "ready", "interval": 600}
    script = "[ -e silent ] || echo ready; exec sleep 600"
    service = registered("api", script, start=True, probes=[probe])
    keeping.until_state(service, ServiceState.RUNNING)
    (tmp_path / "silent").touch()
    keeping.end(service)
    keeping.until(lambda: process_of(service).attempt == 2 and process_of(service).state == ProcessState.RUNNING)
    keeping.until_state(service, ServiceState.UNREADY)
    keeping.until(lambda: service.probe_periods.filter(ok=False, answer="no line has 'ready' yet").exists())
    service.refresh_from_db()
    assert service.state == ServiceState.UNREADY


def last_event_or_none(service: Service, kind: str) -> Event | None:
    return Event.objects.filter(subject=service.owner, kind=f"service.{kind}").last()
