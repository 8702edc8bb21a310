"""Changing one's own password, through the action that records it."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.views import PasswordChangeView
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse

from policy.forms import OwnPasswordForm


def own_password(request: HttpRequest) -> HttpResponseBase:
    """unfold's page with a form that calls the action."""
    view = PasswordChangeView.as_view(
        form_class=OwnPasswordForm,
        success_url=reverse("admin:password_change_done"),
        extra_context={**admin.site.each_context(request), "title": "Change password"},
    )
    return view(request)
