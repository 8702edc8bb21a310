"""What is kept of the answers of probes, whatever happens to the database."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from processes.models import Node
from services import probing
from services.actions import health
from services.actions.health import Finding
from services.drivers.probes import bad, good
from services.models import ProbePeriod, Service
from services.overview import service_overview
from services.probing import Prober
from tests.processes.conftest import Until
from tests.services.asked import Said, health_of, periods, probe, up

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_row_begins_when_an_answer_turns(prober: Prober, said: Said, until: Until) -> None:
    service = up("api", probe(retries=1000))
    prober.turn()
    until(lambda: said.asked.get("api", 0) >= 5)
    for answer in (good("well"), bad("ill")):
        said.answers["api"] = answer
        until(lambda answer=answer: periods(service)[-1:] == [(answer.answer, answer.ok)])
    assert periods(service) == [("nothing was said", False), ("well", True), ("ill", False)]
    until(lambda: service.probe_periods.latest("id").checks > 3)
    checks = sum(service.probe_periods.values_list("checks", flat=True))
    assert checks <= said.asked["api"], "no answer counts twice"


def test_before_the_first_good_answer_a_start_is_coming_up_for_as_long_as_it_may(
    prober: Prober, said: Said, until: Until
) -> None:
    def kept(service: Service) -> list[tuple[bool, bool]]:
        return list(service.probe_periods.order_by("id").values_list("ok", "coming_up"))

    service, late = up("api", probe(retries=1000)), up("late", probe(retries=2))
    prober.turn()
    until(lambda: kept(service) == [(False, True)])
    assert service_overview(service)["probes"][0]["coming_up"] is True
    said.answers["api"] = good("well")
    until(lambda: kept(service) == [(False, True), (True, False)])
    said.answers["api"] = bad("ill")
    until(lambda: kept(service) == [(False, True), (True, False), (False, False)])
    until(lambda: kept(late) == [(False, True), (False, False)])
    assert service_overview(late)["probes"][0]["coming_up"] is False


def test_a_database_that_does_not_answer_loses_nothing(
    prober: Prober, said: Said, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def away(findings: list[Finding]) -> None:
        tried.append(len(findings))
        raise OperationalError("database is locked")

    monkeypatch.setattr(probing, "record", away)
    service = up("api", probe(retries=1000))
    prober.turn()
    until(lambda: tried)
    said.answers["api"] = good("well")
    until(lambda: health_of(prober, service).ready)
    assert periods(service) == []
    monkeypatch.setattr(probing, "record", health.record)
    until(lambda: [ok for _, ok in periods(service)] == [False, True])


def test_a_defect_in_writing_down_is_seen(
    prober: Prober, until: Until, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(findings: list[Finding]) -> None:
        raise ValueError("half a character")

    monkeypatch.setattr(probing, "record", broken)
    service = up("api", probe(retries=1000))
    prober.turn()
    until(lambda: "half a character" in caplog.text)
    monkeypatch.setattr(probing, "record", health.record)
    until(lambda: periods(service) == [("nothing was said", False)])


def test_findings_become_periods(node: Node) -> None:
    service, now = up("api", probe()), timezone.now()

    def finding(ok: bool, checks: int, **more: Any) -> Finding:
        given = {"service_id": service.pk, "probe": "readiness", "purpose": "readiness", "since": now, "until": now}
        return Finding(**{**given, "ok": ok, "checks": checks, **more})

    health.record([finding(False, 3), finding(True, 2, facts={"tools": 2}), finding(True, 4, answer="x")])
    health.record([finding(True, 5), finding(False, 1), finding(True, 1, service_id=service.pk + 1000)])
    rows = ProbePeriod.objects.order_by("id")
    assert list(rows.values_list("ok", "checks")) == [(False, 3), (True, 11), (False, 1)]
    assert rows[1].facts == {"tools": 2}, "what is not learned anew is kept"


def test_between_turns_nothing_is_written_for_each_answer(
    prober: Prober, said: Said, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "_WRITE_EVERY_S", 600.0)
    written: list[int] = []
    monkeypatch.setattr(probing, "record", lambda findings: written.append(sum(each.checks for each in findings)))
    said.answers["api"] = good("well")
    service = up("api", probe(interval=0.05))
    prober.turn()
    until(lambda: said.asked.get("api", 0) > 50)
    assert len(written) == 1, "the first one"
    said.answers["api"] = bad("ill")
    until(lambda: health_of(prober, service).ready is False)
    until(lambda: len(written) == 2)
    assert written[1] > 30, "those in between, and the one that turned"


def test_closing_leaves_no_thread(make_prober: Callable[..., Prober], said: Said, until: Until) -> None:
    before = set(threading.enumerate())
    prober = make_prober()
    up("api", probe())
    prober.turn()
    until(lambda: said.asked.get("api"))
    prober.close()
    until(lambda: not [each for each in set(threading.enumerate()) - before if each.name.startswith("probe")])
