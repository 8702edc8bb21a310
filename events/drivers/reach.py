"""Which addresses of a network GAIA sends to.

Loopback and private addresses are allowed: the tools of people who host things themselves live there. Link-local
ones are not, nor those at which clouds hand out a machine's credentials, nor those that are nobody's.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from contextlib import suppress

from events.drivers.outcome import NotDelivered

_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        ("169.254.169.254", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
    )
)
_LEAST_S = 0.05  # to connect: 0 would mean not to wait at all
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def why_not(address: str) -> str:
    """Why nothing is sent to this IP address; empty when it may be.

    Raises: ValueError for what is no IP address.
    """
    ip = _meant(ipaddress.ip_address(address.partition("%")[0]))
    if ip in _METADATA:
        return "it hands out credentials of cloud machines"
    if ip.is_link_local:
        return "it is link-local"
    if ip.is_multicast or ip.is_unspecified or ip == ipaddress.ip_address("255.255.255.255"):
        return "it is nobody's own"
    return ""


def _meant(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address that an IPv6 one stands for."""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return ip.ipv4_mapped
        if ip in _NAT64:
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip


def numeric(host: str) -> str | None:
    """The IP address that a host name spells, `127.1` and `0x7f000001` among them; None for a name. Asks no DNS."""
    with suppress(OSError, UnicodeError):
        return str(socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)[0][4][0])
    return None


def connect(host: str, port: int, *, timeout: float) -> socket.socket:
    """A connection to the first address of the host that may be sent to and answers.

    What is checked is what is connected to: a name that is answered differently the second time gains nothing.

    Args:
        timeout: seconds for all of its addresses together: one that is silent leaves their share to the others.

    Raises: NotDelivered.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotDelivered(f"{host} is not known: {error}") from error
    problem = f"{host} has no address"
    ends = time.monotonic() + timeout
    for left, (family, kind, protocol, _, address) in zip(range(len(found), 0, -1), found, strict=True):
        reason = why_not(str(address[0]))
        if reason:
            problem = f"nothing is sent to {address[0]}: {reason}"
            continue
        sock = socket.socket(family, kind, protocol)
        sock.settimeout(max(_LEAST_S, (ends - time.monotonic()) / left))
        try:
            sock.connect(address)
        except OSError as error:
            sock.close()
            problem = f"{host} port {port} cannot be reached: {error.strerror or 'no answer'}"
            continue
        sock.settimeout(timeout)
        return sock
    raise NotDelivered(problem)
