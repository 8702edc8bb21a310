"""What the node daemon runs besides processes: who keeps services up, and every room's reconcilers."""

from __future__ import annotations

import functools

from environments import reconcile as environments
from events.notifications.notifier import Notifier
from gaia_site import canary_probe, parts
from gaia_site.systemd import Announcer
from processes.daemon import Loop
from processes.disk import DiskWatch
from processes.models import Node
from processes.rotation import Rotation
from processes.samples import Sampler
from services.actions.former_secrets import forget_gone
from services.actions.registry import Export
from services.asking import KINDS
from services.history import forget_old
from services.probing import Prober
from services.states import ProbeKind, ServiceState
from services.supervisor import Supervisor
from sessions import reconcile as sessions
from sessions.actions.panic import keep_still
from sessions.others import Lookout


def loops(node: Node) -> list[Loop]:
    """Everything the daemon repeats, each in a thread of its own."""
    found = [
        Loop("sessions", 1.0, sessions.look),
        Loop("sessions of others", 1.5, Lookout().look),
        Loop("panic", 2.0, keep_still),
        Loop("stages", 1.0, lambda: environments.look_at_stages(node)),
        Loop("git", 5.0, environments.look_at_git),
        Loop("probes", 2.0, prober(node).turn, on_change=True),
        Loop("samples", 1.0, Sampler(node).turn),
        Loop("logs", 2.0, Rotation(node).turn),
        Loop("disk", 2.0, DiskWatch(node).turn),
        Loop("registry of services", 5.0, Export().turn),
        Loop("history of probes", 3600.0, forget_old),
        Loop("former secrets", 3600.0, forget_gone),
        Loop("notifications", 2.0, Notifier().turn, on_change=True),
    ]
    announcer = Announcer(lambda: _is_up(node), lambda: parts.status_line(parts.rows(node)))
    return [*found, Loop("systemd", 10.0, announcer.turn, on_change=True)] if announcer.spoken_to else found


def keeper(node: Node) -> Supervisor:
    """Who keeps services up; works in the thread of the processes' reconciler."""
    return Supervisor(node, health=prober(node).health)


@functools.cache
def prober(node: Node) -> Prober:
    """Who asks services how they are; one for whoever has it ask and whoever hears the answers."""
    return Prober(node, kinds={**KINDS, ProbeKind.CANARY: canary_probe.kind})


def _is_up(node: Node) -> bool:
    """Whether the console and the job queue run."""
    rows = parts.rows(node)
    return bool(rows) and all(row.state == ServiceState.RUNNING for row in rows)
