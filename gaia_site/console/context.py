"""What every page of the console gets, besides its own."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import SimpleLazyObject

from events.console.parts import live_context
from gaia_site import navigation
from gaia_site.console.attention import attention_of
from policy import panic


def every_page(request: HttpRequest) -> dict[str, Any]:
    """unfold's GLOBAL_CALLBACK."""
    if not request.user.is_authenticated:
        return {}
    shown = {"attention": attention_of(request), "commands": commands(), "panic": SimpleLazyObject(panic.standing)}
    return {**live_context(request), **shown}


def commands() -> list[dict[str, str]]:
    """Pages and verbs, which the palette offers before anything is typed."""
    verbs = [{"title": title, "hint": "do", "icon": icon, "url": reverse(url)} for title, icon, url in navigation.VERBS]
    items = [item for group in navigation.UNFOLD["SIDEBAR"]["navigation"] for item in group["items"]]
    places = [
        {"title": item["title"], "hint": f"g {item['key']}", "icon": item["icon"], "url": str(item["link"])}
        for item in items
    ]
    return verbs + places
