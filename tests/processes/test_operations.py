"""Long operations: asked for once, run to an end that is stored, cancelled, interrupted, run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from common.errors import Conflict, InvalidInput, NotFound
from common.files import file_lock
from events.actor import acting_as
from events.models import Event
from processes.actions import operations
from processes.actions import processes as processes_
from processes.actions.operations import (
    fail_if_interrupted,
    fail_interrupted,
    foreground_lock,
    request_cancel,
    request_operation,
    run_operation,
)
from processes.drivers.liveness import boot_id
from processes.models import Node, Operation, Process
from processes.states import (
    OPERATION_ACTIVE,
    OPERATION_TERMINAL,
    OPERATION_TRANSITIONS,
    OperationState,
    ProcessState,
)
from tests.live import ROOT
from tests.processes.conftest import Daemon, Until
from tests.processes.operation_settings import KINDS
from tests.processes.test_actions import all_at_once

SETTINGS = {"DJANGO_SETTINGS_MODULE": "tests.processes.operation_settings"}


@pytest.fixture(autouse=True)
def kinds(settings: Any) -> None:
    """The operations of `tests.processes.work`."""
    settings.GAIA_OPERATIONS = {**settings.GAIA_OPERATIONS, **KINDS}


def ask(kind: str = "test.count", *, detached: bool = False, subject: str = "project/demo", **params: Any) -> Operation:
    return request_operation(kind, f"Test of {kind}", subject=subject, params=params, detached=detached)


def told(operation: Operation) -> list[str]:
    return list(Event.objects.filter(subject=operation.owner).order_by("id").values_list("kind", flat=True))


@pytest.mark.django_db
def test_progress_result_and_events(node: Node) -> None:
    operation = ask(to=3)
    assert (operation.state, operation.fraction) == (OperationState.QUEUED, 0.0)
    shown: list[tuple[float, str]] = []
    done = run_operation(operation.pk, lambda each: shown.append((each.fraction, each.message)))
    assert [message for _, message in shown] == ["step 0", "step 1", "step 2", "counted"]
    assert [round(fraction, 2) for fraction, _ in shown] == [0.0, 0.33, 0.67, 1.0]
    assert (done.state, done.result, done.error, done.message) == ("succeeded", {"counted": 3}, None, "counted")
    assert done.started_at is not None
    assert done.ended_at is not None
    assert told(done) == ["operation.requested", "operation.started", "operation.succeeded"]
    assert not foreground_lock(done).exists()


@pytest.mark.django_db
def test_progress_is_in_its_log_under_the_daemon(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    run_operation(ask(to=2).pk)
    assert "[2/2] counted" in capsys.readouterr().out


@pytest.mark.django_db
def test_foreseen_failure_is_stored_with_its_three_parts(node: Node) -> None:
    done = run_operation(ask("test.fail").pk)
    assert done.state == OperationState.FAILED
    assert done.error == {
        "code": "unavailable",
        "what": "the disk is full",
        "meaning": "Nothing was written.",
        "fix": "Make room.",
        "detail": {"path": "/dev/full"},
    }
    event = Event.objects.get(kind="operation.failed")
    assert (event.level, event.message) == ("error", "Test of test.fail failed: the disk is full")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "said"), [("test.break_down", "ZeroDivisionError: nobody thought"), ("test.unreadable", "TypeError")]
)
def test_a_defect_is_stored_and_its_traceback_is_in_the_log(
    node: Node, capsys: pytest.CaptureFixture[str], kind: str, said: str
) -> None:
    done = run_operation(ask(kind).pk)
    assert done.state == OperationState.FAILED
    assert done.error is not None
    assert said in done.error["what"]
    assert done.error["meaning"]
    assert done.log in done.error["fix"]
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.django_db
def test_a_kind_that_there_is_not(node: Node, settings: Any) -> None:
    with pytest.raises(NotFound, match=r"no operation 'test\.nonsense'") as refused:
        ask("test.nonsense")
    assert "environments.setup" in refused.value.fix
    assert not Operation.objects.exists()
    operation = ask(to=1)  # then the program is upgraded, and no longer has it
    settings.GAIA_OPERATIONS = {}
    done = run_operation(operation.pk)
    assert done.state == OperationState.FAILED
    assert done.error is not None
    assert done.error["code"] == "not_found"


@pytest.mark.django_db
def test_its_process_is_called_as_it_is(node: Node) -> None:
    ask(to=1, detached=True)
    told = Event.objects.get(kind="process.requested")
    assert told.message == "Start of Test of test.count was asked for"


@pytest.mark.django_db
def test_one_per_subject(node: Node) -> None:
    first = ask(to=1, detached=True)
    with pytest.raises(Conflict) as refused:
        ask(to=1, detached=True)
    assert f"operation {first.pk}, asked for by user:tester" in refused.value.what
    assert f"gaia operation follow {first.pk}" in refused.value.fix
    assert ask(to=1, subject="project/other").pk != first.pk
    run_operation(first.pk)
    assert ask(to=1).pk != first.pk


@pytest.mark.django_db(transaction=True)
def test_twenty_ask_at_once_and_one_operation_comes_of_it(node: Node) -> None:
    results = all_at_once(20, lambda _: ask(to=1, detached=True))
    assert sum(isinstance(result, Operation) for result in results) == 1
    assert [type(result) for result in results].count(Conflict) == 19, results
    assert Operation.objects.count() == Process.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_same_key_is_the_same_request(node: Node) -> None:
    def request(_: int, to: int = 1) -> Operation:
        with acting_as("user:tester"):
            return request_operation(
                "test.count", "Count", subject="project/demo", params={"to": to}, idempotency_key="retry-7"
            )

    results = all_at_once(20, request)
    assert {getattr(result, "pk", result) for result in results} == {Operation.objects.get().pk}
    run_operation(results[0].pk)
    assert request(0).pk == results[0].pk, "after its end, too"
    with pytest.raises(Conflict, match="was used for another request"):
        request(0, to=2)
    assert Operation.objects.count() == Process.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["x" * 101, "with\0nul", "two\nlines"])
def test_what_cannot_be_a_key(node: Node, key: str) -> None:
    with pytest.raises(InvalidInput, match="at most 100 characters"):
        request_operation("test.count", "Count", subject="project/demo", params={}, idempotency_key=key)
    assert not Operation.objects.exists()


@pytest.mark.django_db
def test_cancelled_before_it_began(node: Node) -> None:
    operation = ask(to=1, detached=True)
    assert request_cancel(operation)
    assert not request_cancel(operation)
    operation.refresh_from_db()
    assert operation.state == OperationState.CANCELLED
    assert Process.objects.get(owner=operation.owner).stop_requested_at is not None
    assert told(operation)[-2:] == ["operation.cancelled", "process.stop_requested"]
    with pytest.raises(Conflict, match="already cancelled"):
        run_operation(operation.pk)


@pytest.mark.django_db
def test_cancelled_at_the_next_step(node: Node, tmp_path: Path) -> None:
    operation = ask("test.wait_for", path=str(tmp_path / "never"))

    def cancel(shown: Operation) -> None:
        if shown.message == "turn 3":
            request_cancel(operation)

    done = run_operation(operation.pk, cancel)
    assert done.state == OperationState.CANCELLED
    assert done.error is not None
    assert done.error["meaning"] == "What was finished before stays."
    assert told(done)[-2:] == ["operation.cancel_requested", "operation.cancelled"]
    assert not request_cancel(done), "it has ended"


@pytest.mark.django_db
def test_one_that_was_written_off_meanwhile_ends(node: Node, tmp_path: Path) -> None:
    operation = ask("test.wait_for", path=str(tmp_path / "never"))

    def write_off(shown: Operation) -> None:
        if shown.message == "turn 2":
            Operation.objects.filter(pk=operation.pk).update(state=OperationState.FAILED, message="written off")

    done = run_operation(operation.pk, write_off)
    assert (done.state, done.message, done.error) == (OperationState.FAILED, "written off", None)


@pytest.mark.django_db
@pytest.mark.parametrize("state", OPERATION_TERMINAL)
def test_terminal_operations_never_change(node: Node, state: str) -> None:
    operation = ask(to=1)
    Operation.objects.filter(pk=operation.pk).update(state=state, created_at=timezone.now() - timedelta(hours=1))
    before = Operation.objects.filter(pk=operation.pk).values().get()
    events = Event.objects.count()
    with pytest.raises(Conflict):
        run_operation(operation.pk)
    assert not request_cancel(operation)
    assert not fail_if_interrupted(operation)
    assert fail_interrupted() == 0
    assert Operation.objects.filter(pk=operation.pk).values().get() == before
    assert Event.objects.count() == events
    assert state not in OPERATION_TRANSITIONS
    assert state not in OPERATION_ACTIVE


@pytest.mark.django_db
def test_cannot_be_run_twice(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    operation = ask(to=1)
    monkeypatch.setattr(operations, "_LOCK_PATIENCE_S", 0.0)
    with file_lock(foreground_lock(operation)), pytest.raises(Conflict):
        run_operation(operation.pk)
    operation.refresh_from_db()
    assert operation.state == OperationState.QUEUED, "it was refused before anything was written"
    with pytest.raises(NotFound):
        run_operation(operation.pk + 1)


# -- interrupted


@pytest.mark.django_db
def test_at_a_terminal_interrupted_and_run_again(node: Node) -> None:
    """Its process is gone, and with it the lock it held."""
    operation = ask(to=1)
    Operation.objects.filter(pk=operation.pk).update(state=OperationState.RUNNING)
    operation.refresh_from_db()
    assert not fail_if_interrupted(operation), "it has just been asked for"
    Operation.objects.filter(pk=operation.pk).update(created_at=timezone.now() - timedelta(minutes=1))
    operation.refresh_from_db()
    with file_lock(foreground_lock(operation)):
        assert fail_interrupted() == 0, "it still runs"
    again = ask(to=1)  # asking for it anew is enough to find out
    operation.refresh_from_db()
    assert operation.state == OperationState.FAILED
    assert operation.error is not None
    assert operation.error["what"].endswith("was interrupted: its process was killed")
    assert operation.error["fix"].startswith("Run it again")
    assert run_operation(again.pk).state == OperationState.SUCCEEDED


@pytest.mark.django_db
def test_the_wall_clock_was_set_back(node: Node) -> None:
    """An operation from the future would be young for hours."""
    operation = ask(to=1)
    Operation.objects.filter(pk=operation.pk).update(created_at=timezone.now() + timedelta(hours=1))
    assert fail_interrupted() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("state", "changes", "said"),
    [
        (ProcessState.NOT_STARTED, {"problem": "no memory"}, "was not started: no memory"),
        (ProcessState.LOST, {"problem": "its shim was killed"}, "was interrupted: its shim was killed"),
        (ProcessState.EXITED, {"exit_code": 1}, "was interrupted: its process ended with code 1"),
        (ProcessState.EXITED, {"exit_code": 137}, "was interrupted: its process was killed"),
    ],
)
def test_why_it_was_interrupted(node: Node, state: str, changes: dict[str, Any], said: str) -> None:
    operation = ask(to=1, detached=True)
    rows = Process.objects.filter(owner=operation.owner)
    assert fail_interrupted() == 0
    rows.update(state=state, ended_at=timezone.now(), **changes)
    assert fail_interrupted() == 1
    operation.refresh_from_db()
    assert operation.error is not None
    assert said in operation.error["what"]


@pytest.mark.django_db
def test_killed_while_no_daemon_ran(node: Node) -> None:
    """The row still says that its process runs, and there is nobody to say otherwise."""
    operation = ask(to=1, detached=True)
    process = Process.objects.get(owner=operation.owner)
    processes_.record_started(process, pid=2**22 + 1, start_ticks=1, boot_id=boot_id())
    assert fail_interrupted() == 1
    process.refresh_from_db()
    assert process.state == ProcessState.LOST


@pytest.mark.django_db(transaction=True)
def test_being_stopped_is_stored(node: Node, tmp_path: Path, until: Until) -> None:
    operation = ask("test.wait_for", path=str(tmp_path / "never"), began=str(tmp_path / "began"))
    process = operate(operation)
    until(lambda: (tmp_path / "began").exists() or process.poll() is not None)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    operation.refresh_from_db()
    assert operation.state == OperationState.CANCELLED
    assert operation.error is not None
    assert operation.error["what"].endswith("was stopped")


@pytest.mark.django_db(transaction=True)
def test_being_stopped_in_the_middle_of_a_transaction_is_stored(node: Node) -> None:
    operation = ask("test.interrupted")
    process = operate(operation)
    assert process.wait(60) == 130
    operation.refresh_from_db()
    assert (operation.state, operation.message) == (OperationState.CANCELLED, "")


@pytest.mark.django_db(transaction=True)
def test_its_command_tells_a_failure_in_words(node: Node) -> None:
    process = operate(ask("test.fail"))
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error.decode()) == (1, "the disk is full\nNothing was written.\nMake room.\n")
    again = operate(Operation.objects.get())
    _, error = again.communicate(timeout=60)
    assert (again.returncode, error.decode()) == (4, f"operation {Operation.objects.get().pk} is already failed\n")


def operate(operation: Operation) -> subprocess.Popen[bytes]:
    connection.close()
    return subprocess.Popen(
        [sys.executable, "manage.py", "operate", str(operation.pk)],
        cwd=ROOT, env={**os.environ, **SETTINGS}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


# -- under a real daemon


def test_the_daemon_runs_it(daemon: Daemon, until: Until) -> None:
    operation = ask(to=3, detached=True)
    daemon.start(**SETTINGS)
    until(lambda: Process.objects.filter(owner=operation.owner, state=ProcessState.EXITED))
    operation.refresh_from_db()
    assert (operation.state, operation.result) == (OperationState.SUCCEEDED, {"counted": 3})
    assert Process.objects.get().exit_code == 0
    assert "[3/3] counted" in Path(operation.log).read_text()
    assert told(operation) == [
        "operation.requested", "process.requested", "process.started", "operation.started", "operation.succeeded",
        "process.exited",
    ]  # fmt: skip
    assert not Path(Process.objects.get().lock).exists()


def test_killed_under_the_daemon_and_run_again(daemon: Daemon, until: Until) -> None:
    operation = ask("test.killed", detached=True)
    daemon.start(**SETTINGS)
    until(lambda: Operation.objects.filter(pk=operation.pk, state=OperationState.FAILED))
    operation.refresh_from_db()
    assert operation.error is not None
    assert operation.error["what"].endswith("was interrupted: its process was killed")
    again = ask(to=1, detached=True)
    until(lambda: Operation.objects.filter(pk=again.pk, state=OperationState.SUCCEEDED))


def test_it_outlives_the_daemon_and_its_result_is_harvested(daemon: Daemon, until: Until, tmp_path: Path) -> None:
    operation = ask("test.wait_for", detached=True, path=str(tmp_path / "go"), began=str(tmp_path / "began"))
    daemon.start(**SETTINGS)
    until((tmp_path / "began").exists)
    daemon.kill()
    (tmp_path / "go").write_text("went on")
    until(lambda: Operation.objects.filter(pk=operation.pk, state=OperationState.SUCCEEDED))
    daemon.start(**SETTINGS)
    process = until(lambda: Process.objects.filter(owner=operation.owner, state=ProcessState.EXITED).first())
    operation.refresh_from_db()
    assert operation.result == {"text": "went on"}
    assert process.exit_code == 0
    assert process.exit_source in {"journal", "pidfd"}  # the second when it was still about to end
    assert (tmp_path / "began").read_text().count("\n") == 1
