"""What the node daemon runs besides processes: who keeps services up, and every room's reconcilers."""

from __future__ import annotations

from environments import reconcile as environments
from events.notifications.notifier import Notifier
from gaia_site import parts
from gaia_site.systemd import Announcer
from processes.daemon import Loop
from processes.models import Node
from processes.rotation import Rotation
from services.actions.registry import Export
from services.history import forget_old
from services.states import ServiceState
from services.supervisor import Supervisor
from sessions import reconcile as sessions
from sessions.others import Lookout


def loops(node: Node) -> list[Loop]:
    """Everything the daemon repeats, each in a thread of its own."""
    found = [
        Loop("sessions", 1.0, sessions.look),
        Loop("sessions of others", 1.5, Lookout().look),
        Loop("stages", 1.0, lambda: environments.look_at_stages(node)),
        Loop("git", 5.0, environments.look_at_git),
        Loop("logs", 10.0, Rotation(node).turn),
        Loop("registry of services", 5.0, Export().turn),
        Loop("history of probes", 3600.0, forget_old),
        Loop("notifications", 1.0, Notifier().turn),
    ]
    announcer = Announcer(lambda: _is_up(node), lambda: parts.status_line(parts.rows(node)))
    return [*found, Loop("systemd", 10.0, announcer.turn, on_change=True)] if announcer.spoken_to else found


def keeper(node: Node) -> Supervisor:
    """Who keeps services up; works in the thread of the processes' reconciler."""
    return Supervisor(node)


def _is_up(node: Node) -> bool:
    """Whether the console and the job queue run."""
    rows = parts.rows(node)
    return bool(rows) and all(row.state == ServiceState.RUNNING for row in rows)
