from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from events.actor import acting_as
from policy.actor import actor_of


class ActorMiddleware:
    """Whoever sends the request is the actor of what it writes: the token's holder, else the signed-in person."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        def actor() -> str:
            return getattr(request, "gaia_actor", None) or actor_of(request.user)

        with acting_as(actor):
            return self.get_response(request)
