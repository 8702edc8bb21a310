"""The prober over real rows and processes: what is asked, what is kept, what is told to the supervisor."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from processes.actions.processes import record_exit, request_start
from processes.models import Node, Process
from processes.states import ProcessState
from services import probing
from services.actions import health, running
from services.actions.definitions import redefine, register
from services.actions.health import Finding
from services.asking import KINDS, Question, Target
from services.drivers.probes import Result, bad, good
from services.models import ProbePeriod, Service
from services.probing import Prober
from services.spec import Probe, parse_spec
from services.states import ServiceState
from services.verdict import UNKNOWN, Health
from tests.processes.conftest import Until
from tests.services.servers import Servers, ok, silence

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def servers() -> Iterator[Servers]:
    started = Servers()
    yield started
    started.close()


class Said:
    """A kind of probe whose answers are the test's: by name of the service."""

    def __init__(self) -> None:
        self.answers: dict[str, Result] = {}
        self.asked: dict[str, int] = {}
        self.targets: list[Target] = []

    def kind(self, target: Target, probe: Probe) -> Question:
        self.targets.append(target)

        async def ask() -> Result:
            self.asked[target.name] = self.asked.get(target.name, 0) + 1
            return self.answers.get(target.name, bad("nothing was said"))

        return ask


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def make_prober(node: Node, said: Said, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Prober]]:
    """Probers that ask soon, and are closed at the end."""
    monkeypatch.setattr(probing, "_WRITE_EVERY_S", 0.05)
    made: list[Prober] = []

    def make(**options: Any) -> Prober:
        kinds = {**KINDS, "tcp": said.kind}
        made.append(Prober(node, **{"kinds": kinds, "uniform": lambda low, _high: low, **options}))
        return made[-1]

    yield make
    for prober in made:
        prober.close()


@pytest.fixture
def prober(make_prober: Callable[..., Prober]) -> Prober:
    return make_prober()


def probe(purpose: str = "readiness", kind: str = "tcp", **fields: Any) -> dict[str, Any]:
    """By default one whose answers are the test's."""
    asked = {"endpoint": "said:1"} if kind == "tcp" else {}
    return {"type": kind, "purpose": purpose, "interval": 0.05, "retries": 1, **asked, **fields}


def up(name: str, *probes: dict[str, Any], state: str = ServiceState.STARTING, **fields: Any) -> Service:
    """A registered service whose process is said to run; nothing is started."""
    given = {"name": name, "command": ["sleep", "600"], "cwd": "/", "probes": list(probes)} | fields
    service = running.start(register(parse_spec(given)))
    Process.objects.filter(owner=service.owner).update(state=ProcessState.RUNNING, started_at=timezone.now())
    Service.objects.filter(pk=service.pk).update(state=state)
    service.refresh_from_db()
    return service


def process_of(service: Service) -> Process:
    return Process.objects.filter(owner=service.owner).order_by("-id")[0]


def health_of(prober: Prober, service: Service) -> Health:
    return prober.health(service.pk, process_of(service).pk)


def periods(service: Service) -> list[tuple[str, bool]]:
    return list(service.probe_periods.order_by("id").values_list("answer", "ok"))


# -- what is asked


def test_what_runs_is_asked_and_the_supervisor_hears_of_it(prober: Prober, said: Said, until: Until) -> None:
    service = up("api", probe(), probe("liveness", retries=1000))
    assert health_of(prober, service) == UNKNOWN
    prober.turn()
    until(lambda: health_of(prober, service).probe == "readiness")
    said.answers["api"] = good("well", since="Monday")
    until(lambda: health_of(prober, service) == Health(startup=True, ready=True, live=True))
    until(lambda: periods(service)[-1:] == [("well", True)])
    row = service.probe_periods.filter(probe="liveness").latest("id")
    assert (row.purpose, row.facts) == ("liveness", {"since": "Monday"})


def test_what_does_not_run_is_not_asked(prober: Prober, said: Said, until: Until) -> None:
    said.answers = {name: good("well") for name in ("stopped", "ending", "backoff", "plain", "api")}
    Service.objects.filter(pk=up("backoff", probe()).pk).update(state=ServiceState.BACKOFF)
    ending = up("ending", probe())
    Process.objects.filter(owner=ending.owner).update(stop_requested_at=timezone.now())
    running.stop(up("stopped", probe()))
    up("plain")
    asked = up("api", probe())
    prober.turn()
    until(lambda: health_of(prober, asked).ready)
    assert said.asked.keys() == {"api"}


def test_one_that_has_ended_is_let_go_and_its_next_start_is_new(prober: Prober, said: Said, until: Until) -> None:
    said.answers["api"] = good("well")
    service = up("api", probe())
    prober.turn()
    until(lambda: health_of(prober, service).ready)
    first = process_of(service)
    record_exit(first, 1, "wait")
    prober.turn()
    until(lambda: prober.health(service.pk, first.pk) == UNKNOWN)
    count = said.asked["api"]
    said.answers["api"] = bad("not yet")
    request_start(service.node, service.owner, service.argv, cwd=Path("/"))
    Process.objects.filter(pk=process_of(service).pk).update(state=ProcessState.RUNNING)
    prober.turn()
    until(lambda: said.asked["api"] > count)
    until(lambda: health_of(prober, service).answer == "not yet")
    assert health_of(prober, service).ready is not True, "what was said of the first start is not said of this one"


def test_a_new_definition_is_asked_at_once(prober: Prober, said: Said, until: Until, servers: Servers) -> None:
    service = up("api", probe())
    prober.turn()
    until(lambda: said.asked.get("api"))
    port = servers.answer(ok())
    wanted = {"name": "api", "command": ["sleep", "600"], "cwd": "/",
              "probes": [probe(kind="http", endpoint=f"http://127.0.0.1:{port}/")]}  # fmt: skip
    redefine(service, parse_spec(wanted))
    prober.turn()
    until(lambda: health_of(prober, service).ready)
    until(lambda: periods(service)[-1] == ("HTTP 200 OK", True))


def test_without_anything_left_to_ask_it_is_ready(prober: Prober, said: Said, until: Until) -> None:
    """Its start-up is over, and what it was not ready by was taken out of its definition."""
    service = up("api", probe(), state=ServiceState.UNREADY)
    prober.turn()
    until(lambda: health_of(prober, service).ready is False)
    wanted = {"name": "api", "command": ["sleep", "600"], "cwd": "/", "probes": [probe("startup")]}
    redefine(service, parse_spec(wanted))
    prober.turn()
    until(lambda: health_of(prober, service) == Health(startup=True, ready=True, live=True))


def test_what_runs_is_asked_at_the_port_it_was_started_with(
    prober: Prober, said: Said, until: Until, free_port: int
) -> None:
    own = {**probe(), "endpoint": ""}
    service = up("api", own, port=free_port)
    prober.turn()
    until(lambda: said.targets)
    with socket.create_server(("127.0.0.1", 0)) as other:
        another = other.getsockname()[1]
    wanted = {"name": "api", "command": ["sleep", "600"], "cwd": "/", "port": another, "probes": [own]}
    assert redefine(service, parse_spec(wanted)).port == another
    prober.turn()
    until(lambda: len(said.targets) > 1)
    assert [(each.port, each.env["PORT"]) for each in said.targets] == [(free_port, str(free_port))] * 2


def test_one_that_cannot_be_asked_is_tried_again(
    prober: Prober, said: Said, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    said.answers = {"api": good("well"), "other": good("well")}
    service, other = up("api", probe()), up("other", probe())
    wanted = service.probes
    Service.objects.filter(pk=service.pk).update(probes=[{"kind": "of another time"}])
    for _ in range(3):
        prober.turn()
    until(lambda: health_of(prober, other).ready)
    assert caplog.text.count("service api cannot be asked how it is") == 1
    Service.objects.filter(pk=service.pk).update(probes=wanted)
    prober.turn()
    until(lambda: health_of(prober, service).ready)
    assert [each.name for each in said.targets] == ["other", "api"]


def test_start_up_comes_before_everything_else(prober: Prober, said: Said, until: Until, tmp_path: Path) -> None:
    service = up("api", probe("startup"), probe(kind="exec", command=["touch", "asked"]), cwd=str(tmp_path))
    prober.turn()
    until(lambda: said.asked.get("api", 0) > 2)
    assert health_of(prober, service).startup is not True
    assert not (tmp_path / "asked").exists()
    said.answers["api"] = good("up")
    until(lambda: health_of(prober, service) == Health(startup=True, ready=True, live=True))
    assert (tmp_path / "asked").exists()
    count = said.asked["api"]
    until(lambda: service.probe_periods.filter(probe="readiness", checks__gt=2).exists())
    assert said.asked["api"] == count, "starting up happens once"


def test_who_never_starts_up_is_to_be_restarted(prober: Prober, until: Until) -> None:
    service = up("api", probe("startup", retries=2))
    prober.turn()
    until(lambda: health_of(prober, service).live is False)
    assert health_of(prober, service).startup is False


def test_two_probes_with_one_question_ask_it_once(prober: Prober, said: Said, until: Until) -> None:
    said.answers["api"] = good("well")
    service = up("api", probe(interval=600), probe("liveness", interval=600, retries=3))
    prober.turn()
    until(lambda: health_of(prober, service).live)
    assert said.asked["api"] == 1


def test_adopted_by_another_daemon_it_stays_as_it_is_until_it_is_asked(
    make_prober: Callable[..., Prober], said: Said, until: Until, tmp_path: Path
) -> None:
    """A service that was ready begins with nothing to prove; a line of its log is not looked for again."""
    gone = tmp_path / "rotated away"
    line = probe(kind="log", pattern="ready", name="line")
    service = up("api", line, probe(retries=3), state=ServiceState.RUNNING)
    Process.objects.filter(owner=service.owner).update(log=str(gone))
    prober = make_prober()
    prober.turn()
    until(lambda: said.asked.get("api"))
    assert health_of(prober, service).ready is not True
    said.answers["api"] = good("well")
    until(lambda: health_of(prober, service).ready)
    assert {answer for answer, _ in periods(service)} <= {"nothing was said", "well"}


def test_the_line_of_a_log(prober: Prober, until: Until, tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    log.write_text("ready\n")
    service = up("api", probe(kind="log", pattern="ready", interval=600))
    offset = log.stat().st_size
    Process.objects.filter(owner=service.owner).update(log=str(log), log_offset=offset)
    prober.turn()
    until(lambda: health_of(prober, service).answer == "no line has 'ready' yet")
    with log.open("a") as file:
        file.write("now ready\n")
    until(lambda: health_of(prober, service).ready)
    until(lambda: periods(service)[-1] == ("now ready", True))


def test_a_secret_in_an_answer_is_masked(prober: Prober, until: Until) -> None:
    shown = probe(kind="exec", command=["/bin/sh", "-c", "echo $TOKEN $PLACE $PORT"])
    service = up("api", shown, secrets={"TOKEN": "swordfish"}, env={"PLACE": "here"})
    prober.turn()
    until(lambda: health_of(prober, service).ready)
    until(lambda: periods(service) == [("*** here", True)])


def test_what_cannot_be_asked_says_so_and_does_not_hold_up_the_rest(
    make_prober: Callable[..., Prober], said: Said, until: Until
) -> None:
    broken, well = up("broken", probe(kind="exec", command=["true"])), up("api", probe())
    said.answers["api"] = good("well")

    def refuse(target: Target, probe: Probe) -> Question:
        raise ValueError("nobody knows how")

    prober = make_prober(kinds={"tcp": said.kind, "exec": refuse})
    prober.turn()
    until(lambda: health_of(prober, well).ready)
    until(lambda: "it cannot be asked: ValueError: nobody knows how" in health_of(prober, broken).answer)


def test_twenty_that_hang_do_not_hold_up_the_one_that_answers(
    prober: Prober, until: Until, servers: Servers, said: Said
) -> None:
    hanging = servers.listen(silence)
    hung = [up(f"hung{number}", probe(kind="http", endpoint=f"http://127.0.0.1:{hanging}/", timeout=60))
            for number in range(20)]  # fmt: skip
    well = up("well", probe())
    said.answers["well"] = good("well")
    threads = threading.active_count()
    prober.turn()
    until(lambda: health_of(prober, well).ready)
    assert all(health_of(prober, each) == UNKNOWN for each in hung)
    assert threading.active_count() <= threads + 2, "a loop and a writer, not a thread for each"


def test_a_server_over_stdio_is_asked_without_a_process(
    make_prober: Callable[..., Prober], said: Said, until: Until
) -> None:
    """What is asked is in `test_mcp_servers`; here only that it is."""
    wanted = {"name": "pipe", "kind": "mcp", "command": ["server"], "cwd": "/", "mcp": {"transport": "stdio"}}
    service = running.start(register(parse_spec(wanted)))
    assert not Process.objects.filter(owner=service.owner).exists()
    said.answers["pipe"] = good("well")
    prober = make_prober(kinds={"mcp": said.kind})
    prober.turn()
    until(lambda: prober.health(service.pk, 0).ready)
    running.stop(service)
    prober.turn()
    until(lambda: prober.health(service.pk, 0) == UNKNOWN)


# -- what is kept


def test_a_row_begins_when_an_answer_turns(prober: Prober, said: Said, until: Until) -> None:
    service = up("api", probe())
    prober.turn()
    until(lambda: said.asked.get("api", 0) >= 5)
    for answer in (good("well"), bad("ill")):
        said.answers["api"] = answer
        until(lambda answer=answer: periods(service)[-1:] == [(answer.answer, answer.ok)])
    assert periods(service) == [("nothing was said", False), ("well", True), ("ill", False)]
    until(lambda: service.probe_periods.latest("id").checks > 3)
    checks = sum(service.probe_periods.values_list("checks", flat=True))
    assert checks <= said.asked["api"], "no answer counts twice"


def test_a_database_that_does_not_answer_loses_nothing(
    prober: Prober, said: Said, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def away(findings: list[Finding]) -> None:
        tried.append(len(findings))
        raise OperationalError("database is locked")

    monkeypatch.setattr(probing, "record", away)
    service = up("api", probe())
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
    service = up("api", probe())
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
