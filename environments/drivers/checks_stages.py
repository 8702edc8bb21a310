"""Whether stages that should run do, answer, and have their ports; and who has the ports of those that do not run."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from common.errors import GaiaError
from common.locks import lock_held
from environments.drivers.checks import StageFacts, Subject
from environments.drivers.gaia_yaml import DEFAULT_HEALTH
from environments.drivers.health import answers
from environments.drivers.launching import stage_paths
from environments.drivers.stage_env import read_assignments
from environments.findings import Finding, well
from environments.states import Verdict
from processes.drivers import ports
from processes.drivers.shim import TOKEN_VARIABLE
from processes.drivers.table import table

COMING_UP_S = 30.0
"""Seconds in which a stage that was launched need not answer yet."""


def check_stages(one: Subject) -> list[Finding]:
    """No stage died; those that run answer 200 on their health path."""
    running = [stage for stage in one.stages if stage.state == "running" and stage.alive]
    dead = [stage for stage in one.stages if stage.state == "failed" or (stage.state == "running" and not stage.alive)]
    found = [_died(one, stage) for stage in dead]
    answering = 0
    for stage in running:
        url = stage.url + health_path(one, stage)
        if answers(url, authority=one.authority):
            answering += 1
        elif stage.since > COMING_UP_S:
            found.append(_silent(one, stage, url))
        else:
            what = f"{stage.called} is coming up and does not answer yet"
            found.append(Finding("stages", Verdict.OK, what, fault="coming-up", about=stage.name, note=True))
    told = f"{answering} of {len(running)} running answer" if running else "no stage is meant to run"
    return found or [well("stages", told)]


def check_ports(one: Subject) -> list[Finding]:
    """Nobody else listens on a port of the environment: not where its stage runs, not where it is to be started."""
    found: list[Finding] = []
    for stage in one.stages:
        if stage.state == "running" and stage.alive:
            found += _check_own(one, stage)
        elif stage.state in {"stopped", "failed"} and not _is_launched(one, stage):
            found += _check_free(stage)
    leased = ", ".join(str(stage.port) for stage in one.stages)
    return found or [well("ports", f"nobody else has its ports: {leased}")]


def health_path(one: Subject, stage: StageFacts) -> str:
    """Where the stage says whether it is well: as it was launched, whatever gaia.yaml says by now."""
    with suppress(OSError, ValueError, KeyError):
        return read_assignments(one.path / f".gaia/stages/{stage.name}.env")["HEALTH_PATH"]
    return DEFAULT_HEALTH


def _died(one: Subject, stage: StageFacts) -> Finding:
    why = stage.problem or "its process is gone"
    return Finding(
        "stages",
        Verdict.FAILED,
        f"{stage.called} died: {why}",
        f"It should run and does not. Its last words are in {stage_paths(one.path, stage.name).log}.",
        f"gaia env launch {one.directory} {stage.name}",
        "died",
        stage.name,
    )


def _silent(one: Subject, stage: StageFacts, url: str) -> Finding:
    again = f"gaia env stop {one.directory} {stage.name} && gaia env launch {one.directory} {stage.name}"
    return Finding(
        "stages",
        Verdict.FAILED,
        f"{stage.called} runs (pid {stage.pid}) but {url} does not answer 200",
        f"Its program hangs or is not well; its log is {stage_paths(one.path, stage.name).log}.",
        again,
        "silent",
        stage.name,
        passing=True,
    )


def _check_own(one: Subject, stage: StageFacts) -> Iterable[Finding]:
    holder = one.listeners.get(stage.port)
    if holder is None or holder.pid is None or _belongs(holder.pid, stage):
        return
    what = f"port {stage.port} of {stage.called} is taken by {ports.describe(holder)}, though the stage runs"
    meaning = "Whoever opens the stage's address reaches that program."
    yield Finding("ports", Verdict.FAILED, what, meaning, _stop(holder.pid), "foreign", stage.name, passing=True)


def _is_launched(one: Subject, stage: StageFacts) -> bool:
    """Whether a script has launched it a moment ago, which nobody has written down yet."""
    with suppress(OSError):  # there is no checkout
        return lock_held(stage_paths(one.path, stage.name).lock)
    return False


def _check_free(stage: StageFacts) -> Iterable[Finding]:
    try:
        holder = ports.holder(stage.port)
    except GaiaError as error:
        yield Finding("ports", Verdict.WARNING, error.what, error.meaning, error.fix, "refused", stage.name)
        return
    if holder is None:
        return
    what = f"port {stage.port} of {stage.called} is taken by {ports.describe(holder)}"
    meaning = "The stage cannot be started while that program has it. GAIA never stops what it did not start."
    fix = _stop(holder.pid) if holder.pid else f"ss -ltnp 'sport = :{stage.port}'"
    yield Finding("ports", Verdict.WARNING, what, meaning, fix, "taken", stage.name, passing=True)


def _belongs(pid: int, stage: StageFacts) -> bool:
    """Whether a process is of this start of the stage: in its session, or marked with its token."""
    row = table().row(pid)
    if row is not None and row.session == stage.pid:
        return True
    environment = table().environment(pid)
    return environment is not None and f"{TOKEN_VARIABLE}={stage.token}".encode() in environment.split(b"\0")


def _stop(pid: int) -> str:
    return f"kill {pid}"
