"""Which ports the stages of an environment have in a layer."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from django.conf import settings

from common.errors import Conflict, Unavailable
from environments.actions import ports
from environments.models import Layer, Stage
from environments.states import STAGE_PORT_OFFSETS
from processes.actions import ports as leases
from processes.actions.nodes import ensure_node
from processes.models import PortLease


def moves_of(chosen: list[Stage], layer: Layer) -> list[tuple[Stage, int]]:
    """The stages that do not have a port of the layer, each with one that is free.

    Raises: Conflict when the layer's range is too small; Unavailable when no port is free at all.
    """
    leaving = [stage for stage in chosen if not fits(stage.port, layer)]
    if not leaving:
        return []
    if layer.ports is None:
        return _own_ports(leaving)
    console = int(settings.GAIA["server.port"])
    found = leases.free_ports(ensure_node(), (port for port in layer.ports if port != console), len(leaving))
    if len(found) < len(leaving):
        raise _too_small(layer, leaving, found)
    return list(zip(leaving, found, strict=True))


def fits(port: int, layer: Layer) -> bool:
    """Whether a stage of that layer may have this port: of its range, or of no other layer's where it has none."""
    if layer.ports is not None:
        return port in layer.ports
    return not any(other.ports and port in other.ports for other in Layer.objects.exclude(pk=layer.pk))


def _own_ports(leaving: list[Stage]) -> list[tuple[Stage, int]]:
    """The ports that set-up gave them, where they are free; else such as `gaia ports move` would propose."""
    node, taken, moves = ensure_node(), set[int](), []
    for stage in leaving:
        found = leases.free_ports(node, (port for port in _candidates(stage) if port not in taken))
        if not found:
            raise Unavailable(f"there is no free port for {stage.called}", fix="Look who has them: gaia ports list")
        taken.add(found[0])
        moves.append((stage, found[0]))
    return moves


def _candidates(stage: Stage) -> Iterator[int]:
    first = stage.environment.project.base_port + STAGE_PORT_OFFSETS[stage.name]
    return chain([first + stage.environment.number - 1], [ports.proposal(stage)], ports.beside_projects())


def _too_small(layer: Layer, leaving: list[Stage], found: list[int]) -> Conflict:
    held = PortLease.objects.filter(node=ensure_node(), port__range=(layer.first_port, layer.last_port))
    owners = ", ".join(sorted({lease.owner.removeprefix("environment/").rpartition("/")[0] for lease in held}))
    wider = _wider(layer, len(leaving) - len(found))
    return Conflict(
        f"layer {layer.name} has {len(found)} free ports from {layer.first_port} to {layer.last_port}, and "
        f"{leaving[0].environment.directory} needs {len(leaving)}",
        meaning=f"{held.count()} are leased to {owners}." if owners else "Other programs listen there.",
        fix=f"Give it more: gaia layer change {layer.name} --ports {wider}",
        free=found,
    )


def _wider(layer: Layer, missing: int) -> str:
    """A range with room for what is missing and then some."""
    return f"{layer.first_port}-{(layer.last_port or 0) + max(15, missing)}"
