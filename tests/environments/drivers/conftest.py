from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.locks import lock_held
from environments.drivers.launching import stage_paths
from processes.drivers.liveness import identify
from processes.drivers.stop import stop
from tests.environments.drivers.repositories import make_repository
from tests.environments.drivers.salvages import Environment
from tests.environments.drivers.scripts import SERVER, Checkout


@pytest.fixture(autouse=True)
def _own_git_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's own git configuration or hooks take part."""
    configuration = tmp_path / "gitconfig"
    configuration.write_text('[user]\n\tname = Ada\n\temail = ada@example.org\n[protocol "file"]\n\tallow = always\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(configuration))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit on main."""
    return make_repository(tmp_path / "source")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Checkout]]:
    """Makes a checkout; at the end everything that runs in it is killed."""
    made: list[Checkout] = []

    def build(name: str = "demo dev's 1", gaia_yaml: str | None = None) -> Checkout:
        path = make_repository(tmp_path / name)
        if gaia_yaml is not None:
            (path / "server.py").write_text(SERVER)
            (path / "gaia.yaml").write_text(gaia_yaml)
        made.append(Checkout(path))
        return made[-1]

    yield build
    for checkout in made:
        for stage in checkout.ports:
            for record in checkout.records(stage):
                if record.pid is not None and (identity := identify(record.pid)) is not None:
                    held = lock_held(stage_paths(checkout.path, stage).lock)
                    if held or record.code is None:
                        stop(identity, token=record.token, grace=0)


@pytest.fixture
def demo(make: Callable[..., Checkout]) -> Checkout:
    """A checkout without a `gaia.yaml`."""
    return make()


@pytest.fixture
def environment(repository: Path, tmp_path: Path) -> Environment:
    """One that was made of the repository."""
    return Environment(repository, tmp_path / "it's a root")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with nothing in it."""
    (tmp_path / "here").mkdir()
    return tmp_path / "here"
