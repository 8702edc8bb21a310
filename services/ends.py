"""How a process ended, and what follows from that for its service. Nothing here reads or writes anything."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from events.models import Level
from processes.models import Process
from processes.states import ProcessState, StopCause
from services import backoff
from services.models import Service
from services.states import Desired, Restart, ServiceKind, ServiceState

NOT_STARTED = "not_started"
LOST = "lost"
REBOOT = "reboot"
EXIT = "exit"
SIGNAL = "signal"

_SIGNAL_BASE = 128
_KILLED = "SIGKILL"
_UNRUNNABLE = {126: "it cannot be executed", 127: "it was not found"}
_ENDED_BY_GAIA = {
    StopCause.MEMORY: "was ended because it used more memory than it may",
    StopCause.RUN_TIME: "was ended because it ran longer than it may",
    StopCause.QUIET: "was ended because it wrote nothing for too long",
    StopCause.LIVENESS: "was ended because its liveness probe failed",
}


@dataclass(frozen=True)
class End:
    """How one start ended.

    Args:
        asked: somebody wanted it to end, so that it did not fail.
        cause: exit, signal, not_started, lost, reboot, or why GAIA ended it (`StopCause`).
        code: exit code as the shell has it; None when nobody knows.
        signal: name of the signal that may have ended it: 137 is an exit with that code, too, and no shell tells.
        how: the end of a sentence that begins with what ended.
        lived_s: seconds it ran.
        healthy_s: seconds it was ready at its end; 0 when it was not.
        startup_s: seconds it took to become ready.
        ever_ready: it was ready at least once, or this definition was with an earlier start.
    """

    asked: bool
    cause: str
    code: int | None
    signal: str
    how: str
    lived_s: float = 0.0
    healthy_s: float = 0.0
    startup_s: float = 0.0
    ever_ready: bool = False

    @property
    def well(self) -> bool:
        """It has done what it had to do."""
        return self.cause == EXIT and self.code == 0

    @property
    def sort(self) -> str:
        """What two ends have in common that are the same."""
        return f"{self.cause} {self.code}"


@dataclass(frozen=True)
class Following:
    """What a service does next.

    Args:
        state: its next one; `starting` means: now, if its gates are open.
        kind, message, level: of the event that tells of it.
        fields: what is written besides.
        died: whether the end was a failure, which is told by an event of its own.
    """

    state: str
    kind: str
    message: str
    level: str = Level.INFO
    fields: dict[str, Any] = field(default_factory=dict)
    died: bool = False


def account(service: Service, process: Process, *, rebooted: bool = False) -> End:
    """How a start of the service ended, from what the row says.

    Args:
        rebooted: the machine was restarted since. Then the end was the machine's: whoever is told to end on its way
            down may do so with code 0, and has not done its work.
    """
    began, ended = process.started_at, process.ended_at
    lived = _seconds(began, ended)
    healthy, startup = _seconds(service.ready_at, ended), _seconds(began, service.ready_at)
    settled = not service.probes_asked and lived >= backoff.SETTLED_S
    done = service.restart == Restart.NEVER and process.exit_code == 0
    cause, name, how = _cause(process, rebooted and not done)
    by_gaia = process.cause in _ENDED_BY_GAIA
    return End(
        asked=not by_gaia and (process.stop_requested_at is not None or service.state == ServiceState.STOPPING),
        cause=cause,
        code=process.exit_code,
        signal=name,
        how=how,
        lived_s=lived,
        healthy_s=healthy,
        startup_s=startup,
        ever_ready=service.ever_ready or settled or (bool(service.probes_asked) and service.ready_at is not None),
    )


def _seconds(begin: datetime | None, end: datetime | None) -> float:
    return max(0.0, (end - begin).total_seconds()) if begin and end else 0.0


def _cause(process: Process, rebooted: bool) -> tuple[str, str, str]:
    """Cause, signal, and both in words."""
    code = process.exit_code
    name = ""
    if code is not None and code > _SIGNAL_BASE:
        with suppress(ValueError):
            name = signal.Signals(code - _SIGNAL_BASE).name
    if process.cause in _ENDED_BY_GAIA:
        return process.cause, name, _ENDED_BY_GAIA[StopCause(process.cause)]
    if process.state == ProcessState.NOT_STARTED:
        return NOT_STARTED, "", f"did not start: {process.problem}"
    if rebooted:
        return REBOOT, "", "is gone: the machine was restarted"
    if process.state == ProcessState.LOST or code is None:
        return LOST, "", "is gone, and nobody knows how it ended"
    if name:
        return SIGNAL, name, f"ended with code {code}, or by signal {name}"
    return EXIT, "", f"ended with code {code}"


def following(
    service: Service,
    end: End,
    now: datetime,
    uniform: Callable[[float, float], float] = random.uniform,
    *,
    trial: bool = False,
) -> Following:
    """What a service does after one of its starts has ended.

    Args:
        service: as it was until then.
        now: the time of the end.
        uniform: a random number between two others, for the spread of waiting times.
        trial: this start was one of a crash loop, of which nothing was told so far.
    """
    if end.asked:
        return _asked(service, end)
    if end.cause == REBOOT and service.desired == Desired.UP and service.restart != Restart.NEVER:
        return Following(ServiceState.STARTING, "start_requested", f"{service.sentence} {end.how}; it is started again")
    if service.desired == Desired.DOWN:
        return Following(ServiceState.STOPPED, "stopped", f"{service.sentence} {end.how}")
    if end.well and service.restart != Restart.ALWAYS:
        return Following(
            ServiceState.COMPLETED,
            "completed",
            f"{service.sentence} has done its work and ended with code 0",
            fields={"failures": 0, "failed_at": [], "ever_ready": True, "alarmed_at": None},
        )
    return _failed(service, end, now, uniform, trial)


def _asked(service: Service, end: End) -> Following:
    if service.state == ServiceState.STOPPING and service.desired == Desired.UP:
        return Following(ServiceState.STARTING, "start_requested", f"{service.sentence} has stopped to start again")
    # asked for by somebody who did not ask GAIA, such as its script: that is what people want, then
    return Following(
        ServiceState.STOPPED, "stopped", f"{service.sentence} was stopped", fields={"desired": Desired.DOWN}
    )


def _failed(
    service: Service, end: End, now: datetime, uniform: Callable[[float, float], float], trial: bool
) -> Following:
    count = _count(service, end, now)
    told = f"{service.sentence} {end.how}"
    hopeless = _hopeless(service, end, count)
    if hopeless:
        return _given_up(f"{told}; {hopeless}", hopeless, count, now, service)
    looping = backoff.is_looping(count["failed_at"], now.timestamp())
    if looping or (service.alarmed_at is not None and count["failures"] >= backoff.LOOP):
        return _looping(service, end, count, now, trial)
    wait = backoff.delay(count["failures"], uniform)
    if not wait:
        return Following(ServiceState.STARTING, "died", told, Level.WARNING, count, died=True)
    due = now + timedelta(seconds=wait)
    return Following(
        ServiceState.BACKOFF,
        "backoff",
        f"{service.sentence} is started again in {wait:.1f} s, after {count['failures']} failures in a row",
        fields={**count, "next_start_at": due, "problem": f"it {end.how}"},
        died=True,
    )


def _count(service: Service, end: End, now: datetime) -> dict[str, Any]:
    """The failures, this one with them."""
    steady = end.healthy_s >= backoff.steady_after(end.startup_s)
    failures, failed_at = (0, []) if steady else (service.failures, service.failed_at)
    moment = now.timestamp()
    before = service.last_death if not steady else {}
    repeated = before.get("repeated", 0) + 1 if before.get("sort") == end.sort else 1
    return {
        "failures": failures + 1,
        "failed_at": [*backoff.within_window(failed_at, moment), moment],
        "ever_ready": end.ever_ready,
        "last_death": {"sort": end.sort, "repeated": repeated if not end.ever_ready else 0},
    }


def _hopeless(service: Service, end: End, count: dict[str, Any]) -> str:
    """Why another start would end the same way; "" when it might not."""
    if service.restart == Restart.NEVER:
        return "it is not to be started again"
    if service.kind == ServiceKind.PLATFORM:
        return ""  # once a minute for ever: who is given up cannot be started from a console that is down
    if service.kind == ServiceKind.STAGE and not end.ever_ready:
        return "it was never ready since its launch"  # whoever launched it is told at once, and mends it
    if end.cause == EXIT and end.code in _UNRUNNABLE:
        return f"its command {service.argv[0]} cannot run: {_UNRUNNABLE[end.code]}"
    same = count["last_death"]["repeated"]
    if end.cause in (NOT_STARTED, LOST) or end.signal == _KILLED or same < backoff.IDENTICAL:
        return ""  # what others do to it, kill -9 among it, says nothing of the next start
    return f"it ended {same} times in a row like this without ever being ready"


def _given_up(told: str, why: str, count: dict[str, Any], now: datetime, service: Service) -> Following:
    fields = {**count, "problem": f"{why[:1].upper()}{why[1:]}", "alarmed_at": service.alarmed_at or now}
    return Following(ServiceState.FAILED, "failed", told, Level.ERROR, fields, died=True)


def _looping(service: Service, end: End, count: dict[str, Any], now: datetime, trial: bool) -> Following:
    due = now + timedelta(seconds=backoff.TRIAL_S)
    times = f"it died {count['failures']} times in a row"
    problem = f"{times}; it is tried once a minute"
    fields = {**count, "next_start_at": due, "problem": problem}
    if service.alarmed_at is not None:
        known = trial and service.last_death.get("sort") == end.sort
        how = f"{end.how} again" if known else end.how
        message = f"{service.sentence} {how}: {times}; the next trial comes in a minute"
        level = Level.WARNING if trial and not known else Level.INFO
        return Following(ServiceState.CRASH_LOOP, "trial" if trial else "backoff", message, level, fields, died=True)
    message = f"{service.sentence} does not stay up: {problem}"
    return Following(
        ServiceState.CRASH_LOOP, "crash_loop", message, Level.ERROR, {**fields, "alarmed_at": now}, died=True
    )
