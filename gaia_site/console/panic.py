"""The button that lifts a panic, which is on every page while one holds."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_POST

from events.console.verbs import done
from policy import panic


def _lift(request: HttpRequest) -> HttpResponse:
    """Sessions take input again."""
    lifted = panic.lift()
    told = "No panic holds." if lifted is None else "The panic is lifted: sessions take input again."
    return done(request, told, back=reverse("admin:index"))


lift = admin.site.admin_view(require_POST(_lift))
