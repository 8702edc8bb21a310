from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.gaia_site.command_line import CommandLine
from tests.installation import Gaia, free_port, installation

if TYPE_CHECKING:
    from tests.environments.places import Place


@pytest.fixture
def gaia(transactional_db: None, tmp_path: Path) -> Iterator[Gaia]:
    """An installation on the test's home and database, not up yet."""
    yield from installation(tmp_path)


@pytest.fixture
def cli(gaia: Gaia, tmp_path: Path) -> Iterator[CommandLine]:
    """`./gaia` on that installation, called from the test's directory: `cli("session", "list")`."""
    git = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    line = CommandLine(
        tmp_path, **{name: gaia.environ[name] for name in gaia.environ if name.startswith("GAIA_")}, **git
    )
    # the home is emptied after each test, the database is not: to look for migrations again would take a second
    stamp = gaia.home / "run" / "schema"
    if _STAMP:
        stamp.write_text(_STAMP[0])
    yield line
    line.end()
    if stamp.exists():
        _STAMP[:] = [stamp.read_text()]


@pytest.fixture
def own_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting is a port that nobody has: who looks at ports would else tell of whoever has 8080 on this machine."""
    from django.conf import settings

    port = free_port()
    monkeypatch.setitem(settings.GAIA.values, "server.port", port)
    monkeypatch.setenv("GAIA_SERVER_PORT", str(port))  # the same for other processes


@pytest.fixture
def shop_of(
    cli: CommandLine, acting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[int], Place]]:
    """Sets up so many environments of a repository called shop on the command line's installation."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    from tests.environments.drivers.repositories import make_repository
    from tests.environments.places import Place, free_ports

    with free_ports() as base:

        def set_up(count: int) -> Place:
            source = make_repository(tmp_path / "code" / "shop", {"README.md": "hello\n"})
            place = Place(tmp_path / "code", source, base)
            place.set_up(count, base_port=base)
            return place

        yield set_up


@pytest.fixture
def bare(tmp_path: Path) -> CommandLine:
    """`./gaia` with a home that does not exist yet."""
    return CommandLine(tmp_path, GAIA_HOME=str(tmp_path / "fresh" / "home"), GAIA_DATABASE_URL="")


_STAMP: list[str] = []
