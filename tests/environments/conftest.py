"""A repository to make environments of, ports to give them, the command line, and a daemon; nothing of it survives."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from django.conf import settings

if TYPE_CHECKING:  # these need the models, which are not there yet when this file is read
    from django.test import Client

    from tests.conftest import Operator
    from tests.environments.places import DaemonProcess, Place


# what it tests is there or not: neither is worth a skip
collect_ignore = [] if os.environ.get("GAIA_DATABASE_URL", "").startswith("postgres") else ["test_backups_postgres.py"]


@pytest.fixture(autouse=True)
def _own_git_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's own git configuration or hooks take part."""
    configuration = tmp_path / "gitconfig"
    configuration.write_text('[user]\n\tname = Ada\n\temail = ada@example.org\n[protocol "file"]\n\tallow = always\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(configuration))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture(autouse=True)
def _first_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a look of another test remembers is forgotten: a daemon begins like this."""
    from environments import reconcile

    monkeypatch.setattr(reconcile, "_journals_seen", {})
    monkeypatch.setattr(reconcile, "_stops_seen", {})
    monkeypatch.setattr(reconcile, "_next_git_look", 0.0)


@pytest.fixture
def base_port(monkeypatch: pytest.MonkeyPatch) -> int:
    """The base of ports that nobody listens on and no other test process uses; it is the configured one, too."""
    from tests.environments.places import own_ports

    base = own_ports()
    monkeypatch.setitem(settings.GAIA.values, "environments.base_port", base)  # type: ignore[arg-type]
    monkeypatch.setenv("GAIA_ENVIRONMENTS_BASE_PORT", str(base))
    return base


@pytest.fixture
def place(transactional_db: None, acting: str, tmp_path: Path, base_port: int) -> Iterator[Place]:
    """A source named `shop`, with a web app that answers /health, and what makes environments of it."""
    from tests.environments.places import APP, Place
    from tests.environments.prepared import copy_source, own_root

    root = own_root()
    root.mkdir()
    yield Place(root, copy_source(root / "shop", {"README.md": "hello\n", **APP}), base_port)
    kill_everything_below(root, tmp_path)
    root.rename(tmp_path / "was code")  # whoever is still dying there writes into nobody's


@pytest.fixture
def start_daemon(place: Place, tmp_path: Path) -> Iterator[Callable[[], DaemonProcess]]:
    """Starts real node daemons, one after the other, on the test's home and database."""
    from tests.environments.places import DaemonProcess

    started: list[DaemonProcess] = []

    def start() -> DaemonProcess:
        started.append(DaemonProcess(tmp_path / f"daemon{len(started)}.log"))
        started[-1].wait_until_up()
        return started[-1]

    yield start
    for daemon in started:
        daemon.kill()


@pytest.fixture
def daemon(start_daemon: Callable[[], DaemonProcess]) -> DaemonProcess:
    """A running node daemon without web and jobs."""
    return start_daemon()


@pytest.fixture
def client(operator: Operator) -> Client:
    """An operator's program."""
    from django.test import Client

    return Client(headers=operator.headers)


@pytest.fixture
def post(client: Client) -> Callable[..., Any]:
    """Posts JSON to the API as an operator's program does; the answer."""
    from events.models import Event

    Event.objects.all().delete()

    def send(path: str, **body: Any) -> Any:
        return client.post(f"/api/environments/{path}", body, content_type="application/json")

    return send


def kill_everything_below(*directories: Path) -> None:
    """End every process that works below these directories, so that none outlives its test."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            works_in = Path(process.cwd().removesuffix(" (deleted)"))
            if any(works_in.is_relative_to(each) for each in directories) and process.pid != os.getpid():
                os.kill(process.pid, signal.SIGKILL)
