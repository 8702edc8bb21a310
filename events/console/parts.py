"""Live parts of a page: the browser asks for the page's own address with a header that names the parts it wants.

Such a request is answered with those parts alone, and what only the other parts need is never looked up.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from events.tail import newest_id

HEADER = "X-Gaia-Parts"
WHOLE_PAGE = "admin/base_site.html"
PARTS_ONLY = "gaia/parts.html"


def wanted_parts(request: HttpRequest) -> frozenset[str] | None:
    """Names of the parts asked for; None when the whole page is."""
    header = request.headers.get(HEADER)
    return frozenset(header.replace(",", " ").split()) if header else None


def live_context(request: HttpRequest) -> dict[str, Any]:
    """What the templates of live pages need: their layout, which parts to fill, where the live stream goes on.

    To be called before the page's data is read: what happens in between is then told again rather than not at all.
    """
    wanted = wanted_parts(request)
    if wanted is not None:
        return {"layout": PARTS_ONLY, "wanted_parts": wanted}
    position = getattr(request, "gaia_position", None)
    if position is None:
        position = newest_id()
        request.gaia_position = position  # type: ignore[attr-defined]  # kept for the length of the request
    return {"layout": WHOLE_PAGE, "wanted_parts": None, "live_position": position}
