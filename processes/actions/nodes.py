"""Nodes and their daemon's presence."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from datetime import datetime

from django.utils import timezone

from common.files import write_atomic
from common.home import gaia_home
from common.locks import lock_held
from common.names import slugify
from events import log
from processes.drivers.liveness import boot_id
from processes.models import Node


def node_name() -> str:
    """This node's name: `$GAIA_NODE`, else the host name at the first start.

    A later host name changes nothing: what runs on the node and its ports would otherwise be nobody's any more. A
    container has another one each time it is made anew.
    """
    chosen = slugify(os.environ.get("GAIA_NODE", ""))
    if chosen:
        return chosen
    path = gaia_home().data / "node"
    with suppress(OSError):
        known = slugify(path.read_text(encoding="utf-8"))
        if known:
            return known
    name = slugify(platform.node()) or "node"
    with suppress(OSError):  # a full disk: the next one writes it down
        write_atomic(path, name)
    return name


def daemon_runs() -> bool:
    """Whether this home's daemon is alive: it holds its lock for as long as it lives."""
    return lock_held(gaia_home().run / "node.lock")


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


def record_adoption(node: Node, *, adopted: int, ended: int) -> None:
    """A daemon that was started anew has looked at every process that its predecessor left."""
    with log.atomic():
        log.emit(
            "node.adopted",
            subject=f"node/{node.name}",
            message=f"{adopted} running processes were adopted, {ended} had ended meanwhile",
            adopted=adopted,
            ended=ended,
        )


def daemon_stopped(node: Node, pid: int) -> None:
    """The daemon ends in order; a killed one never gets here."""
    with log.atomic():
        if Node.objects.filter(pk=node.pk, daemon_pid=pid).update(daemon_pid=None):
            log.emit("node.stopped", subject=f"node/{node.name}", message=f"The daemon of {node.name} ended")


def heartbeat(node: Node, now: datetime) -> None:
    """The daemon is alive; no event, or the log would hold nothing else."""
    Node.objects.filter(pk=node.pk).update(heartbeat_at=now)
