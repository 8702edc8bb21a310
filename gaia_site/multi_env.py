"""The whole picture in one answer: environments, stages, PR groups, totals (FEATURES A5, A10)."""

from __future__ import annotations

from typing import Any

from environments.overview import environments_overview
from sessions.actions.start import fleet
from sessions.overview import groups_overview, sessions_overview

PR_GROUPS = ("pr_review", "pr_implementation", "pr_integration")


def status() -> dict[str, Any]:
    """Directories with git state, their stages, PR groups, all groups and the totals."""
    environments = environments_overview()
    groups = groups_overview(fleet())
    return {
        "totals": {
            "environments": len(environments),
            "stages": sum(len(environment["stages"]) for environment in environments),
            "sessions": sum(len(group["sessions"]) for group in groups),
        },
        "directories": [without_stages(environment) for environment in environments],
        "environments": [stage for environment in environments for stage in environment["stages"]],
        "pr_groups": [group for group in groups if group["key"] in PR_GROUPS],
        "groups": groups,
    }


def without_stages(environment: dict[str, Any]) -> dict[str, Any]:
    """An environment's directory and git state only."""
    return {key: value for key, value in environment.items() if key != "stages"}


def health() -> dict[str, Any]:
    """An overall verdict with its reasons: what is damaged, failed or gone right now."""
    reasons: list[str] = []
    for environment in environments_overview():
        name = environment["directory"]
        if environment["state"] != "ready":
            reasons.append(f"{name} is {environment['state']}: {environment['problem'] or 'not ready yet'}")
        if environment["git"] and environment["git"]["error"]:
            reasons.append(f"git in {name}: {environment['git']['error']}")
        for stage in environment["stages"]:
            if stage["state"] == "failed":
                reasons.append(f"stage {stage['name']} of {name} failed: {stage['problem'] or 'see its log'}")
    reasons += [
        f"session {one['name']}: its program has ended" for one in sessions_overview() if one["state"] == "exited"
    ]
    return {"verdict": "unhealthy" if reasons else "healthy", "reasons": reasons}
