"""The verbs of git that run as operations: those that may reach a source over the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from common.errors import NotFound
from environments.actions import git
from environments.actions.git import Told
from environments.models import Environment
from environments.states import ENVIRONMENT_ACTIVE
from processes.actions.operations import Progress

_VERBS: dict[str, tuple[Callable[..., Told], str]] = {
    "sync": (git.sync, "Fetching the source and bringing its commits into"),
    "push": (git.push, "Pushing the branch of"),
}


def act(progress: Progress, *, environment: int, verb: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Do one verb.

    Args:
        environment: its id.
        verb: sync or push.
        options: as of the action of that name.

    Returns: what the action tells.
    Raises: NotFound when the environment is gone; see the action.
    """
    live = Environment.objects.filter(state__in=ENVIRONMENT_ACTIVE).select_related("project", "git")
    found = live.filter(pk=environment).first()
    if found is None:
        raise NotFound(f"environment {environment} has been removed", meaning="Nothing was done.")
    do, doing = _VERBS[verb]
    progress(0, 1, f"{doing} {found.directory}")
    told = do(found, **options)
    progress(1, 1, told.message)
    return told.as_dict()
