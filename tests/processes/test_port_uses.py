"""What becomes of ports that are handed out: told from real sockets of real processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from common.errors import Conflict, NotFound
from events import log
from processes.actions.ports import check_available, free_ports, lease_ports, move_lease, uses
from processes.drivers import ports as driver
from processes.drivers.table import variable_of
from processes.models import Node, PortLease, Process
from processes.states import PortState

# Listens on a port, in a session of its own or not, and says when it does.
_LISTENER = """
import os, socket, sys, time
if sys.argv[2] == "away":
    if os.fork():
        time.sleep(60)
    os.setsid()
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
time.sleep(60)
"""


@pytest.fixture
def port() -> int:
    """A port that the system gave a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@pytest.fixture
def listener(port: int) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process that listens on the port; all of them are ended."""
    started: list[subprocess.Popen[str]] = []

    def start(where: str = "here", **environ: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _LISTENER, str(port), where], env={**os.environ, **environ},
            stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        return process

    yield start
    for process in started:
        for pid in (process.pid, *_children(process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def leased(node: Node, port: int, owner: str = "environment/a/qa") -> PortLease:
    lease_ports(node, {owner: port})
    return PortLease.objects.get(owner=owner)


def started(node: Node, lease: PortLease, pid: int) -> Process:
    return Process.objects.create(
        node=node, owner=lease.owner, token="t1", pid=pid, state="running", cwd="/", log="/x", lock="/x", journal="/x"
    )


@pytest.mark.django_db
def test_of_nobody(node: Node, port: int) -> None:
    [one] = uses([leased(node, port)])
    assert (one.state, one.holder, one.process) == (PortState.FREE, None, None)


@pytest.mark.django_db
@pytest.mark.parametrize("where", ["here", "away"])
def test_of_its_own_process(node: Node, port: int, listener: Callable[..., subprocess.Popen[str]], where: str) -> None:
    """Also when that has left its session: it carries the mark of its start."""
    lease = leased(node, port)
    process = listener(where, GAIA_ATTEMPT_TOKEN="t1")
    started(node, lease, process.pid)

    [one] = uses([lease])

    assert one.state == PortState.SERVING
    assert one.holder is not None
    assert one.holder.pid in {process.pid, *_children(process.pid)}
    assert one.holder.line.startswith("python"), "its options may hold secrets"
    assert "create_server" not in one.holder.line


@pytest.mark.django_db
def test_of_somebody_else(node: Node, port: int, listener: Callable[..., subprocess.Popen[str]]) -> None:
    lease = leased(node, port)
    stranger = listener()
    started(node, lease, os.getppid())

    [one] = uses([lease])

    assert one.state == PortState.TAKEN
    assert one.holder is not None
    assert one.holder.pid == stranger.pid


@pytest.mark.django_db
def test_of_a_process_that_does_not_listen(node: Node, port: int) -> None:
    lease = leased(node, port)
    started(node, lease, os.getpid())
    assert [one.state for one in uses([lease])] == [PortState.SILENT]


@pytest.mark.django_db
def test_of_another_user_whom_one_cannot_see(node: Node, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system tells of another user's socket: that it is there, and whose, never the process."""
    lease = leased(node, port)
    with socket.create_server(("127.0.0.1", port)):
        seen = driver.psutil.net_connections(kind="tcp")
        monkeypatch.setattr(driver.psutil, "net_connections", lambda kind: [one._replace(pid=None) for one in seen])
        [one] = uses([lease])
    assert one.state == PortState.TAKEN
    assert one.holder is not None
    assert (one.holder.pid, one.holder.user) == (None, driver.psutil.Process().username())


@pytest.mark.parametrize(
    ("address", "reached"), [("127.0.0.1", True), ("0.0.0.0", True), ("127.0.0.2", False)]  # noqa: S104
)  # fmt: skip
def test_who_listens_where_localhost_leads(address: str, reached: bool) -> None:
    with socket.create_server((address, 0)) as server:
        port = server.getsockname()[1]
        assert (port in driver.listeners([port])) is reached
        assert driver.is_free(port) is not reached
    assert driver.listeners([port]) == {}
    assert driver.is_free(port)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["/usr/bin/python3", "app.py", "--token=x"], "python3 app.py"),
        (["python3", "-m", "http.server", "8080"], "python3 -m http.server"),
        (["node", "--inspect", "x.js"], "node"),
        (["nginx"], "nginx"),
        ([], ""),
    ],
)
def test_how_a_program_was_called(words: list[str], shown: str) -> None:
    assert driver._called(words) == shown


@pytest.mark.django_db
def test_a_lease_moves_once(node: Node, port: int) -> None:
    lease = leased(node, port)
    leased(node, 4001, "b")
    with log.atomic():
        move_lease(node, lease.owner, before=port, port=4002)
    with pytest.raises(NotFound, match=f"does not hold port {port}"), log.atomic():
        move_lease(node, lease.owner, before=port, port=4003)
    with pytest.raises(Conflict, match="port 4001 is leased to b"), log.atomic():
        move_lease(node, lease.owner, before=4002, port=4001)
    assert dict(PortLease.objects.values_list("owner", "port")) == {lease.owner: 4002, "b": 4001}


@pytest.mark.django_db
def test_free_ones_are_neither_leased_nor_listened_on(node: Node, port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        leased(node, port)
        other = next(one for one in range(20_000, 30_000) if driver.is_free(one))
        assert free_ports(node, [port, taken, other], 3) == [other]
        with pytest.raises(Conflict, match="is leased to environment/a/qa"):
            check_available(node, port, fix="x")
        with pytest.raises(Conflict, match=f"pid {os.getpid()}"):
            check_available(node, taken, fix="x")
        check_available(node, other, fix="x")


def test_the_variables_a_program_was_started_with(listener: Callable[..., subprocess.Popen[str]]) -> None:
    process = listener(USE_HTTPS="true")
    assert variable_of(process.pid, "USE_HTTPS") == "true"
    assert variable_of(process.pid, "USE_HTTP") == ""
    assert variable_of(2**22 + 1, "USE_HTTPS") is None
