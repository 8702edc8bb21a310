"""Real MCP servers, made with the official package, as services."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from processes.models import Node, Process
from services.actions import running
from services.actions.definitions import register
from services.drivers.probe_mcp import over_http, over_stdio
from services.drivers.probes import Result, ask
from services.mcp_status import mcp_status
from services.models import Service
from services.spec import parse_spec
from services.states import ServiceState
from tests.processes.conftest import Until
from tests.services.house import kinds, process_of
from tests.services.keeping import Keeping
from tests.services.servers import Servers, ok, silence

SERVER = Path(__file__).with_name("mcp_server.py")
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def keeping(node: Node, leave_nothing: None) -> Iterator[Keeping]:
    made = Keeping(node)
    yield made
    made.close()


@pytest.fixture
def servers() -> Iterator[Servers]:
    started = Servers()
    yield started
    started.close()


def mcp(name: str, *words: str, **fields: Any) -> Service:
    given = {"name": name, "kind": "mcp", "command": [sys.executable, str(SERVER), *words], "cwd": "/", **fields}
    return running.start(register(parse_spec(given)))


def test_over_http_it_is_healthy_is_killed_and_is_healthy_again(keeping: Keeping, free_port: int) -> None:
    service = mcp("tools", "http", str(free_port), port=free_port)
    keeping.until_state(service, ServiceState.RUNNING)
    keeping.until(lambda: mcp_status()[0]["last_check"])
    [one] = mcp_status()
    assert {name: one[name] for name in ("name", "transport", "url", "state", "tools", "server", "protocol")} == {
        "name": "tools",
        "transport": "http",
        "url": f"http://127.0.0.1:{free_port}/mcp",
        "state": "running",
        "tools": 2,
        "server": "gaia-test 1.4",
        "protocol": "2025-11-25",
    }
    assert one["last_check"]["ok"]
    assert one["last_check"]["answer"] == "gaia-test 1.4, protocol 2025-11-25, 2 tools"

    first = process_of(service)
    keeping.end(service, signal.SIGKILL)
    keeping.until(lambda: process_of(service).pk != first.pk and process_of(service).pid)
    keeping.until_state(service, ServiceState.RUNNING)
    assert mcp_status()[0]["restarts"] == 1
    assert kinds(service).count("died") == 1
    assert process_of(service).attempt == 2
    keeping.until(lambda: mcp_status()[0]["last_check"])
    assert mcp_status()[0]["last_check"]["ok"], "the new one was asked, too"


def test_over_stdio_an_instance_is_started_asked_and_ended(keeping: Keeping) -> None:
    patient = {"type": "mcp", "timeout": "55s"}  # an instance has to load the package first
    service = mcp("pipe", "stdio", mcp={"transport": "stdio"}, probes=[patient])
    assert not Process.objects.filter(owner=service.owner).exists(), "each client starts its own"
    keeping.until_state(service, ServiceState.RUNNING)
    keeping.until(lambda: mcp_status()[0]["last_check"])
    [one] = mcp_status()
    assert (one["transport"], one["url"], one["pid"], one["tools"]) == ("stdio", None, None, 2)
    assert one["server"] == "gaia-test 1.4"
    keeping.until(lambda: not _instances())
    running.stop(service)
    keeping.tick()
    service.refresh_from_db()
    assert service.state == ServiceState.STOPPED
    assert kinds(service)[:3] == ["registered", "start_requested", "started"]
    assert kinds(service)[-1] == "stopped"


def test_a_stdio_server_that_is_not_installed_is_not_ready_and_says_why(keeping: Keeping) -> None:
    given = {"name": "pipe", "kind": "mcp", "command": ["no-such-server"], "cwd": "/", "mcp": {"transport": "stdio"}}
    service = running.start(register(parse_spec(given)))
    keeping.until_state(service, ServiceState.UNREADY)
    keeping.until(lambda: mcp_status()[0]["last_check"])
    assert mcp_status()[0]["last_check"]["answer"] == "no-such-server is not installed"
    assert mcp_status()[0]["tools"] is None


def _instances() -> list[int]:
    """Servers over stdio that were started by this test."""
    return [each.pid for each in psutil.Process().children(recursive=True) if "stdio" in _words(each)]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


# -- servers that are none


def asked(check: Any, seconds: float = 30.0) -> Result:
    """The answer; nothing may be left at work."""

    async def once() -> Result:
        result = await ask(check, seconds)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left
        return result

    result = asyncio.run(once())
    assert not result.ok
    return result


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("garbage\n\n", "illegal status line"),
        (ok("<html>", Content_Type="text/html"), "Unexpected content type: text/html"),
        (ok("{}", status="404 Not Found", Content_Type="application/json"), "answered with an error: Not Found"),
        (ok("{}", Content_Type="application/json"), "MCP|error|JSON|validation"),
        (ok('{"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "no"}}', Content_Type="application/json"),
         "answered with an error"),
        ("", "disconnected|closed"),
    ],
)  # fmt: skip
def test_http_servers_that_are_no_mcp_servers(servers: Servers, answer: str, said: str) -> None:
    port = servers.answer(answer)
    result = asked(over_http(f"http://127.0.0.1:{port}/mcp", seconds=10))
    assert any(part in result.answer for part in said.split("|")), result.answer


def test_http_servers_that_do_not_answer(servers: Servers, free_port: int) -> None:
    hanging = servers.listen(silence)
    result = asked(over_http(f"http://127.0.0.1:{hanging}/mcp", seconds=0.5))
    assert result.answer == "no answer to initialize within 0.5 s"
    result = asked(over_http(f"http://127.0.0.1:{free_port}/mcp", seconds=10))
    assert result.answer == "the connection was refused: nobody listens there"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'no config' >&2; exit 3", "the connection was closed without an answer; it exited with 3: no config"),
        ("exit 0", "the connection was closed without an answer"),
        ("echo 'Welcome!'; exec sleep 600", "no answer to initialize within 0.5 s; it wrote 'Welcome!'"),
        ("exec sleep 600", "no answer to initialize within 0.5 s"),
        ("exec yes", "the connection was closed without an answer; it wrote 'y'"),
        ("trap '' TERM; while read line; do :; done", "no answer to initialize within 0.5 s"),
    ],
)
def test_stdio_servers_that_are_no_mcp_servers(script: str, said: str) -> None:
    env = {"PATH": os.environ["PATH"]}
    result = asked(over_stdio(["/bin/sh", "-c", script], cwd="/", env=env, seconds=0.5))
    assert result.answer == said


def test_what_a_stdio_server_starts_elsewhere_is_ended_too(tmp_path: Path, until: Until) -> None:
    script = f"setsid sleep 600 & echo $! > {tmp_path}/pid; exec cat > /dev/null"
    asked(over_stdio(["/bin/sh", "-c", script], cwd="/", env={"PATH": os.environ["PATH"]}, seconds=0.5))
    left = int((tmp_path / "pid").read_text())
    until(lambda: not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE)


def test_a_greeting_before_the_answer_is_read_over(tmp_path: Path) -> None:
    """A server of the released protocol in a few lines of its own, without the package."""
    server = tmp_path / "server.py"
    server.write_text(
        """import json, sys
print("Welcome to my server", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if asked["method"] == "initialize":
        result = {"protocolVersion": "2024-11-05", "capabilities": {"tools": {}},
                  "serverInfo": {"name": "tiny", "version": "0.1"}}
    elif asked["method"] == "tools/list":
        first = "cursor" not in (asked.get("params") or {})
        tool = {"name": "one" if first else "two", "inputSchema": {"type": "object"}}
        result = {"tools": [tool], **({"nextCursor": "x"} if first else {})}
    else:
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""
    )
    check = over_stdio([sys.executable, "-S", str(server)], cwd="/", env={"PATH": os.environ["PATH"]}, seconds=20)
    result = asyncio.run(ask(check, 20))
    assert result.answer == "tiny 0.1, protocol 2024-11-05, 2 tools", "both pages of its list"
    assert json.dumps(result.facts, sort_keys=True) == json.dumps(
        {"name": "tiny", "protocol": "2024-11-05", "tools": 2, "version": "0.1"}
    )
