"""Asking for environments: everything that can be refused is refused here, before anything is touched."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Max

from common.errors import Conflict, InvalidInput, NotFound
from environments.actions.places import (
    MAX_COUNT,
    anchored,
    check_ports,
    check_root,
    configured_root,
    free_base_port,
    ports_of,
)
from environments.actions.sources import choose_project
from environments.drivers.checkout import inspect
from environments.drivers.git import check_git
from environments.models import Environment, Stage
from environments.states import ENVIRONMENT_ACTIVE, STAGE_PORT_OFFSETS
from environments.wording import so_many
from processes.actions.operations import check_key, request_operation
from processes.models import Operation
from projects.models import Project

__all__ = ["MAX_COUNT", "Plan", "lay_out", "plan_setup", "request_clean", "request_setup", "requested_before"]

_SETUP = "environments.setup"
_LONGEST_PATH = 900


@dataclass(frozen=True)
class Plan:
    """What a set-up is going to do; also what `--dry-run` prints.

    Args:
        environments: `{name, path, branch, action, ports}` of each; action is `create` or `check`.
        others: names of the project's environments beyond the count, which are left as they are.
    """

    project: str
    source: str
    root: str
    base_port: int
    environments: tuple[dict[str, Any], ...]
    others: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The plan as JSON-ready data."""
        return {**asdict(self), "environments": list(self.environments), "others": list(self.others)}


def plan_setup(
    *,
    source: str | None = None,
    project: str | None = None,
    count: int | None = None,
    root: str | None = None,
    base_port: int | None = None,
    cwd: Path | None = None,
) -> Plan:
    """Work out what a set-up would do, and refuse what cannot work; writes nothing.

    Args:
        source: path or URL; None means the registered project, else the repository one stands in.
        project: its name; None means the one registered for the source, else a name made from it.
        count: how many environments; None means as many as the project was last asked to have, or has if that is more,
            and for a new one the configured number.
        root: directory for the checkouts; None means beside a local source, else the home's checkouts/.
        base_port: port of the first dev stage.
        cwd: where the person stands; None when they stand nowhere, as in the API: paths must be absolute then.

    Raises: InvalidInput, NotFound, Refused, Conflict (a path that is not ours, a port with its holder), Unavailable.
    """
    check_git()
    _check_count(count)
    if any(len(text or "") > _LONGEST_PATH for text in (source, root)):
        raise InvalidInput(f"a path or address has more than {_LONGEST_PATH} characters", fix="Use a shorter one.")
    try:
        choice = choose_project(source, project, cwd)
        known = choice.known
        chosen_root = anchored(root, cwd) if root else Path(known.root) if known else configured_root(choice.directory)
        wanted = count or (known and _usual_count(known)) or int(settings.GAIA["environments.count"])
        if base_port is None:
            base_port = known.base_port if known else free_base_port(wanted)
        return lay_out(project=choice.name, source=choice.source, root=chosen_root, base_port=base_port, count=wanted)
    except OSError as error:  # a name that the file system refuses, a disk that does not answer
        raise InvalidInput(
            f"{error.filename or source or root} cannot be used: {error.strerror}", fix="Choose another path."
        ) from error


def lay_out(
    *, project: str, source: str, root: Path, base_port: int, count: int, numbers: Collection[int] | None = None
) -> Plan:
    """The plan for a project whose source is known; refuses what cannot work and writes nothing.

    Args:
        source: absolute path or URL.
        numbers: only these of 1 to `count`; those that have been removed get the ports they had.

    Raises: InvalidInput, Refused; Conflict for another source, other places, a path or port that is somebody else's.
    """
    _check_count(count)
    known = Project.objects.filter(name=project).first()
    live = list(Environment.objects.filter(project=known, state__in=ENVIRONMENT_ACTIVE)) if known else []
    if known is not None:
        _check_same(known, source, root, base_port, moves=not live)
    hub = (known or Project(name=project)).hub
    own = _own_ports(live if numbers is None else [*live, *_past_lives(known, live)])
    wanted = [number for number in range(1, count + 1) if numbers is None or number in numbers]
    planned = tuple(_planned(project, number, root, base_port, hub, own) for number in wanted)
    check_root(root, source, project=project, writes=any(each["action"] == "create" for each in planned))
    check_ports(ports_of(planned))
    others = tuple(each.name for each in live if each.number > count)
    return Plan(project, source, str(root), base_port, planned, others)


def request_setup(plan: Plan, *, idempotency_key: str | None = None, detached: bool = True) -> Operation:
    """Ask for what the plan says, as a long operation; one at a time per project.

    Raises: Conflict when another one works on the project; InvalidInput for a key that is too long.
    """
    return requested_before(idempotency_key) or request_operation(
        _SETUP,
        f"Set-up of {so_many(len(plan.environments))} of {plan.project}",
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


def requested_before(idempotency_key: str | None) -> Operation | None:
    """The operation that an earlier request with the same key has started. Raises: InvalidInput for a bad key."""
    if not idempotency_key:
        return None
    check_key(idempotency_key)
    return Operation.objects.filter(idempotency_key=idempotency_key).first()


def request_clean(
    project: Project, names: list[str] | None = None, *, idempotency_key: str | None = None, detached: bool = True
) -> Operation:
    """Ask for the removal of environments; all unpushed work is salvaged first.

    Args:
        names: which of the project's (dev1, demo-dev1 …); None means all.

    Raises: NotFound when a name is not one of its environments; Conflict when another operation is at it.
    """
    chosen = chosen_environments(project, names)
    return requested_before(idempotency_key) or request_operation(
        "environments.clean",
        f"Removal of {so_many(len(chosen))} of {project.name}",
        subject=f"project/{project.name}",
        params={"project": project.name, "names": [each.name for each in chosen]},
        idempotency_key=idempotency_key,
        detached=detached,
    )


def chosen_environments(project: Project, names: list[str] | None = None) -> list[Environment]:
    """A project's live environments of these names, in their order; all of them without names.

    Raises: NotFound that lists what there is.
    """
    live = list(Environment.objects.filter(project=project, state__in=ENVIRONMENT_ACTIVE).order_by("number"))
    if names is None:
        return live
    unknown = [name for name in names if not any(name in {each.name, each.directory} for each in live)]
    if unknown:
        raise NotFound(
            f"{project.name} has no environment {', '.join(unknown)}",
            fix="It has " + (", ".join(each.name for each in live) or "none") + ".",
        )
    return [each for each in live if {each.name, each.directory} & set(names)]


def _check_count(count: int | None) -> None:
    if count is not None and not 1 <= count <= MAX_COUNT:
        raise InvalidInput(
            f"{count} environments are not possible",
            meaning=f"A project has 1 to {MAX_COUNT}: the qa ports begin {MAX_COUNT} above the dev ports.",
            fix=f"Choose --count between 1 and {MAX_COUNT}; a second project can have as many again.",
            count=count,
        )


def _usual_count(project: Project) -> int:
    """How many environments were asked for last, or how many there are if that is more; 0 when nobody ever did."""
    asked = Operation.objects.filter(kind=_SETUP, subject=f"project/{project.name}").order_by("-id").first()
    live = Environment.objects.filter(project=project, state__in=ENVIRONMENT_ACTIVE)
    highest = live.aggregate(highest=Max("number"))["highest"] or 0
    return max(int(asked.params.get("count", 0)) if asked else 0, highest)


def _check_same(known: Project, source: str, root: Path, port: int, *, moves: bool) -> None:
    if known.source != source:
        raise Conflict(
            f"project {known.name} already comes from {known.source}",
            fix="Give this repository another name with --project.",
        )
    if not moves and (Path(known.root) != root or known.base_port != port):
        raise Conflict(
            f"the environments of {known.name} lie in {known.root} with ports from {known.base_port}",
            meaning="Moving them would leave running stages and sessions behind.",
            fix=f"Leave --root and --base-port away, or remove them first: gaia env clean --project {known.name}.",
        )


def _own_ports(live: list[Environment]) -> dict[str, dict[str, int]]:
    """Ports that stages have, some perhaps moved to, by name of environment and of stage: they keep them."""
    own: dict[str, dict[str, int]] = {}
    for stage in Stage.objects.filter(environment__in=live).select_related("environment"):
        own.setdefault(stage.environment.name, {})[stage.name] = stage.port
    return own


def _past_lives(project: Project | None, live: list[Environment]) -> list[Environment]:
    """The last lives of a project's environments that have been removed."""
    removed = Environment.objects.filter(project=project).exclude(state__in=ENVIRONMENT_ACTIVE).order_by("id")
    newest = {environment.name: environment for environment in removed}
    return [environment for name, environment in newest.items() if name not in {each.name for each in live}]


def _planned(
    project: str, number: int, root: Path, base_port: int, hub: Path, own: dict[str, dict[str, int]]
) -> dict[str, Any]:
    name = f"dev{number}"
    path = root / f"{project}-{name}"
    facts = inspect(path)
    if facts.exists and not facts.is_ours:
        raise Conflict(
            f"{path} exists and was not made by GAIA",
            meaning="GAIA never writes into a directory it did not make.",
            fix="Move it away, or choose another place with --root.",
            path=str(path),
        )
    if facts.is_ours and Path(facts.hub) != hub and Path(facts.hub).exists():
        raise Conflict(
            f"{path} belongs to another GAIA or project",
            meaning=f"It is a checkout of {facts.hub}.",
            fix="Choose another place with --root, or another name with --project.",
            path=str(path),
        )
    return {
        "name": name,
        "path": str(path),
        "branch": f"env/{name}",
        "action": "check" if facts.exists else "create",
        "ports": {
            stage: own.get(name, {}).get(stage, base_port + offset + number - 1)
            for stage, offset in STAGE_PORT_OFFSETS.items()
        },
    }
