"""Services while GAIA itself is down: stopped with it, and started again with it."""

from __future__ import annotations

from collections.abc import Iterable

from events import log
from processes.models import Node
from services.actions.recording import move
from services.models import Service
from services.states import SERVICE_UP, Desired, ServiceState


def pause(node: Node, owners: Iterable[str]) -> list[Service]:
    """Write down that services stop because GAIA goes down: nobody wants them to stay down, so the next daemon starts
    them. For when no daemon runs and before their processes are ended.

    Args:
        owners: keys of the processes that are about to be ended.

    Returns: those that were up.
    """
    with log.atomic():
        up = Service.objects.select_related("node").filter(
            node=node, owner__in=list(owners), state__in=SERVICE_UP, desired=Desired.UP
        )
        return [service for service in up if _pause(service)]


def _pause(service: Service) -> bool:
    return move(
        service,
        ServiceState.STOPPED,
        kind="stopped",
        message=f"{service.sentence} was stopped with GAIA, and starts again with it",
        fields={"ready_at": None, "next_start_at": None, "problem": ""},
    )
