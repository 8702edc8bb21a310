"""Paths for programs mean the same with and without a slash at their end."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.urls import is_valid_path

from gaia_site.errors import FOR_PROGRAMS


class ApiSlashMiddleware:
    """Answers at once where Django would redirect: clients lose a POST's body, or its being a POST, on the way."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        path = request.path_info
        if path.startswith(FOR_PROGRAMS) and not is_valid_path(path):
            other = path[:-1] if path.endswith("/") else f"{path}/"
            if is_valid_path(other):
                request.path_info = other
        return self.get_response(request)
