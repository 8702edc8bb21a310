"""Letting clients in to streams by the rules of the API, and looking again while they stay.

A stream is not a REST framework view, so the framework's own authentication and permission classes, as the settings
name them, are asked on its behalf. That way a token or a session means the same on every door.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest, parse_cookie
from rest_framework.views import APIView

from events.reading import read

TOKEN_PROTOCOL = "gaia.token."  # noqa: S105  the prefix of a WebSocket subprotocol that carries a token
UNAUTHENTICATED, FORBIDDEN, TRY_AGAIN = 4401, 4403, 1013
_CLOSE_CODES = {401: UNAUTHENTICATED, 403: FORBIDDEN}
# Looked at again with the first batch after this long; heartbeats come every 15 s, so at the latest after 30 s.
RECHECK_S = 15.0


class Refused(Exception):
    """The client may not (or no longer) read here.

    status, body, headers: the answer the API would give. close_code: what a WebSocket is closed with.
    """

    def __init__(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        super().__init__(str(body.get("detail") or body.get("title") or status))
        self.status, self.body, self.headers = status, dict(body), dict(headers)

    @property
    def close_code(self) -> int:
        """4401 not signed in, 4403 not allowed, 1013 cannot be told right now."""
        return _CLOSE_CODES.get(self.status, TRY_AGAIN)


@dataclass(frozen=True)
class Credentials:
    """What a client shows: a token in `Authorization`, else the cookie of a browser session."""

    authorization: str = ""
    session: str = ""

    @classmethod
    def of_request(cls, request: HttpRequest) -> Credentials:
        return cls._choose(request.headers.get("Authorization", ""), request.COOKIES)

    @classmethod
    def of_socket(cls, scope: Mapping[str, Any]) -> Credentials:
        """From an ASGI scope; browsers cannot set headers and offer the subprotocol `gaia.token.TOKEN` instead."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        offered = [name for name in scope.get("subprotocols", ()) if name.startswith(TOKEN_PROTOCOL)]
        token = f"{_scheme()} {offered[0].removeprefix(TOKEN_PROTOCOL)}" if offered else ""
        return cls._choose(token or headers.get(b"authorization", ""), parse_cookie(headers.get(b"cookie", "")))

    @classmethod
    def _choose(cls, authorization: str, cookies: Mapping[str, str]) -> Credentials:
        if authorization.lower().startswith(f"{_scheme()} ".lower()):
            return cls(authorization=authorization)  # whoever shows a token is judged by the token alone
        return cls(session=cookies.get(settings.SESSION_COOKIE_NAME, ""))


class Admission:
    """One client's leave to read, asked for at the door and again while it stays."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._checked = 0.0

    async def enter(self) -> None:
        """Ask now. Raises: Refused."""
        await read(admit, self._credentials)
        self._checked = time.monotonic()

    async def renew(self) -> None:
        """Ask again when the last time is long ago.

        Raises: Refused, as forbidden, when the account, session or token is no longer good.
        """
        if time.monotonic() - self._checked < getattr(settings, "GAIA_STREAM_RECHECK_S", RECHECK_S):
            return
        try:
            await self.enter()
        except Refused as error:
            error.status = 403 if error.status == 401 else error.status
            raise


def admit(credentials: Credentials) -> None:
    """Ask the API's authentication and permission classes for a reader with these credentials. Raises: Refused."""
    request = HttpRequest()
    request.method = "GET"
    if credentials.authorization:
        request.META["HTTP_AUTHORIZATION"] = credentials.authorization
    store = import_module(settings.SESSION_ENGINE).SessionStore
    request.session = store(credentials.session or None)
    door = APIView()
    door.format_kwarg = None
    door.request = door.initialize_request(request)
    try:
        request.user = get_user(request)
        door.perform_authentication(door.request)
        door.check_permissions(door.request)
    except Exception as error:
        answer = door.handle_exception(error)  # raises again what the API does not know
        raise Refused(answer.status_code, answer.data, _without_type(answer.headers)) from error


def _without_type(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() != "content-type"}


def _scheme() -> str:
    return str(settings.REST_KNOX["AUTH_HEADER_PREFIX"])
