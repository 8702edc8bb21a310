"""Waiting for services, with what they do meanwhile on stderr; following a log."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from django.utils import timezone

from common.errors import Conflict, GaiaError, Unavailable
from gaia_site import platform
from gaia_site.cli.ground import say
from gaia_site.cli.service_pictures import word
from services.console.page import death_of
from services.logs import read_on
from services.models import Service
from services.states import SERVICE_NEEDS_SOMEBODY, ServiceState

_LOOK_S = 0.1
_LOG_LOOK_S = 0.3
_LAST_LINES = 5
_SETTLED_S = 0.7
_GOAL = {
    "up": (ServiceState.RUNNING, ServiceState.COMPLETED),
    "down": (ServiceState.STOPPED, ServiceState.COMPLETED, ServiceState.FAILED),
}


def wait(services: Sequence[Service], wanted: str, *, timeout: float) -> None:
    """Look at services until they are as they were asked to be. Ctrl-C stops the looking, nothing else.

    Args:
        wanted: up (ready, or completed) or down.
        timeout: seconds.

    Raises: Conflict when one of them does not stay up, Unavailable when it takes too long or the daemon has ended.
    """
    show, deadline = _Progress(), time.monotonic() + timeout
    try:
        while waiting := _waiting(services, wanted, show):
            if time.monotonic() > deadline:
                raise _too_late(waiting, wanted, timeout)
            if not platform.daemon_runs():
                raise Unavailable(
                    "GAIA's daemon has ended meanwhile",
                    meaning="What was asked for is written down and is done as soon as it runs again.",
                    fix="Start it: gaia up --detach.",
                )
            time.sleep(_LOOK_S)
    except KeyboardInterrupt:
        say("\nIt goes on without you: gaia service list")
        raise
    finally:
        show.end()


def _waiting(services: Sequence[Service], wanted: str, show: _Progress) -> list[Service]:
    """Those that are not there yet. Raises: Conflict for one that failed."""
    now = list(Service.objects.filter(pk__in=[each.pk for each in services]).order_by("name"))
    show(now, wanted)
    for service in now:
        if wanted == "up" and service.state in SERVICE_NEEDS_SOMEBODY:
            raise _did_not(service)
    return [service for service in now if not _is_there(service, wanted)]


def _is_there(service: Service, wanted: str) -> bool:
    """One without probes counts as running from its first moment: it has to last a little."""
    if service.state not in _GOAL[wanted]:
        return False
    unproved = service.state == ServiceState.RUNNING and not service.probes_asked
    return not unproved or (timezone.now() - service.state_since).total_seconds() >= _SETTLED_S


def _did_not(service: Service) -> GaiaError:
    death = death_of(service)
    lines = "\n".join((death or {}).get("lines", "").splitlines()[-_LAST_LINES:])
    return Conflict(
        f"{service.called} does not stay up: {service.problem or word(service.state)}",
        meaning=lines or "It wrote nothing.",
        fix=f"Read its log: gaia service logs {service.name}. Mend it, then: gaia service start {service.name}.",
        state=service.state,
    )


def _too_late(waiting: list[Service], wanted: str, timeout: float) -> GaiaError:
    first = waiting[0]
    others = f", and {len(waiting) - 1} more" if len(waiting) > 1 else ""
    goal = "ready" if wanted == "up" else "down"
    return Unavailable(
        f"{first.called} is not {goal} after {timeout:g} s{others}",
        meaning=f"It is {word(first.state)}" + (f": {first.problem}." if first.problem else "."),
        fix=f"It goes on. Look at it: gaia service show {first.name}; its log: gaia service logs {first.name}.",
        waiting=[each.name for each in waiting],
    )


class _Progress:
    """On a terminal a line that changes; elsewhere a line for each change."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._said: dict[str, str] = {}
        self._drawn = False

    def __call__(self, services: Sequence[Service], wanted: str) -> None:
        told = {service.name: _told(service) for service in services}
        if told == self._said:
            return
        if self._live:
            rest = [told[service.name] for service in services if not _is_there(service, wanted)]
            there = len(services) - len(rest)
            line = f"{there}/{len(services)}  {'; '.join(rest)}"
            sys.stderr.write(f"\r\x1b[2K{line[:100]}")
            sys.stderr.flush()
            self._drawn = True
        else:
            for name, text in told.items():
                if self._said.get(name) != text:
                    say(text)
        self._said = told

    def end(self) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


def _told(service: Service) -> str:
    return f"{service.name}: {word(service.state)}" + (f" ({service.problem})" if service.problem else "")


def follow_log(service: Service, read: dict[str, Any], *, as_json: bool) -> int:
    """Print a log as it grows until Ctrl-C; with --json an object per piece. Returns: the exit code."""
    try:
        while True:
            if read["text"]:
                sys.stdout.write(json.dumps(read) + "\n" if as_json else read["text"])
                sys.stdout.flush()
            else:
                time.sleep(_LOG_LOOK_S)
            read = read_on(service, read["next_offset"])
    except KeyboardInterrupt:
        return 0
