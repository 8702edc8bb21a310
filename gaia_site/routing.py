"""Every WebSocket route."""

from __future__ import annotations

from typing import Any, cast

from django.urls import path, re_path

from events.consumers import EventsConsumer
from gaia_site.origins import refuse

websocket_urlpatterns: list[Any] = [
    # URLRouter calls ASGI applications, Django's path() is typed for views
    path("ws/events/", cast(Any, EventsConsumer.as_asgi())),
    re_path(r"", cast(Any, refuse)),
]
