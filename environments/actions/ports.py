"""Ports of stages: who has which, which are free, and giving a stage another one."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from django.conf import settings

from common.errors import InvalidInput, Unavailable
from environments.actions import measured
from environments.actions.changing import restarted, while_stopped
from environments.actions.furnishing import furnish
from environments.actions.places import MAX_COUNT, free_base_port
from environments.actions.stages import notice_scripts
from environments.models import Layer, Stage
from environments.states import ENVIRONMENT_ACTIVE, STAGE_PORT_OFFSETS
from events import log
from processes.actions import ports as leases
from processes.actions.nodes import ensure_node
from processes.actions.operations import Progress, request_operation
from processes.actions.ports import Use
from processes.models import Operation, PortLease
from processes.states import PortState
from projects.models import Project

KIND = "environments.move"
LOWEST, HIGHEST = 1024, 65_535
MOST_FOUND = 100
_ORDER = list(PortState)  # conflicts first


def overview(owners: Collection[str] | None = None) -> list[dict[str, Any]]:
    """Every port that is handed out on this node, with its stage and who listens there; conflicts first.

    Args:
        owners: only the ports of these.
    """
    rows = list(PortLease.objects.filter(node=ensure_node()).order_by("port"))
    rows = rows if owners is None else [row for row in rows if row.owner in owners]
    stages = {
        stage.owner: stage
        for stage in Stage.objects.filter(environment__state__in=ENVIRONMENT_ACTIVE).select_related(
            "environment__project"
        )
    }
    found = leases.uses(rows)
    # a script may have launched it a moment ago, which the daemon learns within seconds
    unknown = [stages[use.lease.owner] for use in found if use.state == PortState.TAKEN and use.lease.owner in stages]
    noticed = [notice_scripts(stage) for stage in unknown]
    if any(noticed):
        found = leases.uses(rows)
    return [_described(use, stages.get(use.lease.owner)) for use in sorted(found, key=_place)]


def _place(use: Use) -> tuple[int, int]:
    return (0 if use.state == PortState.TAKEN else 1, use.lease.port)


def _described(use: Use, stage: Stage | None) -> dict[str, Any]:
    holder = use.holder
    taken = use.state == PortState.TAKEN
    return {
        "port": use.lease.port,
        "owner": use.lease.owner,
        "environment": stage.environment.directory if stage else None,
        "stage": stage.name if stage else None,
        "url": stage.url if stage else None,
        "state": str(use.state),
        "pid": holder.pid if holder else None,
        "command": (holder.line or holder.command) if holder else "",
        "user": holder.user if holder else "",
        "hidden": holder is not None and holder.pid is None,
        "move": move_command(stage) if stage and taken else "",
        "leased_at": use.lease.leased_at.isoformat(),
    }


def move_command(stage: Stage) -> str:
    """What to type to give a stage another port."""
    return f"gaia ports move {stage.environment.directory} {stage.name}"


def find(count: int = 1) -> dict[str, Any]:
    """Free ports that no environment will ask for, and the first of a free block for a new project.

    Args:
        count: how many, 1 to 100.

    Returns: `{ports, base_port}`. Raises: InvalidInput for another count; Unavailable when there are not so many.
    """
    if not 1 <= count <= MOST_FOUND:
        raise InvalidInput(f"{count} ports cannot be looked for", fix=f"Ask for 1 to {MOST_FOUND}.")
    found = leases.free_ports(ensure_node(), beside_projects(), count)
    if len(found) < count:
        raise Unavailable(
            f"only {len(found)} ports are free", fix="Ask for fewer, or set environments.base_port lower."
        )
    return {"ports": found, "base_port": free_base_port(int(settings.GAIA["environments.count"]), unused=True)}


def beside_projects() -> Iterator[int]:
    """Ports from the configured base up that belong to no project's block and to no layer."""
    bases = list(Project.objects.values_list("base_port", flat=True))
    taken = [range(base, base + 3 * MAX_COUNT) for base in bases]
    taken += [layer.ports for layer in Layer.objects.all() if layer.ports]
    for port in range(int(settings.GAIA["environments.base_port"]), HIGHEST + 1):
        if not any(port in each for each in taken):
            yield port


def proposal(stage: Stage) -> int:
    """A free port for a stage, out of the way of environments to come. Raises: Unavailable when there is none.

    Of its layer's range where that has one; else from the end of its own hundred, which is the last one's that a
    project could have; else beside all projects.
    """
    layer = stage.environment.layer
    if layer.ports is not None:
        within = leases.free_ports(ensure_node(), layer.ports)
        if within:
            return within[0]
        raise Unavailable(
            f"there is no free port from {layer.first_port} to {layer.last_port} for {stage.called}",
            fix=f"Give layer {layer.name} more (gaia layer change {layer.name} --ports), or name one with --to.",
        )
    first = stage.environment.project.base_port + STAGE_PORT_OFFSETS[stage.name]
    own = (port for port in range(first + MAX_COUNT - 1, first - 1, -1) if LOWEST <= port <= HIGHEST)
    node = ensure_node()
    found = leases.free_ports(node, own) or leases.free_ports(node, beside_projects())
    if not found:
        raise Unavailable(f"there is no free port for {stage.called}", fix="Name one with --to.")
    return found[0]


def move(stage: Stage, port: int | None = None) -> bool:
    """Give a stage another port: lease and row in one transaction, then the files in its checkout.

    Killed in between, the next launch or set-up brings the files into agreement with the row.

    Args:
        port: 1024 to 65535; None means one that is proposed.

    Returns: False when it has that port already.
    Raises: Conflict when the stage runs, or somebody holds the port; InvalidInput for a number that is no port.
    """
    if port == stage.port:
        return False
    chosen = choose(stage, port)
    environment, before = stage.environment, stage.port
    with while_stopped(environment, [stage], verb=f"{move_command(stage)}{f' --to {port}' if port else ''}"):
        with log.atomic():
            leases.move_lease(ensure_node(), stage.owner, before=before, port=chosen)
            Stage.objects.filter(pk=stage.pk).update(port=chosen)
            log.emit(
                "stage.moved",
                subject=stage.owner,
                message=f"{stage.called[0].upper()}{stage.called[1:]} has moved from port {before} to {chosen}",
                before=before,
                port=chosen,
            )
        stage.port = chosen
        furnish(environment)
    measured.export()
    return True


def choose(stage: Stage, port: int | None) -> int:
    """The port a stage is to have: that one if it can be had, else the proposal. Raises: as `move`."""
    if port is None:
        return proposal(stage)
    if not LOWEST <= port <= HIGHEST:
        raise InvalidInput(
            f"port {port} cannot be used",
            meaning=f"GAIA hands out ports from {LOWEST} to {HIGHEST}.",
            fix="Leave it away to have one chosen.",
            port=port,
        )
    leases.check_available(ensure_node(), port, fix="Choose another one, or none to have one chosen.")
    return port


def request_move(
    stage: Stage, port: int | None = None, *, idempotency_key: str | None = None, detached: bool = True
) -> Operation:
    """Ask for `move` with the stage being stopped before and started after it.

    Raises: as `move`, before anything is stopped; Conflict when another operation works on the environment.
    """
    if port is not None and port != stage.port:
        choose(stage, port)
    return request_operation(
        KIND,
        f"Move of {stage.called} to {f'port {port}' if port else 'another port'}",
        subject=stage.environment.key,
        params={"stage": stage.pk, "port": port},
        idempotency_key=idempotency_key,
        detached=detached,
    )


def operate(progress: Progress, *, stage: int, port: int | None) -> dict[str, Any]:
    """The operation: stop the stage if it runs, move it, start it again."""
    told = restarted(progress, [stage], lambda chosen: _move_one(chosen[0], port))
    [now] = told["stages"]
    progress(1, 1, f"{now['environment']} {now['name']} is on port {now['port']}")
    return told


def _move_one(stage: Stage, port: int | None) -> None:
    move(stage, port)
