"""The reset of environments, run by `manage.py operate`: databases backed up, work salvaged, all made again."""

from __future__ import annotations

from typing import Any

from common.errors import Cancelled, GaiaError
from environments import operations
from environments.actions import https, stages
from environments.actions.databases import every_stage
from environments.actions.layer_change import set_layer
from environments.actions.reset import had_https, had_layer, number_of, removed_ones
from environments.actions.setup import chosen_environments
from environments.backup_operations import save_databases
from environments.models import Stage
from environments.wording import so_many
from processes.actions.operations import Progress
from projects import actions as projects

_PATIENCE_S = 60.0  # for a stage to end, beyond its grace period


def reset(progress: Progress, *, project: str, names: list[str]) -> dict[str, Any]:
    """Put environments back to a fresh state, with the same numbers and ports.

    1. their stages are stopped and their databases backed up; a damaged one is salvaged as it is
    2. they are removed as `gaia env clean` does it: sessions in them end, work is salvaged, trees go to the trash
    3. they are made again; from here on nobody can cancel it, and what was removed before a failure comes back, too

    Killed in the middle, it is to be asked for again: what was removed is made again then.

    Returns: `{project, reset, databases, removed}`: what `databases` were saved as, and what `clean` says of each.
    Raises: GaiaError when any could not be removed or made again, or Cancelled; `detail` has what was saved.
    """
    found = projects.find(project)
    live = [name for name in names if name not in removed_ones(found, names)]
    saved: list[dict[str, Any]] = []
    removed: list[dict[str, Any]] = []
    failure: GaiaError | None = None
    try:
        if live:
            affected = every_stage(chosen_environments(found, live))
            _stop(affected)
            saved = save_databases(_Part(progress, 0.0, 0.3), affected, "before reset")
            removed = operations.clean(_Part(progress, 0.3, 0.3), project=project, names=live)["removed"]
    except GaiaError as error:
        removed, failure = error.detail.get("removed", []), error
    again = removed_ones(found, names)
    try:
        if again:
            _make_again(_Part(progress, 0.6, 0.4, cancellable=False), found, again)
    except GaiaError as error:
        failure = failure or error
    if failure is not None:
        failure.detail |= {"databases": saved, "removed": removed}
        raise failure
    progress(1, 1, f"{so_many(len(again))} made anew")
    return {"project": project, "reset": again, "databases": saved, "removed": removed}


def _stop(affected: list[Stage]) -> None:
    """So that nothing is written after the backup."""
    for stage in affected:
        stages.bring_down(stage, timeout=_PATIENCE_S)


def _make_again(progress: Any, project: Any, names: list[str]) -> None:
    numbers = [number_of(name) for name in names]
    operations.set_up(
        progress,
        project=project.name,
        source=project.source,
        root=project.root,
        base_port=project.base_port,
        count=max(numbers),
        numbers=numbers,
    )
    for environment in chosen_environments(project, names):
        layer = had_layer(environment)
        if layer is not None:
            set_layer(environment, layer)
        served = had_https(environment)
        if served:
            https.switch(served, True)


class _Part(Progress):
    """The progress of one part of an operation.

    Args:
        begin, share: where the part lies in the whole, as fractions.
        cancellable: whether somebody's wish to cancel is heeded.
    """

    def __init__(self, whole: Progress, begin: float, share: float, *, cancellable: bool = True) -> None:
        self._whole = whole
        self._begin = begin
        self._share = share
        self._cancellable = cancellable

    def __call__(self, done: float, total: float, message: str) -> None:
        fraction = min(1.0, done / total if total else 0.0)
        try:
            self._whole(min(0.99, self._begin + self._share * fraction), 1, message)
        except Cancelled:
            if self._cancellable:
                raise

    def check_cancelled(self) -> None:
        if self._cancellable:
            self._whole.check_cancelled()
