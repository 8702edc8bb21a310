"""The document's service, with the real Go toolchain."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from processes.models import Node
from services.actions import running
from services.actions.definitions import register
from services.models import Service
from services.spec import parse_spec
from services.states import ServiceState
from tests.services.house import kinds, process_of
from tests.services.keeping import Keeping

pytestmark = pytest.mark.django_db(transaction=True)

DOCUMENT = """{
  "name": "api-server",
  "command": "go",
  "args": ["run", "cmd/server/main.go"],
  "port": 8080,
  "health_check": {
    "type": "http",
    "endpoint": "http://localhost:8080/health",
    "interval": "30s",
    "timeout": "5s",
    "retries": 3
  },
  "auto_restart": true
}"""
PROGRAM = """package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("/health", func(answer http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(answer, "pid %d", os.Getpid())
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
"""


@pytest.fixture
def keeping(node: Node, leave_nothing: None) -> Iterator[Keeping]:
    made = Keeping(node)
    yield made
    made.close()


@pytest.fixture
def api_server(tmp_path: Path, free_port: int) -> Service:
    """As the document has it, on a port that is free here and with Go's own files in the test's directory."""
    (tmp_path / "cmd/server").mkdir(parents=True)
    (tmp_path / "cmd/server/main.go").write_text(PROGRAM)
    (tmp_path / "go.mod").write_text("module example.org/api-server\n\ngo 1.19\n")
    own = {"HOME": tmp_path, "GOPATH": tmp_path / "go", "GOCACHE": tmp_path / "cache", "GOFLAGS": "-modcacherw"}
    more: dict[str, Any] = {"cwd": str(tmp_path), "env": {**{name: str(each) for name, each in own.items()},
                                                          "GOPROXY": "off", "GOTOOLCHAIN": "local"}}  # fmt: skip
    return register(parse_spec(json.loads(DOCUMENT.replace("8080", str(free_port))) | more))


def test_the_documents_service_runs_and_comes_back(keeping: Keeping, api_server: Service) -> None:
    running.start(api_server)
    keeping.until_state(api_server, ServiceState.RUNNING)
    first = _answers(api_server)
    psutil.Process(first).kill()  # the program itself: the toolchain between it and GAIA tells how it ended
    keeping.until(lambda: process_of(api_server).attempt == 2)
    keeping.until_state(api_server, ServiceState.RUNNING)
    keeping.until(lambda: api_server.probe_periods.filter(probe="health").latest("id").ok)
    assert _answers(api_server) != first
    assert kinds(api_server).count("died") == 1


def _answers(service: Service) -> int:
    """Which process answers at its port."""
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/health", timeout=20) as answer:
        return int(answer.read().decode().removeprefix("pid "))
