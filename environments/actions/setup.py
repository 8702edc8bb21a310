"""Asking for environments: everything that can be refused is refused here, before anything is touched."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from common.errors import Conflict, InvalidInput
from common.names import check_name
from common.redaction import mask_url
from environments.drivers.checkout import inspect
from environments.drivers.git import check_git
from environments.drivers.source import Source, resolve_source
from environments.models import Environment
from environments.states import ENVIRONMENT_ACTIVE, STAGE_PORT_OFFSETS
from processes.actions.nodes import ensure_node
from processes.actions.operations import request_operation
from processes.actions.ports import check_free
from processes.models import Operation
from projects.models import Project

MAX_COUNT = 100  # the qa ports begin 100 above the dev ports
_HIGHEST_PORT = 65535


@dataclass(frozen=True)
class Plan:
    """What a set-up is going to do; also what `--dry-run` prints."""

    project: str
    source: str
    root: str
    base_port: int
    environments: tuple[dict[str, Any], ...]

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "source": mask_url(self.source), "environments": list(self.environments)}


def plan_setup(
    *,
    source: str | None = None,
    project: str | None = None,
    count: int | None = None,
    root: str | None = None,
    base_port: int | None = None,
    cwd: Path | None = None,
) -> Plan:
    """Work out what a set-up would do, and refuse what cannot work.

    Args:
        source: path or URL; None means the registered project, else the repository one stands in.
        project: its name; None derives it from the source.
        count: how many environments; None means the configured number.
        root: directory for the checkouts; None means beside a local source, else the home's checkouts/.
        base_port: port of the first dev stage.
        cwd: where relative paths start.

    Raises: InvalidInput, NotFound, Conflict (a path that is not ours, a port with its holder), Unavailable.
    """
    check_git()
    wanted = settings.GAIA["environments.count"] if count is None else count
    if not 1 <= wanted <= MAX_COUNT:
        raise InvalidInput(
            f"{wanted} environments are not possible",
            meaning=f"A project has 1 to {MAX_COUNT}: the qa ports begin {MAX_COUNT} above the dev ports.",
            fix=f"Choose --count between 1 and {MAX_COUNT}; a second project can have as many again.",
            count=wanted,
        )
    known = _registered(project, source)
    if known is not None:
        name, text = known.name, known.source
        chosen_root = Path(root).expanduser().resolve() if root else Path(known.root)
        port = base_port or known.base_port
        _same_as_registered(known, chosen_root, port)
    else:
        found = resolve_source(source or ".", cwd or Path.cwd())
        name = check_name(project or found.name, what="project name")
        text = str(found.path or found.url)
        taken = Project.objects.filter(name=name).first()
        if taken is not None and taken.source != text:
            raise Conflict(
                f"project {name} already comes from {mask_url(taken.source)}",
                fix="Give this repository another name with --project.",
            )
        chosen_root = _root(root, found)
        port = base_port or (taken.base_port if taken else _free_base(wanted))
    environments = tuple(_planned(name, number, chosen_root, port) for number in range(1, wanted + 1))
    _check_ports(name, environments, port)
    return Plan(name, text, str(chosen_root), port, environments)


def request_setup(plan: Plan, *, idempotency_key: str | None = None, detached: bool = True) -> Operation:
    """Ask for what the plan says, as a long operation; one at a time per project."""
    return request_operation(
        "environments.setup",
        f"Set-up of {len(plan.environments)} environments of {plan.project}",
        subject=f"project/{plan.project}",
        params={
            "project": plan.project,
            "source": plan.source,
            "root": plan.root,
            "base_port": plan.base_port,
            "count": len(plan.environments),
        },
        idempotency_key=idempotency_key,
        detached=detached,
    )


def request_clean(project: Project, names: list[str] | None = None, *, detached: bool = True) -> Operation:
    """Ask for the removal of environments; all unpushed work is salvaged first.

    Args:
        names: which of the project's (dev1 …); None means all.

    Raises: InvalidInput when a name is not one of its environments; Conflict when another operation is at it.
    """
    live = list(Environment.objects.filter(project=project, state__in=ENVIRONMENT_ACTIVE))
    have = {environment.name: environment for environment in live} | {each.directory: each for each in live}
    unknown = [name for name in names or [] if name not in have]
    if unknown:
        raise InvalidInput(
            f"{project.name} has no environment {', '.join(unknown)}",
            fix="It has " + (", ".join(each.name for each in live) or "none") + ".",
        )
    chosen = sorted({have[name].name for name in names}) if names else [each.name for each in live]
    return request_operation(
        "environments.clean",
        f"Removal of {len(chosen)} environments of {project.name}",
        subject=f"project/{project.name}",
        params={"project": project.name, "names": chosen},
        detached=detached,
    )


def _registered(project: str | None, source: str | None) -> Project | None:
    """Without a source, the project named, or the only one there is."""
    if source is not None:
        return None
    if project:
        return Project.objects.filter(name=project).first()
    projects = list(Project.objects.all()[:2])
    return projects[0] if len(projects) == 1 else None


def _same_as_registered(known: Project, root: Path, port: int) -> None:
    live = Environment.objects.filter(project=known, state__in=ENVIRONMENT_ACTIVE).exists()
    if live and (Path(known.root) != root or known.base_port != port):
        raise Conflict(
            f"the environments of {known.name} lie in {known.root} with ports from {known.base_port}",
            meaning="Moving them would leave running stages and sessions behind.",
            fix=f"Leave --root and --base-port away, or remove them first: gaia env clean --project {known.name}.",
        )


def _root(root: str | None, source: Source) -> Path:
    configured = root or settings.GAIA["environments.root"]
    if configured:
        return Path(configured).expanduser().resolve()
    return source.path.parent if source.path is not None else settings.GAIA.home.checkouts


def _free_base(count: int) -> int:
    """The configured base port, or the first block of 300 above it that no other project has."""
    base = int(settings.GAIA["environments.base_port"])
    taken = set(Project.objects.values_list("base_port", flat=True))
    while any(abs(base - other) < 3 * MAX_COUNT for other in taken) and base + 3 * MAX_COUNT + count < _HIGHEST_PORT:
        base += 3 * MAX_COUNT
    return base


def _planned(project: str, number: int, root: Path, base_port: int) -> dict[str, Any]:
    name = f"dev{number}"
    path = root / f"{project}-{name}"
    facts = inspect(path, f"env/{name}")
    if facts.exists and not facts.is_ours:
        raise Conflict(
            f"{path} exists and was not made by GAIA",
            meaning="GAIA never writes into a directory it did not make.",
            fix="Move it away, or choose another place with --root.",
            path=str(path),
        )
    return {
        "name": name,
        "path": str(path),
        "branch": f"env/{name}",
        "action": "check" if facts.exists else "create",
        "ports": {stage: base_port + offset + number - 1 for stage, offset in STAGE_PORT_OFFSETS.items()},
    }


def _check_ports(project: str, environments: tuple[dict[str, Any], ...], base_port: int) -> None:
    highest = max(port for each in environments for port in each["ports"].values())
    if base_port < 1024 or highest > _HIGHEST_PORT:
        raise InvalidInput(
            f"ports {base_port} to {highest} cannot be used",
            fix="Choose --base-port between 1024 and 65000.",
            port=base_port,
        )
    leased = set(ensure_node().port_leases.values_list("owner", flat=True))
    wanted = {
        owner: port
        for each in environments
        for stage, port in each["ports"].items()
        if (owner := f"environment/{project}-{each['name']}/{stage}") not in leased
    }
    check_free(ensure_node(), wanted)
