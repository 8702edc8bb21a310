"""What the node daemon runs besides processes: GAIA's own web and jobs, and every room's reconcilers."""

from __future__ import annotations

import sys
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from environments import reconcile as environments
from processes.actions.processes import request_start
from processes.daemon import Loop
from processes.models import Node, Process
from processes.states import PROCESS_TERMINAL, EnvironmentBase
from sessions import reconcile as sessions

WEB = "gaia/web"
JOBS = "gaia/jobs"
_STEADY = timedelta(seconds=60)  # a process that lived this long starts counting its failures anew
_LONGEST_WAIT_S = 60.0
_REMEMBERED = 10


def loops(node: Node) -> list[Loop]:
    """Everything the daemon repeats, each in a thread of its own."""
    return [
        Loop("platform", 0.5, lambda: keep_platform(node), on_change=True),
        Loop("sessions", 1.0, sessions.look),
        Loop("stages", 1.0, lambda: environments.look_at_stages(node)),
        Loop("git", 5.0, environments.look_at_git),
    ]


def web_argv() -> list[str]:
    """The console: uvicorn, ending its open streams within two seconds when told to stop."""
    config = settings.GAIA
    return [
        sys.executable, "-m", "uvicorn", "gaia_site.asgi:application",
        "--host", config["server.host"], "--port", str(config["server.port"]),
        "--timeout-graceful-shutdown", "2", "--no-access-log", "--lifespan", "off", "--log-level", "warning",
    ]  # fmt: skip


def keep_platform(node: Node) -> None:
    """Start web and jobs when they do not run, later and later when they keep dying."""
    manage = [sys.executable, str(settings.BASE_DIR / "manage.py")]
    _keep(node, WEB, web_argv(), port=settings.GAIA["server.port"], role="web")
    _keep(node, JOBS, [*manage, "qcluster"], port=None, role="jobs")


def _keep(node: Node, owner: str, argv: list[str], *, port: int | None, role: str) -> None:
    newest = list(Process.objects.filter(node=node, owner=owner).order_by("-id")[:_REMEMBERED])
    if newest and newest[0].state not in PROCESS_TERMINAL:
        return
    if newest and newest[0].ended_at is not None:
        waited = (timezone.now() - newest[0].ended_at).total_seconds()
        if waited < backoff(_failures(newest)):
            return
    request_start(
        node,
        owner,
        argv,
        cwd=settings.BASE_DIR,
        env={"GAIA_ROLE": role},
        env_base=EnvironmentBase.GAIA,
        port=port,
        stop_grace=5.0,
    )


def _failures(newest: list[Process]) -> int:
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
