"""Nodes and their daemon's presence."""

from __future__ import annotations

import os
import platform
from datetime import datetime

from django.utils import timezone

from common.names import slugify
from events import log
from processes.drivers.liveness import boot_id
from processes.models import Node


def node_name() -> str:
    """This host's name as GAIA uses it: `$GAIA_NODE`, else the host name."""
    return slugify(os.environ.get("GAIA_NODE") or platform.node()) or "node"


def ensure_node() -> Node:
    """The row of this host, made when missing."""
    name = node_name()
    node = Node.objects.filter(name=name).first()
    if node is not None:
        return node
    with log.atomic():
        node, created = Node.objects.get_or_create(name=name)
        if created:
            log.emit("node.registered", subject=f"node/{name}", message=f"Node {name} was registered")
    return node


def daemon_started(node: Node, pid: int) -> None:
    """The daemon of this node runs now."""
    now = timezone.now()
    with log.atomic():
        Node.objects.filter(pk=node.pk).update(
            daemon_pid=pid, daemon_started_at=now, heartbeat_at=now, boot_id=boot_id()
        )
        log.emit(
            "node.started", subject=f"node/{node.name}", message=f"The daemon of {node.name} runs as pid {pid}", pid=pid
        )


def daemon_stopped(node: Node, pid: int) -> None:
    """The daemon ends in order; a killed one never gets here."""
    with log.atomic():
        if Node.objects.filter(pk=node.pk, daemon_pid=pid).update(daemon_pid=None):
            log.emit("node.stopped", subject=f"node/{node.name}", message=f"The daemon of {node.name} ended")


def heartbeat(node: Node, now: datetime) -> None:
    """The daemon is alive; no event, or the log would hold nothing else."""
    Node.objects.filter(pk=node.pk).update(heartbeat_at=now)
