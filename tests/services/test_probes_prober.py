"""The prober over real rows and processes: who is asked, when, and what the supervisor hears of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.utils import timezone

from processes.actions.processes import record_exit, request_start
from processes.models import Process
from processes.states import ProcessState
from services.actions import running
from services.actions.definitions import register
from services.asking import Question, Target
from services.drivers.probes import bad, good
from services.models import Service
from services.probing import Prober
from services.spec import Probe, parse_spec
from services.states import ServiceState
from services.verdict import UNKNOWN, Health
from tests.processes.conftest import Until
from tests.services.asked import Said, health_of, periods, probe, process_of, up
from tests.services.servers import Servers, silence

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def servers() -> Iterator[Servers]:
    started = Servers()
    yield started
    started.close()


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
