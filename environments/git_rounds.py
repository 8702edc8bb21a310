"""The long operations that go round all environments of a project with git, run by `manage.py operate`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from common.errors import Conflict, GaiaError
from environments.actions import git
from environments.actions.exclusive import project_lock
from environments.actions.git import Told
from environments.actions.git_rounds import do_each, live_environments
from environments.drivers.verbs import Conflicted
from environments.models import Environment
from environments.wording import so_many
from processes.actions.operations import Progress
from projects import actions as projects

_WORDS = (
    ("done", "done"),
    ("unchanged", "with nothing to do"),
    ("conflicts", "with conflicts"),
    ("failed", "not done"),
)


def sync_all(
    progress: Progress, *, project: str, names: list[str], merges: bool = True, rebase: bool = False
) -> dict[str, Any]:
    """Fetch the source once, then sync each environment; what is in the way in one of them stops no other.

    Args:
        merges: off, the checkouts only get to know what the hub has: branches, index and files stay.

    Returns: `{project, environments: {name: {outcome, message, snapshot, files}}}`.
    Raises: GaiaError when the source cannot be fetched: then nothing was done; Conflict when an environment has
        conflicts or was not synced, with the same in `detail["environments"]`; Cancelled.
    """

    def act(environment: Environment) -> Told:
        if merges:
            return git.sync(environment, rebase=rebase, fetch=False)
        return git.learn(environment)

    with project_lock(project):
        row = projects.find(project)
        environments = live_environments(row, names)
        progress(0, len(environments) + 1, f"Fetching {row.source}")
        git.fetch_source(row)
        return {"project": project, "environments": _round(progress, "Syncing", environments, act, done=1)}


def clean_branches(progress: Progress, *, project: str) -> dict[str, Any]:
    """Delete the merged branches of each environment; see `git.clean_branches`.

    Returns: `{project, environments: {name: {outcome, message, snapshot, files}}}`.
    Raises: Conflict when it could not be done in one of them; Cancelled.
    """
    with project_lock(project):
        environments = live_environments(projects.find(project))
        told = _round(progress, "Deleting merged branches of", environments, git.clean_branches)
        return {"project": project, "environments": told}


def _round(
    progress: Progress,
    doing: str,
    environments: list[Environment],
    act: Callable[[Environment], Told],
    *,
    done: int = 0,
) -> dict[str, dict[str, Any]]:
    """Do it in each environment. Returns: what became of it, by name. Raises: Conflict that names what went wrong."""
    told: dict[str, dict[str, Any]] = {}
    errors: dict[str, GaiaError] = {}
    total = len(environments) + done
    for number, (environment, result, error) in enumerate(do_each(environments, act), done + 1):
        told[environment.name] = result
        if error is not None:
            errors[environment.name] = error
        if number < total:
            progress(number, total, f"{doing} {environments[number - done].directory}")
    if errors:
        raise _failure(errors, told)
    progress(1, 1, _summary(told))
    return told


def _summary(told: dict[str, dict[str, Any]]) -> str:
    counted = Counter(each["outcome"] for each in told.values())
    return ", ".join(f"{counted[outcome]} {word}" for outcome, word in _WORDS if counted[outcome]) or "Nothing to do"


def _failure(errors: dict[str, GaiaError], told: dict[str, dict[str, Any]]) -> GaiaError:
    kind = Conflicted if all(isinstance(error, Conflicted) for error in errors.values()) else Conflict
    lines = [f"{name}: {error.what}" for name, error in errors.items()]
    verb = "needs" if len(errors) == 1 else "need"
    return kind(
        f"{len(errors)} of {so_many(len(told))} {verb} somebody",
        meaning="\n".join((*lines, _summary(told))),
        fix="\n".join(dict.fromkeys(error.fix for error in errors.values() if error.fix)),
        environments=told,
    )
