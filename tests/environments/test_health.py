"""How health is written down: periods, events, what may pass, checks that hang or fail, what is forgotten."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from environments import jobs
from environments.actions import health, health_record
from environments.drivers.side_by_side import HungError, Look, side_by_side
from environments.findings import Finding, not_known, size_told, well, worst
from environments.health_overview import describe, health_of, health_of_all, history, overall
from environments.models import Backup, Environment, Health, Stage
from environments.states import STAGE_PORT_OFFSETS, BackupState, Verdict
from events.models import Event
from gaia_site.schedules import SCHEDULES, ensure_schedules
from projects.models import Project
from tests.environments.places import Place

SILENT = Finding("stages", Verdict.FAILED, "dev is silent", "It hangs.", "restart", "silent", "dev", passing=True)
DAMAGED = Finding("databases", Verdict.FAILED, "qa is damaged", "It is.", "repair", "damaged", "qa")
BEHIND = Finding("git", Verdict.WARNING, "60 behind", "It is.", "sync", "behind")
WELL = well("directory", "it is there")


def rows(count: int) -> list[Environment]:
    """Environments that are on record only; their checkouts are not there."""
    project = Project.objects.create(name="crowd", source="/nowhere", root="/nowhere")
    made = [
        Environment.objects.create(
            project=project, name=f"dev{number}", number=number, path=f"/nowhere/crowd-dev{number}", branch="b",
            state="ready",
        )
        for number in range(1, count + 1)
    ]  # fmt: skip
    for environment in made:
        for name, offset in STAGE_PORT_OFFSETS.items():
            Stage.objects.create(
                environment=environment,
                name=name,
                port=40_000 + offset + environment.number,
                database=f"data/{name}.db",
            )
    return made


@pytest.fixture
def one(db: None, acting: str) -> Environment:
    return rows(1)[0]


def record(environment: Environment, *found: Finding, confirmations: int = 1, after: float = 0.0) -> Health:
    """What is on record when these were found, so many seconds from now."""
    at = timezone.now() + datetime.timedelta(seconds=after)
    [row] = health_record.record([environment], {environment.pk: found}, confirmations=confirmations, looked_at=at)
    return row


def told() -> list[str]:
    return [event.message for event in Event.objects.filter(kind="environment.health").order_by("id")]


# -- periods and events


def test_a_period_lasts_while_verdict_and_faults_are_the_same(one: Environment) -> None:
    first = record(one, WELL)
    later = record(one, WELL, after=60)
    assert (later.pk, later.since, later.checked_at > first.since) == (first.pk, first.since, True)
    record(one, WELL, BEHIND, after=120)
    more = Finding("git", Verdict.WARNING, "61 behind", "It is.", "sync", "behind")
    grown = record(one, WELL, more, after=180)
    assert [each["what"] for each in grown.findings if each["verdict"] != "ok"] == ["61 behind"]
    record(one, DAMAGED, BEHIND, after=240)
    record(one, WELL, after=300)
    assert told() == [
        "crowd-dev1 is healthy",
        "crowd-dev1 needs attention: 60 behind",  # and not again for one more commit
        "crowd-dev1 is unhealthy: qa is damaged (and 1 more)",
        "crowd-dev1 is healthy again",
    ]
    event = Event.objects.filter(kind="environment.health", level="error").get()
    assert (event.subject, event.data["verdict"], event.data["before"]) == (one.key, "failed", "warning")
    assert [each["key"] for each in event.data["findings"]] == ["databases.damaged/qa", "git.behind"]
    periods = list(history(one))
    assert [(row.verdict, row.until) for row in periods] == [
        ("ok", None), ("failed", periods[0].since), ("warning", periods[1].since), ("ok", periods[2].since),
    ]  # fmt: skip


def test_another_fault_of_the_same_verdict_is_a_new_period(one: Environment) -> None:
    record(one, DAMAGED)
    record(one, SILENT, after=60)
    assert told()[1] == "crowd-dev1 is unhealthy: dev is silent"


def test_whoever_looked_later_is_right(one: Environment) -> None:
    record(one, DAMAGED, after=60)
    kept = record(one, WELL)
    assert (kept.verdict, Health.objects.count(), len(told())) == ("failed", 1, 1)


# -- what may pass


def test_what_may_pass_counts_when_it_was_seen_often_enough(one: Environment) -> None:
    assert record(one, WELL, SILENT, confirmations=2).verdict == "ok"
    [note] = describe(one, Health.objects.get())["notes"]
    assert note["meaning"] == "Seen 1 of 2 times in a row; it counts when it is still so. It hangs."
    assert record(one, WELL, SILENT, confirmations=2, after=60).verdict == "failed"
    assert record(one, WELL, SILENT, confirmations=2, after=120).verdict == "failed", "and it stays so"
    assert record(one, WELL, confirmations=2, after=180).verdict == "ok", "getting better needs no proof"
    assert record(one, WELL, SILENT, confirmations=2, after=240).verdict == "ok", "it is counted anew"
    assert len(told()) == 3


def test_what_comes_and_goes_never_counts(one: Environment) -> None:
    for number in range(6):
        found = (WELL, SILENT) if number % 2 else (WELL,)
        assert record(one, *found, confirmations=2, after=60.0 * number).verdict == "ok"
    assert told() == ["crowd-dev1 is healthy"]


def test_what_does_not_pass_and_whoever_asks_now_need_no_confirmation(one: Environment) -> None:
    assert record(one, DAMAGED, confirmations=5).verdict == "failed"
    assert record(one, SILENT, confirmations=1, after=60).verdict == "failed"
    assert record(one, SILENT, confirmations=5, after=120).verdict == "failed", "it counted already"


# -- checks that hang or fail


def test_a_check_that_hangs_holds_up_nobody() -> None:
    release, ran = threading.Event(), []
    looks = [Look("hangs", release.wait), Look("fails", lambda: 1 / 0), Look("well", lambda: ran.append(1) or 7)]
    try:
        hung, failed, good = side_by_side(looks, workers=2, timeout=0.05, deadline=5)
        assert isinstance(hung, HungError)
        assert str(hung) == "did not finish within 0.05 s"
        assert isinstance(failed, ZeroDivisionError)
        assert good == 7
        [again] = side_by_side(looks[:1], workers=2, timeout=0.05, deadline=5)
        assert str(again) == "still hangs from an earlier look", "a second thread is not lost to it"
    finally:
        release.set()
    [freed] = side_by_side([Look("other", lambda: True)], workers=1, timeout=5, deadline=5)
    assert freed is True


def test_all_of_it_has_a_deadline() -> None:
    release = threading.Event()
    try:
        looks = [Look(("late", number), release.wait) for number in range(4)]
        results = side_by_side(looks, workers=1, timeout=60, deadline=0.05)
    finally:
        release.set()
    assert [type(result) for result in results] == [HungError] * 4
    assert "no time left" in str(results[3])


def breaks(environments: Sequence[Environment]) -> dict[int, list[Finding]]:
    """A check of an upper room that has a defect."""
    raise RuntimeError("it is broken")


def test_a_check_that_fails_is_not_known_with_the_reason(one: Environment, settings: Any) -> None:
    settings.GAIA_HEALTH_CHECKS = [f"{__name__}.breaks"]
    found = health.check_environment(one)
    [unknown] = [each for each in found if each.verdict == Verdict.UNKNOWN]
    assert unknown.what.endswith("the check itself failed: RuntimeError: it is broken")
    assert [each.fault for each in found if each.verdict == Verdict.FAILED] == ["missing"], "the others were looked at"


# -- overall


def test_the_overall_verdict_has_the_reason_in_one_sentence(db: None, acting: str) -> None:
    first, second, third = rows(3)
    assert overall([])["reason"] == "There is no environment yet"
    assert overall(health_of_all())["verdict"] == "unknown"
    for each in (first, second, third):
        record(each, WELL)
    assert overall(health_of_all())["reason"] == "All 3 environments are healthy"
    record(second, DAMAGED, after=1)
    record(third, BEHIND, after=1)
    whole = overall(health_of_all())
    assert (whole["verdict"], whole["counts"]) == ("failed", {"ok": 1, "unknown": 0, "warning": 1, "failed": 1})
    assert whole["reason"] == "crowd-dev2: qa is damaged; 1 environment more is not well"
    assert [one["environment"] for one in health_of_all()] == ["crowd-dev2", "crowd-dev3", "crowd-dev1"]


def test_what_nobody_looked_at_for_long_is_not_called_healthy(one: Environment) -> None:
    record(one, WELL)
    with time_machine.travel(timezone.now() + datetime.timedelta(hours=1)):
        [described] = health_of([one])
        assert (described["verdict"], described["stale"]) == ("unknown", True)
        assert described["reason"] == "it was not looked at for long"
    record(one, DAMAGED, after=60)
    with time_machine.travel(timezone.now() + datetime.timedelta(hours=1)):
        assert health_of([one])[0]["verdict"] == "failed", "a fault stays one until somebody looks"


def test_environments_that_are_worked_on_are_left_out(one: Environment) -> None:
    Environment.objects.update(state="creating")
    assert health.monitor() == []
    Environment.objects.update(state="removed")
    assert health.monitor() == []


def test_words() -> None:
    assert (worst([]), worst(["ok", "warning", "unknown"]), worst(["failed", "warning"])) == ("ok", "warning", "failed")
    assert [size_told(number) for number in (12, 4096, 13 * 1024, 5 * 1024**3)] == [
        "12 bytes",
        "4.0 KB",
        "13 KB",
        "5.0 GB",
    ]
    assert not_known("disk", "it hangs").what == "disk: it hangs"


# -- backups


def test_backups_that_are_missing_or_old(one: Environment) -> None:
    def faults() -> list[str]:
        found = health.check_environment(one)
        return [each.what for each in found if each.check == "backups" and each.verdict == Verdict.WARNING]

    assert faults() == [], "it is younger than a day"
    Environment.objects.update(created_at=timezone.now() - datetime.timedelta(days=3))
    one.refresh_from_db()
    assert faults() == ["crowd-dev1: the dev, qa, staging databases have no verified backup"]
    for stage in one.stages.all():
        Backup.objects.create(stage=stage, name=stage.name, reason="schedule", state=BackupState.VERIFIED, path="/x")
    assert faults() == []
    Backup.objects.filter(name="qa").update(created_at=timezone.now() - datetime.timedelta(days=2, hours=1))
    assert faults() == ["crowd-dev1: the qa database has no verified backup of the last 2 days"]
    Backup.objects.filter(name="dev").update(state=BackupState.FAILED)
    assert len(faults()) == 2


# -- jobs and schedules


@pytest.fixture
def moment() -> Iterator[datetime.datetime]:
    now = datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.UTC)
    with time_machine.travel(now, tick=True):
        yield now


def test_the_job_looks_and_counts_who_is_not_well(one: Environment) -> None:
    assert jobs.look_at_health() == 1
    event = Event.objects.get(kind="environment.health")
    assert (event.actor, event.level) == ("jobs:health", "error")
    assert jobs.look_at_health() == 1
    assert Event.objects.filter(kind="environment.health").count() == 1


def test_periods_that_are_over_for_long_are_forgotten(one: Environment, moment: datetime.datetime) -> None:
    record(one, WELL)
    record(one, DAMAGED, after=60)
    record(one, WELL, after=86_400)
    with time_machine.travel(moment + datetime.timedelta(days=90, hours=12)):
        assert jobs.forget_health() == 2
        assert jobs.forget_health() == 0
    with time_machine.travel(moment + datetime.timedelta(days=900)):
        assert jobs.forget_health() == 0, "the newest stays"
    assert Event.objects.get(kind="health.pruned").data == {"periods": 2}
    assert Health.objects.get().verdict == "ok"


def test_schedules(db: None, acting: str) -> None:
    from django_q.models import Schedule

    ensure_schedules()
    assert SCHEDULES["health"]["minutes"] == settings.GAIA["health.interval"]
    every = Schedule.objects.get(name="health")
    assert (every.func, every.schedule_type, every.minutes) == ("environments.jobs.look_at_health", "I", 5)


# -- what it costs


def test_a_look_costs_the_same_queries_at_any_size(db: None, acting: str) -> None:
    few = rows(30)[:2]
    assert queries(few) == queries(None) <= 15


def queries(chosen: list[Environment] | None) -> int:
    """Of a look that finds what the last one did."""
    health.monitor(chosen)
    with CaptureQueriesContext(connection) as captured:
        health.monitor(chosen)
    return len(captured)


# -- the API


def test_the_api(place: Place, client: Client) -> None:
    place.ready(1)
    path = "/api/environments/dev1/health"
    assert client.get(f"{path}/").json()["verdict"] == "ok", "set-up looks when it is done"
    Health.objects.all().delete()
    before = client.get(f"{path}/").json()
    assert (before["verdict"], before["checked_at"], before["reason"]) == ("unknown", None, "it was not looked at yet")
    checked = client.post(f"{path}/check/").json()
    assert (checked["verdict"], checked["environment"]) == ("ok", "shop-dev1")
    assert {each["check"] for each in checked["checks"]} == {
        "directory", "git", "hub", "stages", "ports", "layer", "databases", "disk", "sessions",
    }  # fmt: skip
    (place.path(1) / "stop.sh").unlink()
    checked = client.post(f"{path}/check/").json()
    assert (checked["verdict"], checked["fix"]) == ("failed", "gaia env setup --project shop")
    assert client.get(f"{path}/").json() == checked
    periods = client.get(f"{path}/history/").json()
    assert [each["verdict"] for each in periods] == ["failed", "ok"]
    assert [each["until"] for each in periods] == [None, periods[0]["since"]]
    assert len(client.get(f"{path}/history/?limit=1").json()) == 1
    assert client.get(f"{path}/history/?limit=0").status_code == 400
    whole = client.get("/api/multi-env/health").json()
    assert "stop.sh of shop-dev1 is missing" in whole["reasons"]
    assert (whole["overall"]["verdict"], whole["environments"][0]["environment"]) == ("failed", "shop-dev1")
    Environment.objects.update(state="creating")
    assert client.post(f"{path}/check/").status_code == 409


def test_a_look_leaves_nothing_behind(place: Place) -> None:
    place.ready(1)
    before = tree(place.path(1))
    health.monitor()
    assert tree(place.path(1)) == before


def tree(path: Path) -> dict[str, int]:
    """Every file with the time of its last change."""
    return {str(each): each.lstat().st_mtime_ns for each in path.rglob("*")}
