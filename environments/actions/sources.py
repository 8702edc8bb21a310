"""Which project and which source somebody means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from common.errors import Conflict, GaiaError, InvalidInput, NotFound
from common.names import check_name
from common.redaction import mask_url
from environments.actions.places import anchored
from environments.drivers.source import Source, resolve_source
from environments.models import Environment
from environments.states import ENVIRONMENT_ACTIVE
from projects.models import Project

_SECRET_WORDS = ("token", "password", "passwd", "secret", "key", "auth")


@dataclass(frozen=True)
class Choice:
    """Which project is meant.

    Args:
        known: its row when it is registered.
        name: its name.
        source: absolute path or URL, without credentials.
        directory: the source's, when it was looked at and is on this machine.
    """

    known: Project | None
    name: str
    source: str
    directory: Path | None = None


def choose_project(source: str | None, project: str | None, cwd: Path | None) -> Choice:
    """Find out which project somebody means, and look at its source when it is not registered.

    Args:
        source: path or URL as typed; None means the registered project, else the repository one stands in.
        project: its name; None means the one registered for the source, else a name made from it.
        cwd: where the person stands; None when they stand nowhere, as in the API.

    Raises: InvalidInput (a bad name, no repository, no commits, credentials), NotFound, Refused, Conflict, GitError.
    """
    if project is not None:
        check_name(project, what="project name")
    if source is None:
        known = _registered(project)
        if known is None and cwd is not None:
            found = _stood_in(cwd)
            known = _of_place(found.path) if project is None else None
        elif known is None:
            raise _unclear(project)
        if known is not None:
            return Choice(known, known.name, known.source)
    else:
        _refuse_credentials(source)
        found = resolve_source(_typed(source, cwd), cwd or Path("/"))
    text = str(found.path or found.url)
    name = project or _name_for(text, found)
    return Choice(Project.objects.filter(name=name).first(), name, text, found.path)


def stood_beside(project: str, cwd: Path) -> Path | None:
    """The repository somebody stands in, when it is none of that project's: it may be the one they mean.

    Args:
        project: the registered one that was chosen because no other was named.
    """
    try:
        found = resolve_source(".", cwd).path
    except GaiaError:  # no repository, or one that could not be a source
        return None
    known = Project.objects.filter(name=project).first()
    if known is None or found is None or str(found) == known.source or _of_place(found) is not None:
        return None
    return found


def _registered(project: str | None) -> Project | None:
    """The project named, or the only one there is."""
    if project is not None:
        return Project.objects.filter(name=project).first()
    # one whose environments were all removed is only a memory: it does not stand in the way of the other
    projects = list(Project.objects.filter(environments__state__in=ENVIRONMENT_ACTIVE).distinct()[:2])
    projects = projects or list(Project.objects.all()[:2])
    return projects[0] if len(projects) == 1 else None


def _stood_in(cwd: Path) -> Source:
    try:
        return resolve_source(".", cwd)
    except InvalidInput as error:
        error.fix = f"Go into a repository or name one with --source PATH-OR-URL, or make one here.\n{error.fix}"
        raise


def _of_place(place: Path | None) -> Project | None:
    """The project in one of whose environments somebody stands."""
    environment = Environment.objects.filter(path=str(place), state__in=ENVIRONMENT_ACTIVE).first()
    return environment.project if environment else None


def _unclear(project: str | None) -> InvalidInput | NotFound:
    names = ", ".join(Project.objects.values_list("name", flat=True))
    meaning, fix = (
        f"Registered: {names}." if names else "Nothing is registered yet.",
        "Say its path or URL as the source.",
    )
    if project:
        return NotFound(f"there is no project {project!r}", meaning=meaning, fix=fix)
    return InvalidInput("which repository is meant is not clear", meaning=meaning, fix=fix)


def _name_for(source: str, found: Source) -> str:
    """The name under which the source is registered, else one made from it.

    Raises: Conflict when it is registered under several, none of which is that.
    """
    names = list(Project.objects.filter(source=source).values_list("name", flat=True))
    if not names or found.name in names:
        return check_name(found.name, what="project name")
    if len(names) > 1:
        raise Conflict(f"{source} is registered as {' and as '.join(names)}", fix="Say which with --project.")
    return names[0]


def _refuse_credentials(source: str) -> None:
    """A secret in an address would end up in rows, logs and the list of processes."""
    secrets = False
    if "://" in source:
        try:
            query = urlsplit(source.strip()).query
        except ValueError:  # not an address at all: resolving it says so
            query = ""
        secrets = any(word in name.lower() for name, _ in parse_qsl(query) for word in _SECRET_WORDS)
    if secrets or mask_url(source) != source:
        raise InvalidInput(
            "the address carries a password or token",
            meaning="GAIA keeps the address of a source, and no secrets: nothing was stored.",
            fix="Leave it out of the address and give it to git once: git credential approve, or your host's own "
            "helper; or use ssh (git@host:project.git). See docs/environments.md, private sources.",
        )


def _typed(source: str, cwd: Path | None) -> str:
    """A source as somebody typed it. Raises: InvalidInput for a relative path of somebody who stands nowhere."""
    text = source.strip()
    if cwd is None and not text.startswith(("/", "~", "-")) and ":" not in text.split("/")[0]:
        anchored(text, None)
    return text
