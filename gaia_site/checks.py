"""System checks: mistakes in the settings, each with an id and a hint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register


@register()
def check_configuration(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """gaia.E001: a setting in config.toml or GAIA_* that cannot be used; its default is in force."""
    return [
        Error(problem.message, hint=problem.hint, id="gaia.E001", obj=problem.key) for problem in settings.GAIA_PROBLEMS
    ]


@register(deploy=True)
def check_exposure(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """gaia.W001: reachable from other machines without a public URL over TLS."""
    host, public = settings.GAIA["server.host"], settings.GAIA["server.public_url"]
    if host in {"127.0.0.1", "localhost", "::1"} or public.startswith("https://"):
        return []
    hint = "Put a TLS proxy in front and set server.public_url to its https:// origin."
    return [Warning(f"The console listens on {host} without TLS.", hint=hint, id="gaia.W001")]
