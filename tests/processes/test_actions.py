"""Starting and stopping as rows and events: every change by compare-and-swap, terminal states for good."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections, transaction
from django.utils import timezone

from common.errors import Conflict
from events.actor import acting_as
from events.models import Event
from processes.actions import processes as actions
from processes.models import Node, Process
from processes.states import (
    PROCESS_ACTIVE,
    PROCESS_TERMINAL,
    PROCESS_TRANSITIONS,
    ExitSource,
    Origin,
    ProcessState,
)

RECORDS: dict[str, Callable[[Process], bool]] = {
    ProcessState.RUNNING: lambda process: actions.record_started(process, pid=7, start_ticks=8, boot_id="boot"),
    ProcessState.STOPPING: actions.record_stopping,
    ProcessState.EXITED: lambda process: actions.record_exit(process, 0, ExitSource.WAIT),
    ProcessState.LOST: lambda process: actions.record_lost(process, "its shim was killed"),
    ProcessState.NOT_STARTED: lambda process: actions.record_not_started(process, "no such directory"),
}


def in_state(process: Process, state: str) -> Process:
    """The row as if it had come into that state by itself."""
    ended = timezone.now() if state in PROCESS_TERMINAL else None
    Process.objects.filter(pk=process.pk).update(state=state, ended_at=ended)
    process.refresh_from_db()
    return process


def kinds(owner: str) -> list[str]:
    return list(Event.objects.filter(subject=owner).order_by("id").values_list("kind", flat=True))


@pytest.mark.django_db
@pytest.mark.parametrize("after", RECORDS)
@pytest.mark.parametrize("before", ProcessState.values)
def test_every_transition(node: Node, request_sh: Any, before: str, after: str) -> None:
    process = in_state(request_sh("true"), before)
    events = Event.objects.count()
    moved = RECORDS[after](process)
    assert moved == (after in PROCESS_TRANSITIONS.get(before, ()))
    assert Process.objects.get(pk=process.pk).state == (after if moved else before)
    assert Event.objects.count() == events + moved


@pytest.mark.django_db
@pytest.mark.parametrize("state", PROCESS_TERMINAL)
def test_terminal_rows_never_change(node: Node, request_sh: Any, state: str) -> None:
    process = in_state(request_sh("true"), state)
    before = Process.objects.filter(pk=process.pk).values().get()
    for record in RECORDS.values():
        assert not record(process)
    assert not actions.request_stop(process)
    assert not actions.record_unstoppable(process, "pids 1 ignore KILL", [1])
    assert Process.objects.filter(pk=process.pk).values().get() == before


@pytest.mark.django_db(transaction=True)
def test_of_two_who_saw_the_same_state_one_wins(node: Node, request_sh: Any) -> None:
    process = in_state(request_sh("true"), ProcessState.RUNNING)
    first, second = Process.objects.get(pk=process.pk), Process.objects.get(pk=process.pk)
    assert actions.record_exit(first, 3, ExitSource.WAIT)
    assert not actions.record_lost(second, "its shim was killed")
    process.refresh_from_db()
    assert (process.state, process.exit_code, process.problem) == (ProcessState.EXITED, 3, "")
    assert kinds("test/one") == ["process.requested", "process.exited"]


@pytest.mark.django_db(transaction=True)
def test_the_event_is_in_the_transaction_of_its_change(node: Node, request_sh: Any) -> None:
    process = request_sh("true")

    def interrupted() -> None:
        with transaction.atomic():
            assert RECORDS[ProcessState.RUNNING](process)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert Process.objects.get(pk=process.pk).state == ProcessState.STARTING
    assert kinds("test/one") == ["process.requested"]


@pytest.mark.django_db(transaction=True)
def test_no_change_without_an_actor(node: Node, request_sh: Any) -> None:
    """The event cannot be written, so the change is not, either (invariant 12)."""
    process = request_sh("true")
    refused = []

    def nobody() -> None:
        try:
            RECORDS[ProcessState.RUNNING](process)
        except RuntimeError as error:
            refused.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=nobody)
    thread.start()
    thread.join()
    assert refused
    assert Process.objects.get(pk=process.pk).state == ProcessState.STARTING


def all_at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Results or errors of so many threads that begin together, each with a connection of its own."""
    barrier = threading.Barrier(count)
    results: list[Any] = [None] * count

    def one(number: int) -> None:
        try:
            with acting_as(f"user:tester-{number}"):
                barrier.wait(60)
                results[number] = work(number)
        except Exception as error:
            results[number] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.django_db(transaction=True)
def test_twenty_ask_at_once_and_one_gets_it(node: Node, request_sh: Any) -> None:
    for attempt in (1, 2, 3):
        results = all_at_once(20, lambda _: request_sh("true"))
        [got] = [result for result in results if isinstance(result, Process)]
        assert [type(result) for result in results].count(Conflict) == 19
        assert got.attempt == attempt
        actions.record_not_started(got, "the test goes on")
    assert kinds("test/one") == ["process.requested", "process.not_started"] * 3


@pytest.mark.django_db(transaction=True)
def test_attempts_are_numbered_once_though_they_come_and_go(node: Node, request_sh: Any) -> None:
    """Somebody reads the last number, and before he writes the next another one has come and gone."""

    def come_and_go(number: int) -> list[int]:
        taken = []
        while len(taken) < 5:
            try:
                process = request_sh("true")
            except Conflict:
                continue
            taken.append(process.attempt)
            actions.record_not_started(process, "it goes again")
        return taken

    taken = [attempt for result in all_at_once(4, come_and_go) for attempt in result]
    assert sorted(taken) == list(range(1, 21))


@pytest.mark.django_db
def test_attempts_are_counted_per_node(node: Node, request_sh: Any) -> None:
    other = Node.objects.create(name="elsewhere")
    assert request_sh("true").attempt == 1
    process = actions.request_start(other, "test/one", ["true"], cwd=actions.gaia_home().root)
    assert process.attempt == 1


@pytest.mark.django_db
def test_conflict_says_which_pid(node: Node, request_sh: Any) -> None:
    RECORDS[ProcessState.RUNNING](request_sh("true"))
    with pytest.raises(Conflict, match="test/one already runs as pid 7"):
        request_sh("true")


@pytest.mark.django_db
def test_a_stop_is_asked_for_once(node: Node, request_sh: Any) -> None:
    process = request_sh("true")
    assert actions.request_stop(process)
    assert not actions.request_stop(process)
    assert kinds("test/one") == ["process.requested", "process.stop_requested"]


@pytest.mark.django_db
def test_variables_are_forgotten_at_the_start_and_never_told(node: Node, request_sh: Any) -> None:
    process = request_sh("true", env={"API_KEY": "hunter2-secret"})
    assert Process.objects.get(pk=process.pk).env == {"API_KEY": "hunter2-secret"}
    RECORDS[ProcessState.RUNNING](process)
    assert Process.objects.get(pk=process.pk).env == {}
    never = request_sh("true", owner="test/two", env={"API_KEY": "hunter2-secret"})
    RECORDS[ProcessState.NOT_STARTED](never)
    assert Process.objects.get(pk=never.pk).env == {}
    assert not any("hunter2" in str(event.as_dict()) for event in Event.objects.all())


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("code", "told"),
    [
        (0, "ended by itself with code 0"),
        (3, "ended by itself with code 3"),
        (137, "ended by itself with code 137, or by signal SIGKILL"),
        (255, "ended by itself with code 255"),
        (None, "nobody knows with which code"),
    ],
)
def test_how_it_ended_is_said_as_far_as_it_is_known(node: Node, request_sh: Any, code: int | None, told: str) -> None:
    process = in_state(request_sh("true"), ProcessState.RUNNING)
    actions.record_exit(process, code, ExitSource.JOURNAL)
    event = Event.objects.get(kind="process.exited")
    assert told in event.message
    assert event.level == ("info" if code == 0 else "warning")


@pytest.mark.django_db
def test_an_end_that_was_asked_for_is_no_failure(node: Node, request_sh: Any) -> None:
    process = in_state(request_sh("true"), ProcessState.RUNNING)
    actions.request_stop(process)
    process.refresh_from_db()
    actions.record_exit(process, 143, ExitSource.JOURNAL)
    event = Event.objects.get(kind="process.stopped")
    assert (event.level, event.message) == ("info", "test/one was stopped")


@pytest.mark.django_db
def test_events_call_it_what_people_call_it(node: Node, request_sh: Any) -> None:
    process = request_sh("true", title="stage qa of demo-dev1")
    RECORDS[ProcessState.RUNNING](process)
    with pytest.raises(Conflict, match="stage qa of demo-dev1 already runs as pid 7"):
        request_sh("true", title="stage qa of demo-dev1")
    actions.request_stop(process)
    actions.record_stopping(process)
    process.refresh_from_db()
    actions.record_exit(process, 143, ExitSource.JOURNAL)
    assert list(Event.objects.filter(subject="test/one").order_by("id").values_list("message", flat=True)) == [
        "Start of stage qa of demo-dev1 was asked for",
        "Stage qa of demo-dev1 runs as pid 7",
        "Stop of stage qa of demo-dev1 was asked for",
        "Stage qa of demo-dev1 is being stopped",
        "Stage qa of demo-dev1 was stopped",
    ]


@pytest.mark.django_db
def test_what_cannot_be_ended_is_told_once(node: Node, request_sh: Any) -> None:
    process = in_state(request_sh("true"), ProcessState.RUNNING)
    assert actions.record_unstoppable(process, "pids 1 ignore KILL", [1])
    assert not actions.record_unstoppable(process, "pids 1 ignore KILL", [1])
    assert kinds("test/one") == ["process.requested", "process.unstoppable"]


def script_start(node: Node, number: int = 1) -> Process | None:
    folder = actions.gaia_home().processes
    return actions.record_script_start(
        node, "test/one", title="stage qa of demo-dev1", token=f"script-{number}", pid=7, start_ticks=8, boot_id="boot",
        argv=["true"], cwd=folder, log_file=folder / "log", lock=folder / "lock", journal=folder / "journal", port=None,
    )  # fmt: skip


@pytest.mark.django_db
def test_a_script_start_is_noted_once(node: Node) -> None:
    process = script_start(node)
    assert process is not None
    assert (process.origin, process.state, process.attempt) == (Origin.SCRIPT, ProcessState.RUNNING, 1)
    assert script_start(node) is None
    actions.record_exit(process, 0, ExitSource.JOURNAL)
    assert script_start(node) is None  # the same start, seen again after its end
    again = script_start(node, 2)
    assert again is not None
    assert again.attempt == 2


def test_no_state_leads_out_of_a_terminal_one() -> None:
    assert set(PROCESS_ACTIVE) | set(PROCESS_TERMINAL) == set(ProcessState.values)
    assert set(PROCESS_TRANSITIONS) == set(PROCESS_ACTIVE)
