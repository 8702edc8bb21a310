"""How services are, and how they were."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from processes.actions.processes import request_start
from processes.models import Process, Sample
from services import history
from services.models import ProbePeriod, Service
from services.overview import service_overview
from tests.services.house import fresh

Register = Callable[..., Service]
FIELDS = {
    "outdated",
    "id", "name", "title", "kind", "owner", "state", "since", "problem", "desired", "pid", "port", "restarts",
    "failures", "next_start_at", "last_death", "uptime_s", "cpu", "memory", "probes", "limits", "depends_on",
    "dependents",
}  # fmt: skip
PROBES = [{"type": "tcp", "endpoint": "1", "purpose": "readiness", "name": "web"}]


def running(service: Service, *, seconds: float = 100, **fields: Any) -> Process:
    """A row of a process that runs for so long."""
    row = request_start(service.node, service.owner, ["true"], cwd=Path("/"), limits=service.limits)
    began = timezone.now() - timedelta(seconds=seconds)
    Process.objects.filter(pk=row.pk).update(state="running", pid=4711, started_at=began, **fields)
    Service.objects.filter(pk=service.pk).update(state="running", desired="up")
    return Process.objects.get(pk=row.pk)


def sample(service: Service, ago: float, *, seconds: int = 10, **fields: Any) -> Sample:
    at = timezone.now() - timedelta(seconds=ago)
    used = {"cpu": 12.34, "cpu_most": 20.0, "memory": 1 << 20, "memory_most": 2 << 20, "processes": 1}
    return Sample.objects.create(node=service.node, owner=service.owner, seconds=seconds, at=at, **used | fields)


def test_one_that_never_ran(registered: Register) -> None:
    found = service_overview(registered("api", title="The API"))
    assert set(found) == FIELDS
    assert (found["name"], found["title"], found["state"], found["desired"]) == ("api", "The API", "stopped", "down")
    for name in ("pid", "port", "uptime_s", "cpu", "memory", "last_death", "next_start_at"):
        assert found[name] is None
    assert (found["restarts"], found["failures"], found["probes"], found["limits"]) == (0, 0, [], [])


def test_one_that_was_started_has_not_died(registered: Register) -> None:
    assert service_overview(registered("api", start=True))["last_death"] is None


def test_one_that_runs(registered: Register) -> None:
    service = registered("api", probes=PROBES, limits={"memory": 2, "cpu": 50, "run_time": "1h", "open_files": 64})
    process = running(service)
    sample(service, 30, cpu=99.0)
    sample(service, 5)
    ProbePeriod.objects.create(service=service, probe="web", purpose="readiness", ok=True, answer="200", took_ms=1.26)

    found = service_overview(fresh(service))
    assert (found["state"], found["pid"], found["cpu"], found["memory"]) == ("running", 4711, 12.3, 1 << 20)
    assert 100 <= found["uptime_s"] < 1000
    (probe,) = found["probes"]
    assert (probe["name"], probe["purpose"], probe["kind"]) == ("web", "readiness", "tcp")
    assert (probe["ok"], probe["answer"], probe["took_ms"]) == (True, "200", 1.3)
    limits = {each["name"]: each for each in found["limits"]}
    assert (limits["memory_mb"]["limit"], limits["memory_mb"]["used"], limits["memory_mb"]["warning"]) == (2, 2.0, True)
    assert (limits["cpu_percent"]["used"], limits["cpu_percent"]["warning"]) == (12.3, False)
    assert limits["run_time_s"]["used"] == found["uptime_s"]
    assert limits["open_files"]["used"] is None
    assert all(each["kept_by"] for each in found["limits"])
    assert process.active


def test_what_a_probe_said_of_an_earlier_start_says_nothing_of_this_one(registered: Register) -> None:
    service = registered("api", probes=PROBES)
    old = timezone.now() - timedelta(hours=1)
    ProbePeriod.objects.create(service=service, probe="web", purpose="readiness", ok=False, since=old, checked_at=old)
    running(service)
    (probe,) = service_overview(fresh(service))["probes"]
    assert (probe["ok"], probe["checked_at"]) == (None, None)


def test_silence_is_measured_by_the_log(registered: Register, tmp_path: Path) -> None:
    service = registered("api", limits={"quiet": "1h"})
    running(service, log=str(tmp_path / "none.log"))
    (limit,) = service_overview(fresh(service))["limits"]
    assert limit["used"] == service_overview(fresh(service))["uptime_s"] or limit["used"] >= 100

    (tmp_path / "none.log").write_text("hello")
    (limit,) = service_overview(fresh(service))["limits"]
    assert limit["used"] < 100


def test_figures_over_time(registered: Register) -> None:
    service, other = registered("api"), registered("other")
    for ago in (7300, 50, 40, 30):
        sample(service, ago)
    for ago in (90_000, 7200, 3600):
        sample(service, ago, seconds=60)
    sample(other, 10)

    hour = history.metrics(service, 3600)
    assert (hour["seconds"], len(hour["points"])) == (10, 3)
    begin, cpu, most, memory, memory_most = hour["points"][0]
    assert (cpu, most, memory, memory_most) == (12.34, 20.0, 1 << 20, 2 << 20)
    assert [point[0] for point in hour["points"]] == sorted(point[0] for point in hour["points"])
    assert begin < timezone.now().timestamp()
    day = history.metrics(service, 86_400)
    assert (day["seconds"], len(day["points"])) == (60, 2)
    assert history.metrics(registered("never"), 3600) == {"seconds": 10, "points": []}


def test_health_over_time_is_kept_for_a_month(registered: Register) -> None:
    service = registered("api", probes=PROBES)
    now = timezone.now()

    def period(days: float, ok: bool, probe: str = "web") -> None:
        at = now - timedelta(days=days)
        ProbePeriod.objects.create(service=service, probe=probe, purpose="readiness", ok=ok, since=at, checked_at=at)

    period(40, True, "gone")  # the last word of a probe that is no more
    for days, ok in ((60, True), (31, False), (29, True), (1, False)):
        period(days, ok)
    assert [each["ok"] for each in history.health_history(service)] == [False, True, False, True, True]

    assert history.forget_old() == 2
    assert [each["ok"] for each in history.health_history(service)] == [False, True, True]
    assert history.forget_old() == 0


def test_what_happened_is_the_newest_first(registered: Register) -> None:
    service = registered("api", start=True)
    found = [event.kind for event in history.events_of(service)]
    assert found[-1] == "service.registered"
    assert set(found) == {"process.requested", "service.start_requested", "service.registered"}


@pytest.mark.parametrize(
    ("fields", "failing"),
    [
        ({"state": "failed"}, True),
        ({"state": "crash_loop"}, True),
        ({"state": "starting", "alarmed_at": "2026-01-01T00:00Z"}, True),  # a trial
        ({"state": "backoff", "alarmed_at": "2026-01-01T00:00Z"}, True),
        ({"state": "running", "alarmed_at": "2026-01-01T00:00Z"}, False),
        ({"state": "starting"}, False),
        ({"state": "backoff"}, False),
        ({"state": "stopped"}, False),
    ],
)
def test_who_needs_somebody(fields: dict[str, Any], failing: bool, registered: Register) -> None:
    service = registered("api")
    Service.objects.filter(pk=service.pk).update(**fields)
    assert Service.objects.failing().exists() is failing
