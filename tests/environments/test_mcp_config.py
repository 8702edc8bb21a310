"""`.mcp.json` in a checkout: GAIA's as long as nobody else wrote it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from environments.actions import mcp_config
from environments.drivers import mcp_file
from environments.drivers.mcp_file import Written
from environments.models import Environment, Layer
from environments.states import EnvironmentState
from projects.models import Project
from services.actions import running
from services.actions.definitions import register
from services.models import Service
from services.spec import parse_spec
from tests.environments.drivers.repositories import commit, git, make_repository

ONE = {"mcpServers": {"memory": {"type": "http", "url": "http://127.0.0.1:8003/mcp"}}}
OTHER = {"mcpServers": {"tools": {"command": "tools", "args": [], "env": {}}}}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "demo-dev1", {"README.md": "demo\n"})


def said(checkout: Path) -> Any:
    return json.loads((checkout / ".mcp.json").read_text())


# -- the file


def test_it_is_written_followed_and_taken_away_and_git_does_not_see_it(checkout: Path) -> None:
    exclude = checkout / ".git/info/exclude"
    before = exclude.read_text() if exclude.exists() else ""
    assert mcp_file.write(checkout, ONE) == Written(changed=True)
    assert said(checkout) == ONE
    assert mcp_file.write(checkout, ONE) == Written()
    assert mcp_file.write(checkout, OTHER) == Written(changed=True)
    assert said(checkout) == OTHER
    assert exclude.read_text().startswith(before)
    assert exclude.read_text().count("/.mcp.json") == 1
    assert ".mcp.json" not in git(checkout, "status", "--porcelain")
    assert (checkout / ".mcp.json").stat().st_mode & 0o077 == 0
    assert mcp_file.write(checkout, {"mcpServers": {}}) == Written(changed=True)
    assert not (checkout / ".mcp.json").exists()


def test_without_servers_nothing_is_touched(checkout: Path) -> None:
    assert mcp_file.write(checkout, {"mcpServers": {}}) == Written()
    assert not (checkout / ".mcp.json").exists()
    assert not (checkout / ".gaia").exists()


@pytest.mark.parametrize("servers", [ONE, {"mcpServers": {}}])
def test_what_somebody_wrote_or_edited_stays(checkout: Path, servers: dict[str, Any]) -> None:
    own = checkout / ".mcp.json"
    own.write_text('{"mcpServers": {}}')
    if servers["mcpServers"]:
        assert mcp_file.write(checkout, servers).kept == "somebody else wrote or changed it"
    else:
        assert mcp_file.write(checkout, servers) == Written()
    assert own.read_text() == '{"mcpServers": {}}'
    own.unlink()
    mcp_file.write(checkout, OTHER)
    edited = own.read_text().replace("tools", "mine")
    own.write_text(edited)
    assert not mcp_file.write(checkout, servers).changed
    assert own.read_text() == edited


def test_what_the_repository_tracks_stays(checkout: Path) -> None:
    commit(checkout, {".mcp.json": '{"mcpServers": {"ours": {}}}'})
    assert mcp_file.write(checkout, ONE).kept == "the repository tracks it"
    (checkout / ".mcp.json").unlink()
    assert mcp_file.write(checkout, ONE).kept == "the repository tracks it", "its deletion may be somebody's work"
    assert not (checkout / ".mcp.json").exists()


def test_links_are_not_followed(checkout: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("precious")
    (checkout / ".mcp.json").symlink_to(outside)
    assert mcp_file.write(checkout, ONE).kept == "it is a link or a directory"
    (checkout / ".mcp.json").unlink()
    (tmp_path / "elsewhere").mkdir()
    (checkout / ".gaia").symlink_to(tmp_path / "elsewhere")
    assert mcp_file.write(checkout, ONE).kept == ".gaia or .git leads out of the checkout"
    assert outside.read_text() == "precious"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_one_that_was_deleted_comes_back(checkout: Path) -> None:
    mcp_file.write(checkout, ONE)
    (checkout / ".mcp.json").unlink()
    assert mcp_file.write(checkout, ONE) == Written(changed=True)


# -- whose servers


@pytest.fixture
def environment(db: None, acting: str, checkout: Path) -> Environment:
    project = Project.objects.create(name="demo", source=str(checkout), root=str(checkout.parent))
    return Environment.objects.create(
        project=project, name="dev1", number=1, path=str(checkout), branch="env/dev1", state=EnvironmentState.READY
    )


@pytest.fixture
def mcp(db: None, acting: str) -> Callable[..., Service]:
    """Register an MCP server that each client starts, and have it up."""

    def make(name: str, *, start: bool = True) -> Service:
        given = {"name": name, "kind": "mcp", "command": [name], "cwd": "/", "mcp": {"transport": "stdio"}}
        service = register(parse_spec(given))
        return running.start(service) if start else service

    return make


def use(environment: Environment, mcp: str, *servers: str) -> None:
    """Have the environment's layer allow these."""
    Layer.objects.filter(name=environment.layer_name).update(mcp=mcp, mcp_servers=list(servers))
    environment.refresh_from_db()


def test_the_layer_decides_which_servers(environment: Environment, mcp: Callable[..., Service]) -> None:
    for name in ("git-tools", "memory", "stopped"):
        mcp(name, start=name != "stopped")
    use(environment, "off")
    assert mcp_config.servers_for(environment) == []
    use(environment, "all")
    assert [each.name for each in mcp_config.servers_for(environment)] == ["git-tools", "memory"]
    use(environment, "basic", "memory", "stopped", "unknown")
    assert list(mcp_config.config_for(environment)["mcpServers"]) == ["memory"]
    assert mcp_config.write_config(environment).changed
    assert list(said(Path(environment.path))["mcpServers"]) == ["memory"]


def test_before_sessions_start_every_checkout_is_told(
    environment: Environment, mcp: Callable[..., Service], checkout: Path, tmp_path: Path
) -> None:
    mcp("memory")
    use(environment, "all")
    gone = Environment.objects.create(
        project=environment.project, name="dev2", number=2, path=str(tmp_path / "gone"), branch="env/dev2",
        state=EnvironmentState.READY,
    )  # fmt: skip
    tracked = make_repository(tmp_path / "demo-dev3", {".mcp.json": "{}"})
    theirs = Environment.objects.create(
        project=environment.project, name="dev3", number=3, path=str(tracked), branch="env/dev3",
        state=EnvironmentState.READY,
    )  # fmt: skip
    told = mcp_config.write_configs([environment.pk, gone.pk, theirs.pk])
    assert list(said(checkout)["mcpServers"]) == ["memory"]
    assert told.keys() == {gone.pk, theirs.pk}
    assert "the repository tracks it" in told[theirs.pk]
    assert mcp_config.write_configs([]) == {}
