"""`gaia mcp …`: servers and what agents are told of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from environments.models import Environment, Layer
from environments.states import EnvironmentState
from events.actor import acting_as
from projects.models import Project
from services.models import Service
from sessions.models import Session
from tests.environments.drivers.repositories import make_repository
from tests.gaia_site.command_line import CommandLine
from tests.services.test_mcp_doors import server


@pytest.fixture
def environment(cli: CommandLine, tmp_path: Path) -> Environment:
    path = make_repository(tmp_path / "demo-dev1")
    project = Project.objects.create(name="demo", source=str(path), root=str(tmp_path))
    Layer.objects.filter(name="local").update(mcp="all")
    return Environment.objects.create(
        project=project, name="dev1", number=1, path=str(path), branch="env/dev1", state=EnvironmentState.READY
    )


@pytest.fixture
def memory(cli: CommandLine) -> Service:
    """A server over HTTP that runs, as far as rows tell."""
    with acting_as("user:tester"):
        return server()


def test_without_servers(cli: CommandLine) -> None:
    said = cli("mcp", "status")
    assert said.code == 0
    assert "No MCP server is registered" in said.out
    assert cli("mcp", "list", "--json").data == []


def test_status_and_list(cli: CommandLine, memory: Service) -> None:
    said = cli("mcp", "status")
    assert said.code == 0
    first, second, third, *limits = said.lines
    assert first.endswith("memory  running  http, http://127.0.0.1:8003/mcp")
    assert second == "    memory 2.0, MCP 2025-11-25, 12 tools"
    assert third.startswith("    checked ")
    assert "memory_mb" in limits[0]
    assert "of 512" in limits[0]
    assert cli("mcp", "list").lines == [first.split()[0] + " memory  http   http://127.0.0.1:8003/mcp"]
    [one] = cli("mcp", "list", "--json").data
    assert one == {"name": "memory", "transport": "http", "url": "http://127.0.0.1:8003/mcp", "state": "running"}
    Service.objects.filter(pk=memory.pk).update(state="unready", problem="it is not ready: mcp: no answer")
    said = cli("mcp", "status")
    assert said.code == 1
    assert "    it is not ready: mcp: no answer" in said.lines
    assert cli("mcp", "status", "--json").data[0]["state"] == "unready"


def test_config_of_an_environment_and_of_a_session(cli: CommandLine, memory: Service, environment: Environment) -> None:
    expected = {"mcpServers": {"memory": {"type": "http", "url": "http://127.0.0.1:8003/mcp"}}}
    said = cli("mcp", "config", "demo-dev1")
    assert (said.code, said.data, said.err) == (0, expected, "")
    session = {
        "gaia_id": "x1",
        "name": "dev1_worker",
        "group": "dev1",
        "provider": "system",
        "state": "running",
    }
    Session.objects.create(environment=environment, cwd=environment.path, **session)
    Session.objects.create(cwd="/", **{**session, "gaia_id": "x2", "name": "alone"})
    assert cli("mcp", "config", "dev1_worker", "--json").data == expected
    assert "works in no environment" in cli("mcp", "config", "alone").mistake(2)[0]
    assert "no session and no environment 'nobody'" in cli("mcp", "config", "nobody").mistake(3)[0]


def test_config_is_written_and_never_over_somebody_elses(
    cli: CommandLine, memory: Service, environment: Environment
) -> None:
    file = Path(environment.path) / ".mcp.json"
    said = cli("mcp", "config", "demo-dev1", "--write")
    assert said.code == 0
    assert f"Written to {file}." in said.err
    assert json.loads(file.read_text()) == said.data
    assert "It says that already." in cli("mcp", "config", "demo-dev1", "--write").err
    file.write_text("{}")
    refused = cli("mcp", "config", "demo-dev1", "--write").mistake(4)
    assert "somebody else wrote or changed it" in refused[0]
    assert file.read_text() == "{}"


def test_config_says_what_is_missing(cli: CommandLine, memory: Service, environment: Environment) -> None:
    Service.objects.filter(pk=memory.pk).update(
        details={"mcp": {"transport": "stdio"}}, argv=["tools"], secrets={"KEY": "swordfish"}
    )
    said = cli("mcp", "config", "demo-dev1")
    assert "Agents start memory themselves, without the secrets" in said.err
    assert "swordfish" not in said.out + said.err
    Layer.objects.filter(name="local").update(mcp="off")
    said = cli("mcp", "config", "demo-dev1")
    assert said.data == {"mcpServers": {}}
    assert "gaia layer change local --mcp all" in said.err
