"""Work that was brought to safety before something was removed: listing it, bringing it back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings

from common.errors import NotFound
from environments.actions.exclusive import project_lock
from environments.drivers.git import bare
from environments.drivers.salvage import Salvage, restore
from environments.models import Environment
from environments.states import ENVIRONMENT_ACTIVE
from events import log
from projects.models import Project

_PREFIX = "refs/salvage/"


def describe(salvage: Salvage) -> dict[str, Any]:
    """A salvage as every door shows it, with the lines that bring it back without GAIA."""
    return {
        "name": salvage.name,
        "refs": dict(salvage.refs),
        "patch": str(salvage.patch) if salvage.patch else None,
        "archive": str(salvage.archive) if salvage.archive else None,
        "unpushed": dict(salvage.work.unpushed),
        "uncommitted": salvage.work.uncommitted,
        "untracked": salvage.work.untracked,
        "nested": list(salvage.work.nested),
        "restore_command": salvage.restore_command,
    }


def list_salvages() -> list[dict[str, Any]]:
    """Every salvage in every hub: `[{name, project, kinds, restore_command}]`, by name, which ends with the moment.

    `restore_command` is None when its environment is not on record any more.
    """
    kept = Environment.objects.exclude(salvage=None).values_list("salvage", flat=True)
    commands = {salvage["name"]: salvage["restore_command"] for salvage in kept if salvage}
    found: dict[str, dict[str, Any]] = {}
    for project in Project.objects.all():
        if not project.hub.is_dir():
            continue
        for ref in bare(project.hub).lines("for-each-ref", "--format=%(refname)", _PREFIX):
            name, _, rest = ref.removeprefix(_PREFIX).partition("/")
            new: dict[str, Any] = {
                "name": name,
                "project": project.name,
                "kinds": [],
                "restore_command": commands.get(name),
            }
            found.setdefault(name, new)["kinds"].append(rest)
    return [found[name] for name in sorted(found)]


def restore_salvage(name: str, into: Path | None = None) -> dict[str, Any]:
    """Bring a salvage back into a checkout that has no uncommitted work of its own.

    Args:
        name: as `list_salvages` gives it.
        into: the checkout; None means the environment the work came from.

    Returns: `{into, branches, aside, files, stashes}`.
    Raises: NotFound for the salvage or the environment; Conflict when the checkout has uncommitted work, or an
    operation is at work in the project.
    """
    known = next((each for each in list_salvages() if each["name"] == name), None)
    if known is None:
        raise NotFound(f"there is no salvage {name!r}", fix="gaia env restore lists them.")
    project = Project.objects.get(name=known["project"])
    target = into or _origin(project, name)
    archive = settings.GAIA.home.salvage / f"{name}.tar"
    with project_lock(project.name):
        done = restore(target, project.hub, name, archive=archive if archive.exists() else None)
    with log.atomic():
        log.emit(
            "salvage.restored",
            subject=f"project/{project.name}",
            message=f"{name} was restored into {target}",
            into=str(target),
        )
    return {"into": str(target), **asdict(done)}


def _origin(project: Project, name: str) -> Path:
    """Where the work came from; a name is DIRECTORY-TIME, or DIRECTORY-TIME-NUMBER for one of the same second."""
    directory = name.rpartition("-")[0]
    for environment in Environment.objects.filter(project=project, state__in=ENVIRONMENT_ACTIVE):
        if environment.directory in {directory, directory.rpartition("-")[0]}:
            return Path(environment.path)
    raise NotFound(
        f"the environment {directory} is not there",
        fix="Make it again with gaia env setup, or name a checkout with --into.",
    )
