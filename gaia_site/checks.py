"""System checks: mistakes in the settings, each with an id and a hint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, register

OWN = "gaia"
"""Tag of GAIA's own checks: the daemon makes no others at its start, they load every page of the console."""


@register(OWN)
def check_configuration(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """gaia.E001: a setting in config.toml or GAIA_* that cannot be used; its default is in force."""
    found = settings.GAIA_PROBLEMS
    return [checks.Error(problem.message, hint=problem.hint, id="gaia.E001", obj=problem.key) for problem in found]


@register(OWN)
def check_fleet(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """gaia.W002: the fleet file or a provider's has a mistake; the fleet is shown as it was and cannot be started."""
    from sessions.configured import fleet_problem

    problem = fleet_problem()
    hint = "Mend the line; sessions/fleets/default.yaml shows how a fleet is written."
    return [checks.Warning(problem, hint=hint, id="gaia.W002")] if problem else []


@register(OWN, deploy=True)
def check_exposure(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """gaia.W001: reachable from other machines without a public URL over TLS."""
    host, public = settings.GAIA["server.host"], settings.GAIA["server.public_url"]
    if host in {"127.0.0.1", "localhost", "::1"} or public.startswith("https://"):
        return []
    hint = "Put a TLS proxy in front and set server.public_url to its https:// origin."
    return [checks.Warning(f"The console listens on {host} without TLS.", hint=hint, id="gaia.W001")]
