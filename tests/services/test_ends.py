"""What follows from the end of a process, row by row: no database, no process, no clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from processes.models import Process
from processes.states import ProcessState, StopCause
from services.ends import End, Following, account, following
from services.models import Service
from services.states import ServiceState

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PROBE = {"name": "ready", "kind": "tcp", "purpose": "readiness"}


def service(**fields: Any) -> Service:
    """One that is up and runs."""
    return Service(**{"name": "api", "argv": ["serve"], "state": "running", "desired": "up", "probes": [], **fields})


def process(code: int | None = 1, **fields: Any) -> Process:
    """A start that ended a moment ago with that code, after ten seconds."""
    began = {"state": ProcessState.EXITED, "started_at": NOW - timedelta(seconds=10), "ended_at": NOW}
    return Process(exit_code=code, **{**began, **fields})


def after(one: Service, ended: Process, *, rebooted: bool = False) -> Following:
    return following(one, account(one, ended, rebooted=rebooted), NOW, lambda _low, _high: 1.0)


ASKED = {"stop_requested_at": NOW - timedelta(seconds=1), "cause": StopCause.ASKED}
LOST = {"state": ProcessState.LOST, "problem": "its shim was killed"}
REBOOTED = {"state": ProcessState.LOST, "problem": "the machine was restarted"}
REFUSED = {"state": ProcessState.NOT_STARTED, "problem": "port 80 is taken by nginx (pid 7)", "started_at": None}


def over(cause: StopCause) -> dict[str, Any]:
    return {"stop_requested_at": NOW, "cause": cause}


@pytest.mark.parametrize(
    ("code", "fields", "cause", "signal"),
    [
        (0, {}, "exit", ""),
        (3, {}, "exit", ""),
        (127, {}, "exit", ""),
        (128, {}, "exit", ""),
        (137, {}, "signal", "SIGKILL"),
        (139, {}, "signal", "SIGSEGV"),
        (255, {}, "exit", ""),
        (None, {}, "lost", ""),
        (None, LOST, "lost", ""),
        (None, REBOOTED, "reboot", ""),
        (None, REFUSED, "not_started", ""),
        (143, over(StopCause.MEMORY), "memory", "SIGTERM"),
        (0, over(StopCause.LIVENESS), "liveness", ""),
        (143, over(StopCause.RUN_TIME), "run_time", "SIGTERM"),
        (143, over(StopCause.QUIET), "quiet", "SIGTERM"),
        (143, ASKED, "signal", "SIGTERM"),
    ],
)
def test_the_cause_of_an_end(code: int | None, fields: dict[str, Any], cause: str, signal: str) -> None:
    end = account(service(), process(code, **fields), rebooted=fields is REBOOTED)
    assert (end.cause, end.signal, end.code) == (cause, signal, code)
    assert end.how


@pytest.mark.parametrize(
    ("state", "desired", "fields", "next_state", "wanted"),
    [
        ("stopping", "down", ASKED, "stopped", "down"),
        ("stopping", "up", ASKED, "starting", "up"),  # a restart
        ("stopping", "down", {}, "stopped", "down"),  # it died a moment before it could be asked
        ("stopping", "up", {}, "starting", "up"),
        ("running", "up", ASKED, "stopped", "down"),  # its script has stopped it
        ("unready", "up", ASKED, "stopped", "down"),
        ("starting", "up", ASKED, "stopped", "down"),
        ("stopping", "down", over(StopCause.MEMORY), "stopped", "down"),
    ],
)
def test_a_stop_that_was_asked_for_is_no_failure(
    state: str, desired: str, fields: dict[str, Any], next_state: str, wanted: str
) -> None:
    then = after(service(state=state, desired=desired), process(143, **fields))
    assert then.state == next_state
    assert then.fields.get("desired", desired) == wanted
    assert not then.died
    assert "failures" not in then.fields


@pytest.mark.parametrize(
    ("restart", "code", "next_state"),
    [
        ("always", 0, "starting"),
        ("always", 1, "starting"),
        ("on_failure", 0, "completed"),
        ("on_failure", 1, "starting"),
        ("on_failure", 137, "starting"),
        ("never", 0, "completed"),
        ("never", 1, "failed"),
        ("never", 137, "failed"),
    ],
)
def test_what_restart_means(restart: str, code: int, next_state: str) -> None:
    then = after(service(restart=restart), process(code))
    assert then.state == next_state
    assert then.died is (next_state != "completed")


@pytest.mark.parametrize("cause", [StopCause.MEMORY, StopCause.RUN_TIME, StopCause.QUIET, StopCause.LIVENESS])
@pytest.mark.parametrize("state", ["stopping", "running"])
def test_what_gaia_ends_for_a_reason_is_a_failure(cause: StopCause, state: str) -> None:
    then = after(service(state=state), process(143, **over(cause)))
    assert then.state == ServiceState.STARTING
    assert then.died
    assert then.fields["failures"] == 1


@pytest.mark.parametrize("code", [126, 127])
def test_a_command_that_cannot_run_is_given_up_at_once(code: int) -> None:
    then = after(service(state="starting"), process(code))
    assert (then.state, then.kind, then.level) == ("failed", "failed", "error")
    assert "serve" in then.fields["problem"]


def test_failures_in_a_row_wait_longer_and_longer() -> None:
    """1st: at once; 2nd: 0.5 s; 3rd: 1 s; 4th: 2 s; the 5th within five minutes: crash loop, a trial a minute."""
    one = service(ever_ready=True)
    seen = []
    for _ in range(7):
        then = after(one, process(1))
        due = then.fields.get("next_start_at")
        seen.append((then.state, then.kind, (due - NOW).total_seconds() if due else None))
        for name, value in then.fields.items():
            setattr(one, name, value)
    assert seen == [
        ("starting", "died", None),
        ("backoff", "backoff", 0.5),
        ("backoff", "backoff", 1.0),
        ("backoff", "backoff", 2.0),
        ("crash_loop", "crash_loop", 60.0),
        ("crash_loop", "backoff", 60.0),  # people know already
        ("crash_loop", "backoff", 60.0),
    ]


def test_a_crash_loop_goes_on_though_its_trials_are_a_minute_apart() -> None:
    old = [(NOW - timedelta(seconds=seconds)).timestamp() for seconds in (240, 180, 120)]
    one = service(ever_ready=True, failures=9, failed_at=old, alarmed_at=NOW - timedelta(hours=1))
    assert after(one, process(1)).state == ServiceState.CRASH_LOOP


def test_what_was_given_up_and_is_tried_by_somebody_counts_anew() -> None:
    one = service(ever_ready=True, failures=0, alarmed_at=NOW - timedelta(hours=1))
    assert after(one, process(1)).state == ServiceState.STARTING


def test_a_service_that_lives_for_minutes_between_its_deaths_is_in_no_crash_loop() -> None:
    old = [(NOW - timedelta(seconds=seconds)).timestamp() for seconds in (1200, 900, 600, 301)]
    one = service(ever_ready=True, failures=4, failed_at=old)
    then = after(one, process(1))
    assert then.state == ServiceState.BACKOFF
    assert len(then.fields["failed_at"]) == 1


@pytest.mark.parametrize(
    ("healthy", "startup", "failures"), [(59, 1, 5), (60, 1, 1), (61, 31, 5), (62, 31, 1), (3600, 60, 1)]
)
def test_a_healthy_time_makes_earlier_failures_forgotten(healthy: float, startup: float, failures: int) -> None:
    ready = NOW - timedelta(seconds=healthy)
    one = service(failures=4, ready_at=ready, ever_ready=True)
    ended = process(1, started_at=ready - timedelta(seconds=startup))
    assert after(one, ended).fields["failures"] == failures


@pytest.mark.parametrize(
    ("codes", "probes", "lived", "state"),
    [
        ([3, 3, 3], [], 0.1, "failed"),
        ([3, 3, 4], [], 0.1, "backoff"),  # not the same
        ([4, 3, 3], [], 0.1, "backoff"),
        ([3, 3, 3], [], 1.0, "backoff"),  # without probes it was ready once it ran for a second
        ([3, 3, 3], [PROBE], 100.0, "failed"),  # with probes, only they say so
        ([139, 139, 139], [PROBE], 5.0, "failed"),
        ([None, None, None], [PROBE], 5.0, "backoff"),  # nobody knows what it died of
    ],
)
def test_three_equal_deaths_before_it_was_ever_ready_are_enough(
    codes: list[int | None], probes: list[Any], lived: float, state: str
) -> None:
    one = service(state="starting", probes=probes)
    for code in codes:
        then = after(one, process(code, started_at=NOW - timedelta(seconds=lived)))
        for name, value in then.fields.items():
            setattr(one, name, value)
    assert then.state == state


@pytest.mark.parametrize(("kind", "code"), [("process", 137), ("platform", 1), ("platform", 127)])
def test_who_is_killed_by_others_and_what_gaia_stands_on_are_never_given_up(kind: str, code: int) -> None:
    one, states = service(kind=kind, probes=[PROBE]), []
    for _ in range(7):
        then = after(one, process(code))
        states.append(then.state)
        one = service(**{"kind": kind, "probes": [PROBE], **then.fields})
    assert states == ["starting", *["backoff"] * 3, *["crash_loop"] * 3]


def test_a_port_that_is_taken_is_tried_for_ever() -> None:
    """Whoever has it may go away."""
    one = service(state="starting", probes=[PROBE])
    states = []
    for _ in range(6):
        then = after(one, process(None, **REFUSED))
        states.append(then.state)
        for name, value in then.fields.items():
            setattr(one, name, value)
    assert states == ["starting", "backoff", "backoff", "backoff", "crash_loop", "crash_loop"]
    assert "port 80 is taken" in then.message


@pytest.mark.parametrize(
    ("restart", "code", "state"),
    [
        ("always", None, "starting"), ("on_failure", None, "starting"), ("never", None, "failed"),
        ("always", 0, "starting"), ("on_failure", 0, "starting"), ("never", 0, "completed"),
        ("on_failure", 143, "starting"),
    ],
)  # fmt: skip
def test_a_restart_of_the_machine_is_nobodys_failure(restart: str, code: int | None, state: str) -> None:
    ended = process(None, **REBOOTED) if code is None else process(code)
    then = after(service(restart=restart), ended, rebooted=True)
    assert then.state == state
    if state == "starting":
        assert not then.died


def test_an_end_that_does_its_work_clears_what_was_before() -> None:
    one = service(restart="never", failures=3, failed_at=[1.0], alarmed_at=NOW)
    then = after(one, process(0))
    assert then.fields == {"failures": 0, "failed_at": [], "ever_ready": True, "alarmed_at": None}


def test_an_end_is_well_only_with_code_0_of_its_own() -> None:
    assert End(asked=False, cause="exit", code=0, signal="", how="").well
    assert not End(asked=False, cause="liveness", code=0, signal="", how="").well
