"""Registering projects."""

from __future__ import annotations

from pathlib import Path

from common.errors import Conflict, NotFound
from common.names import check_name
from common.redaction import mask_url
from events import log
from projects.models import Project


def register(name: str, source: str, *, root: Path, base_port: int) -> Project:
    """The project of that name, made when missing.

    Args:
        source: path or URL of the repository.
        root: directory its checkouts go to.
        base_port: port of the first environment's dev stage.

    Raises: InvalidInput for a bad name; Conflict when the name belongs to another source.
    """
    check_name(name, what="project name")
    known = Project.objects.filter(name=name).first()
    if known is not None:
        if known.source != source:
            raise Conflict(
                f"project {name} already comes from {mask_url(known.source)}",
                fix="Give the other repository another name with --project.",
            )
        return known
    with log.atomic():
        project = Project.objects.create(name=name, source=source, root=str(root), base_port=base_port)
        log.emit(
            "project.registered", subject=f"project/{name}", message=f"Project {name} was registered from {source}"
        )
    return project


def record_default_branch(project: Project, branch: str) -> None:
    """What the hub says the project's main line is."""
    if project.default_branch == branch:
        return
    with log.atomic():
        Project.objects.filter(pk=project.pk).update(default_branch=branch)
        log.emit(
            "project.default_branch_changed",
            subject=f"project/{project.name}",
            message=f"The default branch of {project.name} is {branch}",
        )
    project.default_branch = branch


def find(name: str | None) -> Project:
    """The project named, or the only one there is.

    Raises: NotFound that lists what there is.
    """
    names = list(Project.objects.values_list("name", flat=True))
    if name is None and len(names) == 1:
        name = names[0]
    project = Project.objects.filter(name=name).first() if name else None
    if project is None:
        have = f"Projects: {', '.join(names)}." if names else "There is none yet."
        raise NotFound(
            f"there is no project {name!r}" if name else "which project is meant is not clear",
            meaning=have,
            fix="Name it with --project." if names else "Make one: gaia env setup --source PATH-OR-URL.",
        )
    return project
