"""Token authentication: `Authorization: Token …`."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from knox.auth import TokenAuthentication as KnoxTokenAuthentication
from rest_framework.request import Request

from policy.actor import actor_of
from policy.models import Token, User


class TokenAuthentication(KnoxTokenAuthentication):
    """Knox's check, after which the token's holder is the actor of everything the request writes."""

    def authenticate(self, request: Request) -> tuple[User, Token] | None:
        found: tuple[User, Token] | None = super().authenticate(request)
        if found is not None:
            request._request.gaia_actor = actor_of(*found)  # type: ignore[attr-defined]  # ActorMiddleware asks for it
        return found


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # drf-spectacular's registry metaclass
    target_class = "policy.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": "Authorization", "description": "`Token gaia_…`"}
