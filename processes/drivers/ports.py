"""Is a TCP port free on this host, and if not, who has it? Decided by really binding it."""

from __future__ import annotations

import errno
import ipaddress
import pwd
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from common.errors import InvalidInput, Refused

_CLOSING = "a connection that the system is still closing (it takes up to a minute)"
_LONGEST_LINE = 120
_LISTEN = "0A"  # /proc/net/tcp's name for the state


class PortRefused(Refused):
    """The system does not let this user listen there."""

    code = "port_refused"


@dataclass(frozen=True)
class Holder:
    """Who holds a port. What cannot be seen from here is None or empty.

    Args:
        pid: None for another user's process, and where there is no process.
        command: name of the program; without a pid, what else it is.
        user: whose.
        line: how it was called, without its options: they may hold secrets.
    """

    pid: int | None
    command: str
    user: str
    line: str = field(default="", compare=False, repr=False)


def holder(port: int, host: str = "127.0.0.1") -> Holder | None:
    """Who holds the port; None when it is free.

    A listener on the host or on a wildcard address counts, of IPv4 or IPv6: whoever connects to `localhost` may reach
    either. A connection in TIME_WAIT does not count, unless its server had not set SO_REUSEADDR: then the kernel lets
    nobody bind the port until it is over, and that is said.

    Args:
        port: 1 to 65535.
        host: an IP address of this machine, or `localhost`.

    Raises: InvalidInput for a bad port or address, PortRefused when this user may not bind it (below 1024).
    """
    if not 1 <= port <= 65535:
        raise InvalidInput(f"{port} is no port number", fix="Choose a port between 1024 and 65535.", port=port)
    addresses = list(_addresses(host))
    for family, address in addresses:
        if _taken(family, address, port, asked=host):
            return _find(port)
    return None


def is_free(port: int) -> bool:
    """Whether somebody could listen on the port on this machine's own addresses. Raises: as `holder`."""
    return not any(_taken(family, address, port, asked=address) for family, address in _addresses("127.0.0.1"))


def listeners(ports: Iterable[int]) -> dict[int, Holder]:
    """Who listens on these ports, where `localhost` would reach him: one look for all of them.

    As `holder`, but a port that is taken by something else than a listener counts as free.
    """
    wanted = set(ports)
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):  # macOS tells only root: then each port is tried
        return {port: who for port in wanted if (who := holder(port)) is not None}
    found: dict[int, Holder] = {}
    for one in connections:
        if one.status != psutil.CONN_LISTEN or not one.laddr:
            continue
        port, known = one.laddr.port, found.get(one.laddr.port)
        if port in wanted and _reachable(one.laddr.ip) and (known is None or known.pid is None):
            found[port] = _process(one.pid) if one.pid else Holder(None, "", _owner(port))
    return found


def _reachable(address: str) -> bool:
    """Whether a connection to `localhost` may end there."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None) or ip
    return mapped.is_unspecified or str(mapped) in {"127.0.0.1", "::1"}


def describe(holder: Holder) -> str:
    """The holder in words: `python3 (pid 123)`."""
    if holder.pid is not None:
        return f"{holder.command or 'a process'} (pid {holder.pid})"
    if holder.command:
        return holder.command
    if holder.user:
        return f"a process of user {holder.user}"
    return "an unknown process"


def _addresses(host: str) -> Iterator[tuple[socket.AddressFamily, str]]:
    """What to bind. `::1` alone finds a listener on `::` too, and a dual-stack one on `::` is found through IPv4."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise InvalidInput(f"{host!r} is no IP address", fix="Use an address of this machine.", host=host) from None
    wildcard = address.is_unspecified
    if address.version == 4:
        yield socket.AF_INET, str(address)
        yield socket.AF_INET6, "::" if wildcard else "::1"
    else:
        yield socket.AF_INET6, str(address)
        yield socket.AF_INET, "0.0.0.0" if wildcard else "127.0.0.1"  # noqa: S104  (bound for a moment, never listened on)


def _taken(family: socket.AddressFamily, address: str, port: int, *, asked: str) -> bool:
    try:
        probe = socket.socket(family, socket.SOCK_STREAM)
    except OSError:  # a machine without that family
        return False
    with probe:
        # As servers do: TIME_WAIT is passed over, a listener is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            if error.errno in (errno.EACCES, errno.EPERM):
                raise PortRefused(
                    f"this user may not listen on port {port}", fix="Choose a port above 1023.", port=port
                ) from error
            if address == asked:
                raise InvalidInput(
                    f"{asked} is no address of this machine", fix="Use an address of this machine.", host=asked
                ) from error
    return False


def _find(port: int) -> Holder:
    """The listener on the port, or whoever else uses it, as far as this user may see."""
    with suppress(psutil.Error, OSError):
        uses = [one for one in psutil.net_connections(kind="tcp") if one.laddr and one.laddr.port == port]
        listeners = [one for one in uses if one.status == psutil.CONN_LISTEN] or uses
        for one in listeners:  # forked workers share a listener: any of them leads to the program
            if one.pid:
                return _process(one.pid)
        if uses and all(one.status == psutil.CONN_TIME_WAIT for one in uses):
            return Holder(pid=None, command=_CLOSING, user="")
    return Holder(pid=None, command="", user=_owner(port))


def _process(pid: int) -> Holder:
    command = user = line = ""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        command = process.name()
        user = process.username()
        line = _called(process.cmdline())
    return Holder(pid=pid, command=command, user=user, line=line)


def _called(words: list[str]) -> str:
    """`python3 app.py`, `python3 -m http.server`: the program and what it runs."""
    shown = [Path(words[0]).name] if words else []
    for place, word in enumerate(words[1:], 1):
        if word.startswith("-") and word != "-m":
            break
        shown.append(word if words[place - 1] == "-m" or word == "-m" else Path(word).name)
        if word != "-m":
            break
    return " ".join(shown)[:_LONGEST_LINE]


def _owner(port: int) -> str:
    """The user whose listener it is; the kernel shows that to everybody, the process only to its own user."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    return _user_name(int(fields[7]))
    return ""


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
