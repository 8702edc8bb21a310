"""HTTPS of stages: on and off, who trusts it, and renewal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings

from common.errors import Conflict, GaiaError, InvalidInput
from environments.actions import serving, trust
from environments.actions.changing import restarted, while_stopped
from environments.actions.furnishing import furnish
from environments.drivers.launching import TLS_FILES, asks_for_https
from environments.models import Environment, Stage
from environments.states import ENVIRONMENT_ACTIVE, EnvironmentState
from processes.actions.operations import Progress, request_operation
from processes.models import Operation

KIND = "environments.https"


def switch(chosen: Sequence[Stage], on: bool) -> list[Stage]:
    """Have stages of one environment serve HTTPS with a certificate of the local authority, or plain HTTP.

    The certificate comes first and the row second, the checkout's files follow from the row: killed in between, the
    next launch or set-up brings them into agreement.

    Args:
        chosen: stages of the same environment.

    Returns: those that changed; the others were like that already.
    Raises: Conflict when one that is to change runs, or when `.env.local` says otherwise; Unavailable, Refused when
    the certificate or the checkout cannot be written.
    """
    environment = _environment_of(chosen)
    changing = [stage for stage in chosen if stage.https != on]
    _check_wish(environment, on)
    if not changing:
        if on and environment.state == EnvironmentState.READY:
            serving.certify(environment)
        return []
    which = f" {chosen[0].name}" if len(chosen) == 1 else ""
    verb = f"gaia https {'on' if on else 'off'} {environment.directory}{which}"
    with while_stopped(environment, changing, verb=verb):
        if on:
            serving.certify(environment)
        for stage in changing:
            serving.record_https(stage, on, "from its next start on")
        furnish(environment)
    return changing


def request_switch(
    chosen: Sequence[Stage], on: bool, *, idempotency_key: str | None = None, detached: bool = True
) -> Operation:
    """Ask for `switch` with those that run being stopped before and started after it.

    Raises: as `switch` for what `.env.local` says, before anything is stopped; Conflict when another operation works on
    the environment.
    """
    environment = _environment_of(chosen)
    _check_wish(environment, on)
    names = ", ".join(stage.name for stage in chosen)
    return request_operation(
        KIND,
        f"HTTPS {'on' if on else 'off'} for {names} of {environment.directory}",
        subject=environment.key,
        params={"stages": [stage.pk for stage in chosen], "on": on},
        idempotency_key=idempotency_key,
        detached=detached,
    )


def _check_wish(environment: Environment, on: bool) -> None:
    if not on and asks_for_https(Path(environment.path)):
        raise Conflict(
            f"{environment.directory}/.env.local says USE_HTTPS",
            meaning="What you write there counts for all of its stages, and GAIA leaves it alone.",
            fix="Remove that line, then run this again.",
        )


def operate(progress: Progress, *, stages: list[int], on: bool) -> dict[str, Any]:
    """The operation: stop those that are to change and run, switch, start them again."""
    pks = list(Stage.objects.filter(pk__in=stages).exclude(https=on).values_list("pk", flat=True))
    told: dict[str, Any] = {"stages": []}
    if pks:
        told = restarted(progress, pks, lambda chosen: _switch(chosen, on))
    progress(1, 1, f"{len(pks)} changed" if pks else "Nothing to do")
    return told


def _switch(chosen: list[Stage], on: bool) -> None:
    switch(chosen, on)


def renew(*, now: datetime | None = None) -> int:
    """Renew the certificates that end within 30 days; how many there were.

    Args:
        now: the time that counts; default the clock's.
    """
    renewed = 0
    for environment in Environment.objects.filter(state=EnvironmentState.READY).select_related("project"):
        if (Path(environment.path) / TLS_FILES[0]).exists():
            try:
                renewed += serving.certify(environment, now=now)
            except GaiaError:
                continue  # a launch tells; one that cannot be written must not keep the others from it
    return renewed


def overview(only: Environment | None = None) -> dict[str, Any]:
    """The authority, and the environments that have a certificate: `{authority, environments}`; makes nothing."""
    from environments.drivers.authority import authority_file, facts_of

    authority = facts_of(authority_file(settings.GAIA.home.ca))
    live = Environment.objects.filter(state__in=ENVIRONMENT_ACTIVE).prefetch_related("stages")
    live = live.filter(pk=only.pk) if only else live
    shown = []
    for environment in live:
        facts = facts_of(Path(environment.path) / TLS_FILES[0])
        names = [stage.name for stage in environment.stages.all() if stage.https]
        if facts or names:
            shown.append(
                {"environment": environment.directory, "stages": names, "certificate": facts and _plain(asdict(facts))}
            )
    return {"authority": authority and _plain(asdict(authority)), "environments": shown}


def authority_facts() -> dict[str, Any]:
    """What the local authority's certificate says; it is made when there is none yet."""
    from environments.drivers.authority import facts_of

    facts = facts_of(serving.make_authority())
    return _plain(asdict(facts)) if facts else {}


def trust_instructions() -> list[dict[str, Any]]:
    """How people have their system and their browsers trust the local authority, which is made when there is none."""
    facts = authority_facts()
    return trust.instructions(Path(facts["path"]), facts["subject"])


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    """As JSON has it."""
    return {
        **facts,
        "path": str(facts["path"]),
        "names": list(facts["names"]),
        "since": facts["since"].isoformat(),
        "until": facts["until"].isoformat(),
    }


def _environment_of(chosen: Sequence[Stage]) -> Environment:
    if len({stage.environment_id for stage in chosen}) != 1:
        raise InvalidInput("say which stages of one environment", meaning="Nothing was done.")
    return chosen[0].environment
