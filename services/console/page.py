"""What the template parts of a service need, wherever they are shown: on its own page and on a stage's."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from events.models import Event
from processes.limits import WORDS, figure
from services import history, overview
from services.console.pictures import Strip, strips
from services.models import Service

SPANS = (("1h", "1 h"), ("24h", "24 h"), ("7d", "7 d"))
"""How far back charts go: what the address says, and the button."""

_EVENTS = 20
_STRIP = timedelta(hours=24)
_KEEPERS = {
    "cgroup": "the kernel: cgroup",
    "rlimit": "the kernel: rlimit",
    "sampling": "GAIA, which looks and ends it",
    "renice": "GAIA, which looks and lowers its priority",
    "clock": "GAIA, by the clock",
    "log": "GAIA, which watches its log",
}
_MEGABYTE = 1 << 20


def parts_of(service: Service) -> dict[str, Any]:
    """The context of `templates/services/parts/`; callables are evaluated only where a part uses them.

    Returns: service, one (its overview), death, limits, shown_limits, spans, and, lazily, strips and events.
    """
    one = overview.service_overview(service)
    return {
        "service": service,
        "one": one,
        "death": death_of(service),
        "limits": chart_limits(one),
        "shown_limits": [_shown_limit(each) for each in one["limits"]],
        "spans": SPANS,
        "strips": lambda: _strips(service),
        "events": lambda: own_events(service)[:_EVENTS],
    }


def own_events(service: Service) -> QuerySet[Event]:
    """What happened to it, newest first, without what its processes tell of the same once more."""
    return history.events_of(service).exclude(kind__startswith="process.")


def _strips(service: Service) -> dict[str, Strip]:
    now = timezone.now()
    return strips(history.health_history(service), begin=now - _STRIP, end=now)


def death_of(service: Service) -> dict[str, Any] | None:
    """Its last death for people: `{text, at, lines}`; None when it never died."""
    death = service.last_death
    if not death.get("text"):
        return None
    return {"text": _cause(death), "at": death.get("at"), "lines": "\n".join(death.get("lines") or [])}


def _cause(death: dict[str, Any]) -> str:
    return f"{death['text']}; {death['probe']}" if death.get("probe") else str(death["text"])


def chart_limits(one: dict[str, Any]) -> dict[str, float]:
    """Limits as charts draw them: `cpu` in percent, `memory` in bytes."""
    found = {each["name"]: each["limit"] for each in one["limits"]}
    memory, cpu = found.get("memory_mb"), found.get("cpu_percent")
    return {**({"memory": memory * _MEGABYTE} if memory else {}), **({"cpu": cpu} if cpu else {})}


def _shown_limit(limit: dict[str, Any]) -> dict[str, Any]:
    name, most, used = limit["name"], limit["limit"], limit["used"]
    share = used / most if used is not None and most else None
    return {
        **limit,
        "title": WORDS[name][:1].upper() + WORDS[name][1:],
        "limit_text": figure(name, most),
        "used_text": figure(name, used) if used is not None else "",
        "kept_by": _KEEPERS.get(limit["kept_by"], limit["kept_by"] or "nothing yet: it does not run"),
        "share": share,
        "width": round(min(1.0, share or 0.0) * 100, 1),
    }
