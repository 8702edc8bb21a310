"""Free or held, and by whom: with real sockets of every kind that could stand in the way."""

# ruff: noqa: S104  (wildcard listeners are what is tested)

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from common.errors import InvalidInput
from processes.drivers.ports import Holder, PortRefused, describe, holder


def _works(family: socket.AddressFamily, address: str) -> bool:
    with suppress(OSError), socket.socket(family) as probe:
        probe.bind((address, 0))
        return True
    return False


LISTENERS = [
    pytest.param(*case, id=name)
    for name, case in {
        "v4-loopback": (socket.AF_INET, "127.0.0.1", True),
        "v4-wildcard": (socket.AF_INET, "0.0.0.0", True),
        "v6-loopback": (socket.AF_INET6, "::1", True),
        "v6-wildcard": (socket.AF_INET6, "::", True),
        "dual-wildcard": (socket.AF_INET6, "::", False),
    }.items()
    if _works(case[0], case[1])
]


class Sockets:
    """Sockets on a port of their own, all closed in the end."""

    def __init__(self) -> None:
        self.made: list[socket.socket] = []
        self.port = 0

    def make(self, family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
        made = socket.socket(family, socket.SOCK_STREAM)
        self.made.append(made)
        return made

    def listen(
        self, family: socket.AddressFamily, address: str, v6only: bool = True, *, reuse: bool = True
    ) -> socket.socket:
        server = self.make(family)
        if reuse:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6only))
        server.bind((address, 0))
        server.listen()
        self.port = server.getsockname()[1]
        return server

    def talk(self, server: socket.socket) -> tuple[socket.socket, socket.socket]:
        client = self.make()
        client.connect(("127.0.0.1", self.port))
        accepted, _ = server.accept()
        self.made.append(accepted)
        return client, accepted

    def close(self) -> None:
        for made in self.made:
            made.close()


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    made = Sockets()
    yield made
    made.close()


@pytest.mark.parametrize(("family", "address", "v6only"), LISTENERS)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_listener_holds_the_port(
    sockets: Sockets, family: socket.AddressFamily, address: str, v6only: bool, host: str
) -> None:
    server = sockets.listen(family, address, v6only)
    me = psutil.Process()
    assert holder(sockets.port, host) == Holder(os.getpid(), me.name(), me.username())
    server.close()
    assert holder(sockets.port, host) is None


def test_asking_does_not_take_the_port(sockets: Sockets) -> None:
    sockets.listen(socket.AF_INET, "127.0.0.1").close()
    assert holder(sockets.port) is None
    again = sockets.make()
    again.bind(("127.0.0.1", sockets.port))  # without SO_REUSEADDR
    again.listen()


def test_closed_connection_in_time_wait_does_not_count(sockets: Sockets) -> None:
    server = sockets.listen(socket.AF_INET, "127.0.0.1")
    client, accepted = sockets.talk(server)
    accepted.close()  # the server's side closes first, so it is the one that waits
    assert client.recv(1) == b""
    client.close()
    server.close()
    assert "06" in _states(sockets.port)
    assert holder(sockets.port) is None


def test_connection_of_a_server_that_did_not_allow_reuse_is_named(sockets: Sockets) -> None:
    """Nobody can bind that port for a minute, so it cannot be called free; but no process is to blame."""
    server = sockets.listen(socket.AF_INET, "127.0.0.1", reuse=False)
    client, accepted = sockets.talk(server)
    accepted.close()
    assert client.recv(1) == b""
    client.close()
    server.close()
    found = holder(sockets.port)
    assert found is not None
    assert describe(found) == "a connection that the system is still closing (it takes up to a minute)"


def test_connection_that_goes_on_without_its_listener_holds_the_port(sockets: Sockets) -> None:
    server = sockets.listen(socket.AF_INET, "127.0.0.1", reuse=False)
    sockets.talk(server)
    server.close()
    found = holder(sockets.port)
    assert found is not None
    assert found.pid == os.getpid()


def test_outgoing_connection_from_that_port_holds_it(sockets: Sockets) -> None:
    server = sockets.listen(socket.AF_INET, "127.0.0.1")
    client, _ = sockets.talk(server)
    found = holder(client.getsockname()[1])
    assert found is not None
    assert found.pid == os.getpid()


def test_bound_without_listening_is_held_though_nobody_can_be_named(sockets: Sockets) -> None:
    silent = sockets.make()
    silent.bind(("127.0.0.1", 0))
    found = holder(silent.getsockname()[1])
    assert found is not None
    assert describe(found) == "an unknown process"


def test_another_address_of_the_machine_is_no_obstacle(sockets: Sockets) -> None:
    sockets.listen(socket.AF_INET, "127.0.0.2")
    assert holder(sockets.port, "127.0.0.1") is None
    assert holder(sockets.port, "127.0.0.2") is not None
    assert holder(sockets.port, "0.0.0.0") is not None


def test_of_several_workers_one_is_named(sockets: Sockets) -> None:
    sockets.listen(socket.AF_INET, "127.0.0.1")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(reading, 1)
        os._exit(0)
    try:
        found = holder(sockets.port)
        assert found is not None
        assert found.pid in (os.getpid(), child)
    finally:
        os.write(writing, b"x")
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)


def test_process_of_another_user_is_named_by_its_user(sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    sockets.listen(socket.AF_INET, "127.0.0.1")
    port = sockets.port

    def ask() -> str:
        sockets.close()  # the fork's own copy
        return repr(holder(port))

    if os.getuid() == 0:  # then look at it as somebody who may not see root's processes
        assert _as_nobody(ask) == "Holder(pid=None, command='', user='root')"
    else:  # what the system's table says to such a one
        monkeypatch.setattr(psutil, "net_connections", lambda kind: [])
        assert holder(port) == Holder(None, "", psutil.Process().username())


def test_low_ports_are_refused_where_the_system_does(sockets: Sockets) -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())

    def ask() -> str:
        try:
            holder(7)
        except PortRefused as error:
            return error.fix
        return ""

    answer = _as_nobody(ask) if os.getuid() == 0 else ask()
    assert answer == ("Choose a port above 1023." if first > 7 else "")


def _as_nobody(question: Callable[[], str]) -> str:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setresuid(65534, 65534, 65534)
            os.write(writing, question().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


@pytest.mark.parametrize("port", [0, -1, 65536, 100_000])
def test_numbers_that_are_no_ports(port: int) -> None:
    with pytest.raises(InvalidInput):
        holder(port)


@pytest.mark.parametrize("host", ["no.such.host", "", "203.0.113.7", "2001:db8::7", "300.1.1.1"])
def test_addresses_that_are_not_of_this_machine(sockets: Sockets, host: str) -> None:
    sockets.listen(socket.AF_INET, "127.0.0.1").close()
    with pytest.raises(InvalidInput):
        holder(sockets.port, host)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Holder(123, "python3", "root"), "python3 (pid 123)"),
        (Holder(123, "", ""), "a process (pid 123)"),
        (Holder(None, "", "postgres"), "a process of user postgres"),
        (Holder(None, "", ""), "an unknown process"),
    ],
)
def test_holders_in_words(found: Holder, words: str) -> None:
    assert describe(found) == words


def _states(port: int) -> set[str]:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[3] for row in rows if int(row[1].split(":")[1], 16) == port}
