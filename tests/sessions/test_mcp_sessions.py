"""A session finds the MCP servers of its environment in the directory it starts in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from environments.models import Environment, Layer
from events.models import Event
from services.actions import running
from services.actions.definitions import register
from services.spec import parse_spec
from sessions.actions import start
from tests.environments.drivers.repositories import commit, make_repository
from tests.sessions.by_hand import Tmux

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def environments(acting: str, make_environments: Callable[..., list[Environment]]) -> list[Environment]:
    """Two of them, where any MCP server may be used; there is one."""
    Layer.objects.filter(name="local").update(mcp="all")
    given = {"name": "git-tools", "kind": "mcp", "command": ["git-tools"], "cwd": "/", "mcp": {"transport": "stdio"}}
    running.start(register(parse_spec(given)))
    made = make_environments(2)
    for each in made:
        make_repository(Path(each.path))
    return made


def test_its_file_is_there_before_it_starts(environments: list[Environment], tmux: Tmux) -> None:
    own, other = environments
    commit(Path(other.path), {".mcp.json": "{}"})
    start.create("mine", environment=own)
    file = Path(own.path) / ".mcp.json"
    assert json.loads(file.read_text()) == {
        "mcpServers": {"git-tools": {"command": "git-tools", "args": [], "env": {}}}
    }
    start.create("yours", environment=other)
    assert (Path(other.path) / ".mcp.json").read_text() == "{}"
    notes = Event.objects.filter(kind="session.note").values_list("message", flat=True)
    assert list(notes) == ["yours: its .mcp.json does not tell of GAIA's MCP servers: the repository tracks it"]
    start.create("nowhere")
    assert notes.count() == 1
