"""Level-triggered: what is on disk becomes what the rows say. Runs in the node daemon."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from environments.actions import measured, record
from environments.actions.scripts import follow_journal, look_for_ended, stops_asked
from environments.drivers.launching import stage_paths
from environments.drivers.status import status_many
from environments.models import Environment, Stage
from environments.states import ENVIRONMENT_ACTIVE, ENVIRONMENT_BUSY, EnvironmentState
from processes.actions.nodes import daemon_runs
from processes.models import Node, Operation

logger = logging.getLogger(__name__)

MISSING = "its checkout is missing"
_GIT_EVERY_S = 5.0
_GIT_SHARE = 20  # looking may take a twentieth of the time: a hundred large checkouts are looked at less often
_journals: dict[tuple[str, str], Path] = {}
_journals_seen: dict[str, tuple[int, int, int]] = {}
_stops_seen: dict[str, int] = {}
_next_git_look = 0.0


def catch_up(node: Node) -> None:
    """Learn what happened to stages while no daemon ran, before the next one starts any: a script may have been faster.

    Nothing that goes wrong here keeps the daemon from beginning; it looks again every second.
    """
    try:
        look_for_ended(node)
        look_at_stages(node)
    except Exception:
        logger.exception("what stages did meanwhile")


def look_at_stages(node: Node) -> None:
    """Notice what launch.sh and stop.sh did, with GAIA up or down, from the journals they share with the daemon."""
    if not daemon_runs():
        look_for_ended(node)
    stages = Stage.objects.filter(environment__state__in=ENVIRONMENT_ACTIVE).select_related("environment")
    for stage in stages:
        try:
            facts = _journal(stage.environment.path, stage.name).stat()
            seen = (facts.st_ino, facts.st_mtime_ns, facts.st_size)
            if _journals_seen.get(stage.owner) != seen:
                asked = stops_asked(stage)
                if follow_journal(node, stage, unwanted=asked > _stops_seen.get(stage.owner, asked)):
                    _journals_seen[stage.owner] = seen
                    _stops_seen[stage.owner] = asked
        except FileNotFoundError:
            continue  # it was never launched
        except Exception:  # one stage that cannot be read must not hide the others
            logger.exception("the journal of %s", stage.owner)


def _journal(path: str, stage: str) -> Path:
    """Where it lies; asked for every stage every second, and another place than the usual one is not remembered: it is
    one while a link leads out of the checkout.
    """
    if known := _journals.get((path, stage)):
        return known
    found = stage_paths(Path(path), stage).journal
    if found.parent == Path(path, ".gaia", "stages"):
        _journals[path, stage] = found
    return found


def look_at_git() -> None:
    """Ask git about every checkout; a checkout that vanished makes its environment damaged, one that is back, ready."""
    global _next_git_look
    if time.monotonic() < _next_git_look:
        return
    begun = time.monotonic()
    refresh_git(list(Environment.objects.filter(state__in=ENVIRONMENT_ACTIVE).select_related("project", "git")))
    _next_git_look = time.monotonic() + max(0.0, (time.monotonic() - begun) * _GIT_SHARE - _GIT_EVERY_S)


def refresh_git(environments: list[Environment]) -> None:
    """Ask git about these checkouts now."""
    there = [each for each in environments if Path(each.path, ".git").exists()]
    for environment in environments:
        if environment in there:
            if environment.state == EnvironmentState.DAMAGED and environment.problem == MISSING:
                record.record_ready(environment, f"{environment.directory} is back")
        elif environment.state == EnvironmentState.READY:
            # only while it is said to be there: its removal may have begun since the row was read
            record.record_damaged(environment, MISSING, seen=[EnvironmentState.READY])
    _notice_interrupted([each for each in environments if each.state in ENVIRONMENT_BUSY])
    statuses = status_many([Path(each.path) for each in there])
    measured.record_git(there, {each.pk: statuses[Path(each.path)] for each in there})


def _notice_interrupted(busy: list[Environment]) -> None:
    """Environments in the making or going on which no operation works any more: it was killed."""
    if not busy:
        return
    subjects = {each.pk: f"project/{each.project.name}" for each in busy}
    worked_on = set(
        Operation.objects.active().filter(subject__in=set(subjects.values())).values_list("subject", flat=True)
    )
    for environment in busy:
        if subjects[environment.pk] not in worked_on:
            what = "set-up" if environment.state == EnvironmentState.CREATING else "removal"
            record.record_damaged(environment, f"its {what} was interrupted", seen=[environment.state])
