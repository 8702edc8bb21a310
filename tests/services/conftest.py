"""Services of this home, a supervisor whose time and probes are the test's, and real daemons."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.processes.conftest import Daemon, daemon, leave_nothing, until  # noqa: F401  fixtures

if TYPE_CHECKING:  # Django is not set up yet when this is imported
    from processes.models import Node
    from services.models import Service
    from services.probing import Prober
    from tests.services.asked import Said
    from tests.services.house import House


@pytest.fixture
def node(db: None, acting: str) -> Node:
    """This host."""
    from processes.actions.nodes import ensure_node

    return ensure_node()


@pytest.fixture
def house(node: Node) -> House:
    """A supervisor and a reconciler whose daemon is the test."""
    from tests.services.house import House

    return House(node)


@pytest.fixture
def said() -> Said:
    """Answers that the test gives."""
    from tests.services.asked import Said

    return Said()


@pytest.fixture
def make_prober(node: Node, said: Said, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Prober]]:
    """Probers that ask soon, and are closed at the end."""
    from services import probing
    from services.asking import KINDS

    monkeypatch.setattr(probing, "_WRITE_EVERY_S", 0.05)
    made: list[Prober] = []

    def make(**options: Any) -> Prober:
        kinds = {**KINDS, "tcp": said.kind}
        made.append(probing.Prober(node, **{"kinds": kinds, "uniform": lambda low, _high: low, **options}))
        return made[-1]

    yield make
    for prober in made:
        prober.close()


@pytest.fixture
def prober(make_prober: Callable[..., Prober]) -> Prober:
    """One of them."""
    return make_prober()


@pytest.fixture
def registered(acting: str, db: None, tmp_path: Path) -> Callable[..., Service]:
    """Register a service; by default one that sleeps, in the test's directory."""
    from services.actions.definitions import register
    from services.spec import parse_spec

    def make(name: str = "api", script: str = "exec sleep 600", *, start: bool = False, **fields: Any) -> Service:
        given = {"command": ["/bin/sh", "-c", script], "cwd": str(tmp_path), **fields}
        return register(parse_spec({"name": name, **given}), start=start)

    return make


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
