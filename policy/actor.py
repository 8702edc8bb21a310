"""From a signed-in person or a token to the actor key that events carry."""

from __future__ import annotations

from typing import Any

from policy.models import Token

_LONGEST = 150  # as long as an event keeps it; names may be longer together


def actor_of(user: Any, token: Token | None = None) -> str:
    """`user:NAME`, or `token:TOKEN of NAME` when a program acts for the person; `anonymous` without either."""
    if not getattr(user, "is_authenticated", False):
        return "anonymous"
    actor = f"token:{token.name or token.token_key} of {user.username}" if token else f"user:{user.username}"
    return actor[:_LONGEST]
