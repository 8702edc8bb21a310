"""What the node daemon runs besides processes: GAIA's own web and jobs, and every room's reconcilers."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings

from common.errors import Conflict
from environments import reconcile as environments
from events.notifications.notifier import Notifier
from processes.actions.harvest import is_alive
from processes.actions.processes import request_start
from processes.daemon import Loop
from processes.models import Node, Process
from processes.rotation import Rotation
from processes.states import EnvironmentBase
from services.supervisor import Supervisor
from sessions import reconcile as sessions
from sessions.others import Lookout

WEB = "gaia/web"
JOBS = "gaia/jobs"
_STEADY = timedelta(seconds=60)  # a process that lived this long starts counting its failures anew
_LONGEST_WAIT_S = 60.0
_REMEMBERED = 10


def loops(node: Node) -> list[Loop]:
    """Everything the daemon repeats, each in a thread of its own."""
    return [
        Loop("platform", 0.5, Platform(node).keep, on_change=True),
        Loop("sessions", 1.0, sessions.look),
        Loop("sessions of others", 1.5, Lookout().look),
        Loop("stages", 1.0, lambda: environments.look_at_stages(node)),
        Loop("git", 5.0, environments.look_at_git),
        Loop("logs", 10.0, Rotation(node).turn),
        Loop("notifications", 1.0, Notifier().turn),
    ]


def keeper(node: Node) -> Supervisor:
    """Who keeps services up; works in the thread of the processes' reconciler."""
    return Supervisor(node)


@dataclass(frozen=True)
class Part:
    """One of GAIA's own processes."""

    owner: str
    title: str
    argv: tuple[str, ...]
    port: int | None
    role: str


def parts(port: int | None = None) -> tuple[Part, ...]:
    """The console and the jobs.

    Args:
        port: of the console, when another one than the settings' is in force.
    """
    config = settings.GAIA
    chosen = port or config["server.port"]
    web = (
        sys.executable, "-m", "uvicorn", "gaia_site.asgi:application",
        "--host", config["server.host"], "--port", str(chosen),
        # it ends its open streams within two seconds when told to stop, or it never would
        "--timeout-graceful-shutdown", "2",
        "--ws-max-size", "65536", "--no-access-log", "--lifespan", "off", "--log-level", "warning",
    )  # fmt: skip
    jobs = (sys.executable, str(settings.BASE_DIR / "manage.py"), "jobs")
    return Part(WEB, "the console", web, chosen, "web"), Part(JOBS, "the job queue", jobs, None, "jobs")


def start_parts(node: Node, port: int, *, timeout: float = 5.0) -> None:
    """Ask for those that do not run, at once: for an operator who does not want to wait for the next try.

    Args:
        port: of the console.
        timeout: seconds to wait for the end of one that was killed a moment ago to be written down.
    """
    waiting, deadline = list(parts(port)), time.monotonic() + timeout
    while waiting and time.monotonic() < deadline:
        for part in list(waiting):
            live = Process.objects.active().filter(node=node, owner=part.owner).first()
            if live is None:
                _start(node, part)
            if live is None or live.pid is None or is_alive(live):
                waiting.remove(part)
        if waiting:
            time.sleep(0.05)


class Platform:
    """Keeps web and jobs running: at once after a failure, then later and later while they keep dying.

    Args:
        node: whose.
        clock: seconds that only ever grow; the wall clock may jump.
    """

    def __init__(self, node: Node, clock: Callable[[], float] = time.monotonic) -> None:
        self._node = node
        self._clock = clock
        self._due: dict[str, tuple[int, float]] = {}
        self._inherited: dict[str, int | None] = {}

    def keep(self) -> None:
        """Start what does not run and whose time has come. What the last daemon started is due at once."""
        with ExitStack() as each:  # one that fails does not keep the other from its turn, and is told of all the same
            for part in reversed(parts()):
                each.callback(self._keep, part)

    def _keep(self, part: Part) -> None:
        starts = Process.objects.filter(node=self._node, owner=part.owner).order_by("-id")
        newest = starts.first()
        self._inherited.setdefault(part.owner, newest.pk if newest else None)
        if newest is not None and (newest.active or self._clock() < self._due_at(part, list(starts[:_REMEMBERED]))):
            return
        _start(self._node, part)

    def _due_at(self, part: Part, newest: Sequence[Process]) -> float:
        known, due = self._due.get(part.owner, (None, 0.0))
        if known != newest[0].pk:
            inherited = newest[0].pk == self._inherited[part.owner]
            due = self._clock() + (0.0 if inherited else backoff(failures(newest)))
            self._due[part.owner] = (newest[0].pk, due)
        return due


def _start(node: Node, part: Part) -> None:
    with suppress(Conflict):  # somebody else has asked for it
        request_start(
            node,
            part.owner,
            part.argv,
            title=part.title,
            cwd=settings.BASE_DIR,
            env={"GAIA_ROLE": part.role},
            env_base=EnvironmentBase.GAIA,
            port=part.port,
            stop_grace=5.0,
        )


def failures(newest: Sequence[Process]) -> int:
    """How many of the last starts ended soon and unasked, counted back from the newest."""
    count = 0
    for process in newest:
        lived = (process.ended_at or process.created_at) - (process.started_at or process.created_at)
        if process.stop_requested_at is not None or lived >= _STEADY:
            break
        count += 1
    return count


def backoff(failures: int) -> float:
    """Seconds to wait before the next start: at once after the first failure, then 0.5, 1, 2 … up to a minute."""
    return 0.0 if failures <= 1 else min(_LONGEST_WAIT_S, 0.5 * 2.0 ** (failures - 2))
