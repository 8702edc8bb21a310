"""Removing one environment: what works in it ends, its work is salvaged, then its tree goes to the trash."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings

from common.errors import GaiaError
from common.files import file_lock
from environments.actions import record, stage_services
from environments.actions.salvages import describe
from environments.actions.stages import notice_scripts
from environments.drivers.checkout import inspect
from environments.drivers.launching import stage_paths
from environments.drivers.partial import cannot_write
from environments.drivers.salvage import salvage
from environments.drivers.trash import move_to_trash
from environments.models import Environment
from environments.signals import environment_removing
from processes.actions.stopping import stop_process
from processes.models import Process


def remove(environment: Environment) -> dict[str, Any]:
    """Remove an environment, or leave it where it is, whole and marked damaged, when its work cannot be salvaged.

    1. sessions and stages in it end, and its stages cannot be launched any more
    2. its work is salvaged, found again in the hub, and written down
    3. the tree goes to the trash, ports are given back

    Killed at any point, it is to be called again: what was salvaged stays so.

    Returns: `{name, trash, salvage, left}`; `salvage` has the command that brings the work back, `left` says that
    something which GAIA did not make lies at its path and was not touched.
    Raises: GaiaError when it was not removed.
    """
    stage_services.require_unneeded(environment)
    record.record_removing(environment)
    path = Path(environment.path)
    try:
        environment_removing.send(Environment, environment=environment)
        with _stages_ended(environment):
            is_ours, left = _look(environment)
            if is_ours:
                _salvage(environment)
            trash = move_to_trash(path, settings.GAIA.home.trash) if is_ours else None
    except (GaiaError, OSError) as error:
        failure = cannot_write(path, error) if isinstance(error, OSError) else error
        record.record_damaged(environment, f"it was not removed: {failure.what}")
        raise failure from error
    stage_services.forget(environment)
    record.record_removed(environment, trash=trash, left=left)
    told = {"name": environment.directory, "trash": str(trash) if trash else None, "left": left}
    return {**told, "salvage": environment.salvage}


@contextmanager
def _stages_ended(environment: Environment) -> Iterator[None]:
    """End every stage, whoever launched it, and hold their locks, so that no script launches one meanwhile."""
    with ExitStack() as locks:
        for stage in environment.stages.select_related("environment"):
            notice_scripts(stage)
            stage_services.stop(stage)
            for process in Process.objects.active().filter(owner=stage.owner):
                stop_process(process)
            lock = stage_paths(Path(environment.path), stage.name).lock
            if lock.is_file():  # not the null device, where the traces of a checkout lead that were turned outwards
                locks.enter_context(file_lock(lock, what=stage.called))
        yield


def _look(environment: Environment) -> tuple[bool, bool]:
    """Whether its checkout is there, and whether something that is not ours is."""
    facts = inspect(Path(environment.path))
    return facts.is_ours, facts.exists and not facts.is_ours


def _salvage(environment: Environment) -> None:
    saved = salvage(
        Path(environment.path),
        environment.project.hub,
        name=environment.directory,
        directory=settings.GAIA.home.salvage,
    )
    if saved is not None:
        record.record_salvaged(environment, describe(saved))
