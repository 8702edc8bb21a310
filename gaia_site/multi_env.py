"""The whole picture in one answer: environments, stages, PR groups, totals (FEATURES A5, A10)."""

from __future__ import annotations

from typing import Any

from environments.health_overview import health_of_all, overall
from environments.overview import environments_overview
from environments.states import Verdict
from gaia_site import platform
from gaia_site.room import full_disk
from sessions.configured import fleet, fleet_problem
from sessions.overview import groups_overview, missing_overview, sessions_overview

_SEEN_LIVE = {"environment.damaged", "directory.missing", "git.unusable", "stages.died", "sessions.ended"}
_SEEN_LIVE |= {"sessions.missing"}  # what rows tell at once; the last look at it may be minutes old
PR_GROUPS = ("pr_review", "pr_implementation", "pr_integration")


def status() -> dict[str, Any]:
    """Directories with git state, their stages, PR groups, all groups and the totals."""
    environments = environments_overview()
    groups = groups_overview(fleet())
    return {
        "totals": {
            "environments": len(environments),
            "stages": sum(len(environment["stages"]) for environment in environments),
            "sessions": sum(len(group["sessions"]) - group["foreign"] for group in groups),
        },
        "directories": [without_stages(environment) for environment in environments],
        "environments": [stage for environment in environments for stage in environment["stages"]],
        "pr_groups": only_pr(groups),
        "groups": groups,
    }


def only_pr(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that review, implement and integrate changes."""
    return [group for group in groups if group["key"] in PR_GROUPS]


def without_stages(environment: dict[str, Any]) -> dict[str, Any]:
    """An environment's directory and git state only."""
    return {key: value for key, value in environment.items() if key != "stages"}


def health() -> dict[str, Any]:
    """An overall verdict with its reasons: what is damaged, failed or gone right now, and what the last look found."""
    looked = health_of_all()
    reasons = problems(looked)
    if not platform.daemon_runs():
        reasons.insert(0, "the node daemon does not run, so what is shown may be old")
    return {
        "verdict": "unhealthy" if reasons else "healthy",
        "reasons": reasons,
        "overall": overall(looked),
        "environments": looked,
    }


def problems(looked: list[dict[str, Any]] | None = None) -> list[str]:
    """What is wrong with the disk, environments, stages and sessions, a sentence each.

    Args:
        looked: how environments were when they were last looked at; default asked for now.
    """
    found = [f"{full}, so nothing new can be started or written down: make room"] if (full := full_disk()) else []
    for environment in environments_overview():
        found += _environment_problems(environment)
    for one in health_of_all() if looked is None else looked:
        failed = [each for each in one["findings"] if each["verdict"] == Verdict.FAILED]
        found += [each["what"] for each in failed if each["key"].partition("/")[0] not in _SEEN_LIVE]
    ended = [one for one in sessions_overview(state="exited") if one["origin"] != "foreign"]
    found += [f"session {one['name']}: its program has ended" for one in ended]
    found += [f"session {one['name']} is {one['state']}: {one['problem']}" for one in missing_overview(fleet())]
    return [*found, f"the fleet file: {mistake}"] if (mistake := fleet_problem()) else found


def _environment_problems(environment: dict[str, Any]) -> list[str]:
    name = environment["directory"]
    found = []
    if environment["state"] != "ready":
        found.append(f"{name} is {environment['state']}: {environment['problem'] or 'not ready yet'}")
    if environment["git"] and environment["git"]["error"]:
        found.append(f"git in {name}: {environment['git']['error']}")
    for stage in environment["stages"]:
        if stage["state"] == "failed":
            found.append(f"stage {stage['name']} of {name} failed: {stage['problem'] or 'see its log'}")
    return found
