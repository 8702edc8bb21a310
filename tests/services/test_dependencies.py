"""What waits for what: rings, order, and gates that are asked at every start."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from django.utils import timezone

from common.errors import Conflict, GaiaError, NotFound
from processes.actions.processes import request_start
from processes.models import Process
from services.actions.definitions import redefine
from services.actions.running import restart_all, start, start_all, stop
from services.dependencies import Gates, check_acyclic, in_start_order
from services.models import Service
from services.spec import parse_spec
from services.verdict import Health
from tests.services.house import House, all_gone, fresh, kinds, process_of
from tests.waiting import until

Register = Callable[..., Service]
PROBES = [{"type": "tcp", "endpoint": "1", "purpose": "readiness"}]
READY = Health(startup=True, ready=True, live=True)
NOT_READY = Health(startup=True, ready=False, live=True)


@pytest.mark.parametrize(
    ("wanted", "ring"),
    [
        ({"a": ["a"]}, "a → a"),
        ({"a": ["b"], "b": ["a"]}, "a → b → a"),
        ({"a": ["b"], "b": ["c"], "c": ["d"], "d": ["b"]}, "b → c → d → b"),
    ],
)
def test_a_ring_is_printed_in_the_order_of_waiting(wanted: dict[str, Iterable[str]], ring: str) -> None:
    """
    a ──▶ b ──▶ c        each arrow: waits for
          ▲     │
          └─ d ◀┘
    """
    with pytest.raises(Conflict) as caught:
        check_acyclic(wanted)
    told = caught.value.detail["cycle"]
    assert told[0] == told[-1]
    assert all(later in wanted[one] for one, later in pairwise(told))
    assert sorted(set(told)) == sorted(set(ring.split(" → ")))
    assert " → ".join(told) in caught.value.what


def test_a_diamond_is_no_ring() -> None:
    """
          ┌─▶ b ─┐
    a ────┤      ├──▶ d
          └─▶ c ─┘
    """
    check_acyclic({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []})


def test_a_ring_is_refused_when_it_would_be_closed(registered: Register) -> None:
    one = registered("one")
    registered("two", depends_on=["one"])
    registered("three", depends_on=["two"])

    with pytest.raises(Conflict, match="wait for each other") as caught:
        redefine(one, parse_spec({"name": "one", "command": "true", "depends_on": ["three"]}))
    assert set(caught.value.detail["cycle"]) == {"one", "two", "three"}
    assert not fresh(one).dependencies.exists()
    assert kinds(one) == ["registered"]


def test_nobody_waits_for_what_is_not_there(registered: Register) -> None:
    with pytest.raises(NotFound, match="depends on db, cache, which are not registered"):
        registered("api", depends_on=["db", "cache"])
    assert not Service.objects.exists()


def test_order_of_starts(registered: Register) -> None:
    """
    d ◀── b ◀── a
    ▲           │
    └──── c ◀───┘
    """
    registered("d")
    registered("b", depends_on=["d"])
    registered("c", depends_on=["d"])
    registered("a", depends_on=["b", "c"])
    assert [each.name for each in in_start_order(Service.objects.all())] == ["d", "b", "c", "a"]
    assert [each.name for each in in_start_order(Service.objects.filter(name__in=["a", "c"]))] == ["c", "a"]


@pytest.mark.parametrize(
    ("condition", "state", "process", "met"),
    [
        ("healthy", "running", "running", True),
        ("healthy", "running", "exited", False),  # it has just died
        ("started", "unready", "exited", False),
        ("healthy", "unready", "running", False),
        ("healthy", "starting", "running", False),
        ("healthy", "stopping", "stopping", False),
        ("healthy", "completed", "exited", False),
        ("healthy", "backoff", "exited", False),
        ("started", "running", "running", True),
        ("started", "unready", "running", True),
        ("started", "starting", "running", True),
        ("started", "starting", "starting", False),
        ("started", "stopping", "stopping", False),
        ("started", "stopped", None, False),
        ("started", "crash_loop", "exited", False),
        ("completed", "completed", "exited", True),
        ("completed", "running", "running", False),
        ("completed", "failed", "exited", False),
        ("completed", "stopped", "exited", False),
    ],
)
def test_a_gate_is_open_while_its_condition_is_true(
    condition: str, state: str, process: str | None, met: bool, registered: Register
) -> None:
    on = registered("db")
    service = registered("api", depends_on=[{"name": "db", "condition": condition}])
    if process is not None:
        row = request_start(on.node, on.owner, ["true"], cwd=on.cwd)
        Process.objects.filter(pk=row.pk).update(state=process, ended_at=timezone.now())
    Service.objects.filter(pk=on.pk).update(state=state, desired="up")

    (gate,) = Gates().of(service)
    assert gate.met is met
    assert bool(Gates().closed(service)) is not met


def test_a_gate_on_a_line_of_the_log(registered: Register, tmp_path: Path) -> None:
    on = registered("db")
    service = registered("api", depends_on=[{"name": "db", "condition": "log_line", "pattern": r"ready on \d+"}])
    path = tmp_path / "db.log"
    path.write_text("ready on 1\n")  # of an earlier start
    row = request_start(on.node, on.owner, ["true"], cwd=on.cwd, log_file=path)
    Process.objects.filter(pk=row.pk).update(state="running", pid=1)
    gates = Gates()

    assert "to write a line like" in gates.closed(service)
    with path.open("a") as log:
        log.write("warming up\nready ")
    assert gates.closed(service)
    with path.open("a") as log:
        log.write("on 5432")
    assert not gates.closed(service)  # the end of the line has not come, what is wanted has
    assert not Gates().closed(service)

    Process.objects.filter(pk=row.pk).update(state="exited", ended_at=timezone.now())
    assert gates.closed(service)  # who wrote it is gone


def test_a_line_far_into_the_log_of_one_that_is_completed(registered: Register, tmp_path: Path) -> None:
    """A look reads 8 MB at most: the next one has to go on from there."""
    on = registered("db")
    service = registered("api", depends_on=[{"name": "db", "condition": "log_line", "pattern": "ready"}])
    path = tmp_path / "db.log"
    row = request_start(on.node, on.owner, ["true"], cwd=on.cwd, log_file=path)
    path.write_bytes((b"x" * 1023 + b"\n") * 9 * 1024 + b"ready\n")
    Process.objects.filter(pk=row.pk).update(state="exited", ended_at=timezone.now())
    Service.objects.filter(pk=on.pk).update(state="completed")
    gates = Gates()
    assert gates.closed(service)
    gates.forget(set())
    assert not gates.closed(service)
    gates.forget(set())
    gates.forget(set())
    assert not gates._lines


def test_the_daemon_reads_a_long_log_a_little_at_a_time(registered: Register, house: House, tmp_path: Path) -> None:
    """Everything else it does waits for the look."""
    on = registered("db")
    service = registered("api", depends_on=[{"name": "db", "condition": "log_line", "pattern": "ready"}])
    path = tmp_path / "db.log"
    row = request_start(on.node, on.owner, ["true"], cwd=on.cwd, log_file=path)
    Process.objects.filter(pk=row.pk).update(state="exited", ended_at=timezone.now())
    Service.objects.filter(pk=on.pk).update(state="completed")
    Service.objects.filter(pk=service.pk).update(state="held", desired="up")
    path.write_bytes((b"x" * 1023 + b"\n") * 700 + b"ready\n")
    read = []
    while fresh(service).state == "held":
        house.supervisor.tick()
        read.append(house.supervisor._gates._lines[row.pk, "ready"]._offset)
    assert read == [256 * 1024, 512 * 1024, 700 * 1024 + 6]


def test_many_gates_cost_as_many_queries_as_one(
    registered: Register, django_assert_num_queries: Callable[..., object]
) -> None:
    for number in range(10):
        registered(f"on{number}")
        registered(f"s{number}", depends_on=[{"name": f"on{number}", "condition": "log_line", "pattern": "x"}])
    services = list(Service.objects.all())
    with django_assert_num_queries(2):  # type: ignore[attr-defined]
        Gates().of_many(services)


# -- with real processes


@pytest.mark.usefixtures("leave_nothing")
def test_a_chain_of_five_starts_and_restarts_through_its_gates(house: House, registered: Register) -> None:
    """
    s0 ◀── s1 ◀── s2 ◀── s3 ◀── s4        s1 starts when s0 is ready, and so on
    """
    chain = [registered(f"s{n}", probes=PROBES, depends_on=[f"s{n - 1}"] if n else []) for n in range(5)]

    def states() -> list[str]:
        return [fresh(each).state for each in chain]

    def open_one_after_the_other() -> None:
        for place in range(5):
            house.tick()
            house.tick()
            assert states() == ["running"] * place + ["unready"] + ["held"] * (4 - place)
            house.health[f"s{place}"] = READY
            house.tick()
            house.tick()
        assert states() == ["running"] * 5

    house.health = dict.fromkeys((each.name for each in chain), NOT_READY)
    start_all(chain)
    assert states() == ["starting", *["held"] * 4]
    assert "s0 to be ready" in fresh(chain[1]).problem
    open_one_after_the_other()
    first = [process_of(each).pid for each in chain]

    restart_all(chain)
    house.health = dict.fromkeys((each.name for each in chain), NOT_READY)
    house.tick()
    open_one_after_the_other()
    assert not set(first) & {process_of(each).pid for each in chain}
    assert [fresh(each).failures for each in chain] == [0] * 5


@pytest.mark.usefixtures("leave_nothing")
def test_who_depends_on_what_died_goes_on_but_his_own_restart_waits(house: House, registered: Register) -> None:
    """
    db ◀── api        db dies and is not ready again; api runs on. Then api dies: it waits for db
    """
    house.health["db"] = READY
    db, api = registered("db", probes=PROBES), registered("api", depends_on=["db"])
    start_all([db, api])
    for _ in range(3):
        house.tick()
    assert [fresh(db).state, fresh(api).state] == ["running", "running"]
    before = process_of(api).pid

    house.health["db"] = NOT_READY
    house.end(db)
    house.tick()
    assert [fresh(db).state, fresh(api).state] == ["unready", "running"]
    assert process_of(api).pid == before

    house.end(api)
    assert fresh(api).state == "held"
    assert fresh(api).failures == 1
    assert kinds(api)[-2:] == ["died", "held"]
    house.health["db"] = READY
    house.tick()
    house.tick()
    house.tick()
    assert fresh(api).state == "running"


@pytest.mark.usefixtures("leave_nothing")
@pytest.mark.parametrize("first", ["db", "api"])
def test_when_both_die_at_the_same_time_one_waits_for_the_other(first: str, house: House, registered: Register) -> None:
    """
    db ◀── api        both are killed, and both ends are dealt with in one transaction
    """
    house.health["db"] = READY
    db, api = registered("db", probes=PROBES), registered("api", depends_on=["db"])
    start_all([db, api])
    for _ in range(3):
        house.tick()
    house.health["db"] = NOT_READY
    processes = [process_of(db), process_of(api)]
    for process in processes:
        os.killpg(house.watched[process.pk].pid, signal.SIGKILL)
        os.waitpid(house.watched[process.pk].pid, 0)
        until(partial(all_gone, house.watched[process.pk].pid))
    ends = [(process.pk, -9, "wait") for process in processes]
    house.reconciler.some_ended(ends if first == "db" else ends[::-1])

    assert [fresh(db).state, fresh(api).state] == ["unready", "held"]
    house.health["db"] = READY
    for _ in range(3):
        house.tick()
    assert [fresh(db).state, fresh(api).state] == ["running", "running"]
    assert [fresh(db).failures, fresh(api).failures] == [1, 1]


@pytest.mark.usefixtures("leave_nothing")
@pytest.mark.parametrize("together", [True, False])
def test_whose_end_cannot_be_written_yet_keeps_the_gate_closed(
    together: bool, house: House, registered: Register
) -> None:
    """
    db ◀── api        db's shim is killed, and what it has left running is still being ended when api dies
    """
    house.health["db"] = READY
    db, api = registered("db", probes=PROBES), registered("api", depends_on=["db"])
    start_all([db, api])
    for _ in range(3):
        house.tick()
    processes = [process_of(db), process_of(api)]
    shims = [house.watched[process.pk].pid for process in processes]
    os.kill(shims[0], signal.SIGKILL)
    os.killpg(shims[1], signal.SIGKILL)
    for shim in shims:
        os.waitpid(shim, 0)
    until(partial(all_gone, shims[1]))  # or it would be ended aside, too
    house.aside = []
    ends = [(process.pk, -9, "wait") for process in processes]
    for told in [ends[::-1]] if together else [[end] for end in ends]:
        house.reconciler.some_ended(told)
    house.tick()

    assert process_of(db).state == "running"  # as far as its row knows
    assert fresh(api).state == "held"
    house.health["db"] = NOT_READY
    house.do_aside()
    house.tick()
    assert [fresh(db).state, fresh(api).state] == ["unready", "held"]
    house.health["db"] = READY
    for _ in range(3):
        house.tick()
    assert [fresh(db).state, fresh(api).state] == ["running", "running"]
    assert [fresh(db).failures, fresh(api).failures] == [1, 1]


@pytest.mark.usefixtures("leave_nothing")
def test_who_died_while_no_daemon_ran_is_known_to_be_dead(house: House, registered: Register) -> None:
    """
    db ◀── api        both die without a daemon; the next one finds api first
    """
    house.health["db"] = READY
    db, api = registered("db", probes=PROBES), registered("api", depends_on=["db"])
    start_all([db, api])
    for _ in range(3):
        house.tick()
    house.end(db)
    house.tick()
    processes = [process_of(db), process_of(api)]
    assert processes[1].pk < processes[0].pk
    for process in processes:
        os.killpg(house.watched[process.pk].pid, signal.SIGKILL)
        os.waitpid(house.watched[process.pk].pid, 0)

    House(house.node).tick()

    assert fresh(api).state == "held"


@pytest.mark.usefixtures("leave_nothing")
def test_what_waits_for_work_that_is_done(house: House, registered: Register) -> None:
    """
    migrate (ends with 0) ◀── api
    """
    migrate = registered("migrate", script="exit 0", restart="never")
    api = registered("api", depends_on={"migrate": "completed"})
    start_all([api, migrate])
    house.tick()
    assert fresh(api).state == "held"
    house.reap(process_of(migrate))
    house.tick()
    house.tick()
    assert [fresh(migrate).state, fresh(api).state] == ["completed", "running"]


def test_a_held_service_says_what_it_waits_for_and_how_to_help(house: House, registered: Register) -> None:
    db = registered("db")
    api = start(registered("api", depends_on=["db"]))
    assert api.state == "held"
    assert "gaia service start db" in api.problem

    start(db)
    house.supervisor.tick()
    assert "db to be ready, which is starting" in fresh(api).problem
    assert kinds(api).count("held") == 1

    stop(api)
    assert fresh(api).state == "stopped"
    house.supervisor.tick()
    assert fresh(api).state == "stopped"


def test_a_pattern_that_could_take_for_ever_is_refused(registered: Register) -> None:
    registered("db")
    with pytest.raises(GaiaError):
        registered("api", depends_on=[{"name": "db", "condition": "log_line", "pattern": "(a+)+$"}])
