"""Which pages may open a WebSocket."""

from __future__ import annotations

from typing import Any

import pytest

from gaia_site.origins import may_connect

TOKEN = ("authorization", "Token gaia_x")
COOKIE = ("cookie", "gaia_session_8080=x")


@pytest.fixture(autouse=True)
def site(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]", "gaia.example.org"]
    settings.CSRF_TRUSTED_ORIGINS = ["https://gaia.example.org"]


def scope(*headers: tuple[str, str], scheme: str = "ws", subprotocols: tuple[str, ...] = ()) -> dict[str, Any]:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return {"type": "websocket", "scheme": scheme, "path": "/ws/events/", "headers": raw, "subprotocols": subprotocols}


@pytest.mark.parametrize(
    ("host", "origin", "scheme", "welcome"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080", "ws", True),
        ("localhost:8080", "http://localhost:8080", "ws", True),
        ("LOCALHOST:8080", "http://localhost:8080", "ws", True),
        ("[::1]:8080", "http://[::1]:8080", "ws", True),
        ("localhost", "http://localhost", "ws", True),
        ("localhost:80", "http://localhost", "ws", True),
        ("localhost", "https://localhost:443", "wss", True),
        ("gaia.example.org", "https://gaia.example.org", "wss", True),
        # behind a TLS proxy: the page's origin is the public one, whatever reaches us
        ("gaia.example.org", "https://gaia.example.org", "ws", True),
        ("127.0.0.1:8080", "https://gaia.example.org", "ws", True),
        # another port of this machine: an agent's development server
        ("127.0.0.1:8080", "http://127.0.0.1:8081", "ws", False),
        ("127.0.0.1:8080", "http://127.0.0.1", "ws", False),
        # another name of this machine: its cookies are others
        ("127.0.0.1:8080", "http://localhost:8080", "ws", False),
        # another scheme
        ("127.0.0.1:8080", "https://127.0.0.1:8080", "ws", False),
        ("localhost", "http://localhost", "wss", False),
        ("gaia.example.org", "http://gaia.example.org:443", "wss", False),
        ("127.0.0.1:8080", "ws://127.0.0.1:8080", "ws", False),
        # other people
        ("127.0.0.1:8080", "http://evil.example", "ws", False),
        ("127.0.0.1:8080", "https://gaia.example.org.evil.example", "ws", False),
        ("127.0.0.1:8080", "https://sub.gaia.example.org", "ws", False),
        ("127.0.0.1:8080", "https://gaia.example.org:8443", "ws", False),
        # a name that resolves to this machine (DNS rebinding)
        ("evil.example:8080", "http://evil.example:8080", "ws", False),
        ("evil.example:8080", "https://gaia.example.org", "ws", False),
        # not origins
        ("127.0.0.1:8080", "null", "ws", False),
        ("127.0.0.1:8080", "", "ws", False),
        ("127.0.0.1:8080", "http://127.0.0.1:8080/", "ws", False),
        ("127.0.0.1:8080", "http://127.0.0.1:8080?x", "ws", False),
        ("127.0.0.1:8080", "http://me@127.0.0.1:8080", "ws", False),
        ("127.0.0.1:8080", "http://127.0.0.1:99999", "ws", False),
        ("127.0.0.1:8080", "http://[::1", "ws", False),
        ("127.0.0.1:8080", "127.0.0.1:8080", "ws", False),
        ("", "http://127.0.0.1:8080", "ws", False),
    ],
)
def test_matrix(host: str, origin: str, scheme: str, welcome: bool) -> None:
    for credentials in (COOKIE, TOKEN):  # a token does not help a page that is not ours
        assert may_connect(scope(("host", host), ("origin", origin), credentials, scheme=scheme)) is welcome


HOST = ("host", "127.0.0.1:8080")


@pytest.mark.parametrize(
    ("headers", "subprotocols", "welcome"),
    [
        ([HOST, TOKEN], (), True),
        ([HOST], ("gaia", "gaia.token.gaia_x"), True),
        ([HOST, COOKIE], (), False),
        ([HOST], (), False),
        ([HOST, COOKIE, ("authorization", "Basic eDp4")], (), False),
        ([HOST], ("gaia",), False),
        ([("host", "evil.example"), TOKEN], (), False),
        ([TOKEN], (), False),
    ],
    ids=["token", "subprotocol", "cookie", "nothing", "basic", "no token offered", "strange host", "no host"],
)
def test_programs_have_no_origin_and_need_a_token(
    headers: list[tuple[str, str]], subprotocols: tuple[str, ...], welcome: bool
) -> None:
    assert may_connect(scope(*headers, subprotocols=subprotocols)) is welcome


@pytest.mark.parametrize("twice", [HOST, ("origin", "http://127.0.0.1:8080")], ids=["host", "origin"])
def test_headers_sent_twice_are_not_believed(twice: tuple[str, str]) -> None:
    assert not may_connect(scope(HOST, ("origin", "http://127.0.0.1:8080"), COOKIE, twice))
