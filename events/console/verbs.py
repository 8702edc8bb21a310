"""Answers of the console's verbs: the page comes back with a message, or the page's script gets it as JSON."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse


def wants_json(request: HttpRequest) -> bool:
    """Whether the page's script asks, not the browser itself."""
    return "application/json" in request.headers.get("Accept", "")


def done(request: HttpRequest, message: str, *, go: str = "", back: str) -> HttpResponse:
    """What a verb answers when it has done its work.

    Args:
        message: what was done, as a sentence.
        go: the page that shows what comes of it, when one should go there.
        back: the page one came from, for browsers without the script.
    """
    if wants_json(request) and not go:
        return JsonResponse({"message": message})
    messages.success(request, message)
    if wants_json(request):
        return JsonResponse({"message": message, "url": go})
    return HttpResponseRedirect(go or back)
