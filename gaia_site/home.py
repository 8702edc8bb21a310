from typing import Any

from django.http import HttpRequest


def home_context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    return context
