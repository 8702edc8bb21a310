"""The home's own tmux server, agents that are stubs on a PATH of the test's, and environments that are directories."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.conf import settings

from sessions.server import tmux_server
from tests.sessions.by_hand import Tmux
from tests.sessions.strangers import Stranger

if TYPE_CHECKING:  # models can be imported only when Django is set up
    from environments.models import Environment


@pytest.fixture
def agents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory agents are looked for in; empty. `install(agents, "claude")` puts one there."""
    directory = tmp_path / "agents"
    directory.mkdir()
    monkeypatch.setitem(settings.GAIA.values, "sessions.path", str(directory))
    monkeypatch.setitem(settings.GAIA.values, "sessions.shell", "/bin/sh")
    monkeypatch.setenv("GAIA_SESSIONS_PATH", str(directory))  # the same for other processes
    monkeypatch.setenv("GAIA_SESSIONS_SHELL", "/bin/sh")
    return directory


@pytest.fixture
def tmux(agents: Path) -> Iterator[Tmux]:
    """GAIA's tmux server of the test's home; nothing of it is left afterwards."""
    tmux_server.cache_clear()
    server = tmux_server()
    yield Tmux(server)
    server.kill_server()
    tmux_server.cache_clear()


@pytest.fixture
def stranger(agents: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Stranger]]:
    """Makes tmux servers that are not GAIA's, by name, in the directory where GAIA looks for them; they are ended."""
    directory = Path(tempfile.mkdtemp(prefix="gaia-t-"))  # short: a socket's path has at most 107 characters
    monkeypatch.setitem(settings.GAIA.values, "sessions.socket_dirs", str(directory))
    monkeypatch.setenv("GAIA_SESSIONS_SOCKET_DIRS", str(directory))
    made: list[Stranger] = []

    def make(name: str = "default", *sessions: str) -> Stranger:
        server = Stranger(directory / name)
        made.append(server)
        for session in sessions:
            server.new(session)
        return server

    yield make
    for server in made:
        server.end()
    shutil.rmtree(directory)


@pytest.fixture
def make_environments(db: None, tmp_path: Path) -> Callable[..., list[Environment]]:
    """Rows and directories of a project's environments: `make_environments(5)`."""

    from environments.models import Environment
    from environments.states import EnvironmentState
    from projects.models import Project

    def make(count: int, name: str = "demo") -> list[Environment]:
        project = Project.objects.create(name=name, source=str(tmp_path / name), root=str(tmp_path))
        made = []
        for number in range(1, count + 1):
            path = tmp_path / f"{name}-dev{number}"
            path.mkdir()
            made.append(
                Environment.objects.create(
                    project=project,
                    name=f"dev{number}",
                    number=number,
                    path=str(path),
                    branch=f"env/dev{number}",
                    state=EnvironmentState.READY,
                )
            )
        return made

    return make
