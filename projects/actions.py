"""Registering projects."""

from __future__ import annotations

from pathlib import Path

from django.db import IntegrityError

from common.errors import Conflict, NotFound
from common.names import check_name
from common.redaction import mask_url
from events import log
from projects.models import Project


def register(name: str, source: str, *, root: Path, base_port: int) -> Project:
    """The project of that name, made when missing.

    Args:
        source: path or URL of the repository, without credentials.
        root: directory its checkouts go to; a known project moves there, so it must have no environment elsewhere.
        base_port: port of the first environment's dev stage; likewise.

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
        _move(known, str(root), base_port)
        return known
    try:
        with log.atomic():
            project = Project.objects.create(name=name, source=source, root=str(root), base_port=base_port)
            log.emit(
                "project.registered", subject=f"project/{name}", message=f"Project {name} was registered from {source}"
            )
    except IntegrityError:  # somebody else was faster: the same, or a conflict
        return register(name, source, root=root, base_port=base_port)
    return project


def _move(project: Project, root: str, base_port: int) -> None:
    if (project.root, project.base_port) == (root, base_port):
        return
    with log.atomic():
        Project.objects.filter(pk=project.pk).update(root=root, base_port=base_port)
        log.emit(
            "project.moved",
            subject=f"project/{project.name}",
            message=f"Environments of {project.name} go to {root}, with ports from {base_port}",
        )
    project.root, project.base_port = root, base_port


def record_default_branch(project: Project, branch: str) -> None:
    """What the hub says the project's main line is."""
    with log.atomic():
        changed = Project.objects.filter(pk=project.pk).exclude(default_branch=branch).update(default_branch=branch)
        if changed:
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
    projects = {project.name: project for project in Project.objects.all()}
    if name is None and len(projects) == 1:
        return next(iter(projects.values()))
    if name in projects:
        return projects[name]
    if not projects:
        raise NotFound("there is no project yet", fix="Make one: gaia env setup --source PATH-OR-URL.")
    raise NotFound(
        f"there is no project {name!r}" if name is not None else "there are several projects",
        meaning=f"Projects: {', '.join(projects)}.",
        fix="Name one with --project.",
    )
