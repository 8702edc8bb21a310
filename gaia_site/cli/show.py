"""Pictures from the database, for when the console does not run."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

from common.home import gaia_home
from gaia_site.cli import fast, pictures
from gaia_site.cli.ground import furnished, ready


def look_now() -> None:
    """Django loaded, and the rows as things are now: without a daemon nobody else has looked.

    Raises: as `ready`; Unavailable when tmux is missing or does not answer.
    """
    look_at_sessions()
    look_at_environments()


def look_at_sessions() -> None:
    """`look_now` for sessions only."""
    ready()
    from gaia_site import platform
    from sessions import others, reconcile

    if not platform.daemon_runs():
        reconcile.look()
        others.look()


def look_at_environments() -> None:
    """`look_now` for environments and their stages only."""
    ready()
    from environments import reconcile
    from environments.models import Environment
    from environments.states import ENVIRONMENT_ACTIVE
    from gaia_site import platform
    from processes.actions.nodes import ensure_node

    if not platform.daemon_runs():
        reconcile.look_at_stages(ensure_node())
        live = Environment.objects.filter(state__in=ENVIRONMENT_ACTIVE)
        reconcile.refresh_git(list(live.select_related("project", "git")))


def group_status(arguments: Namespace) -> int:
    """Sessions by group. Returns: the exit code."""
    look_at_sessions()
    from sessions.configured import fleet
    from sessions.overview import groups_overview

    groups = groups_overview(fleet())
    print(json.dumps(groups) if arguments.json else pictures.group_status(groups))
    return 0


def multi_env_status(arguments: Namespace) -> int:
    """Directories, stages, PR groups and totals. Returns: the exit code."""
    look_now()
    from gaia_site import multi_env

    status = multi_env.status()
    print(json.dumps(status) if arguments.json else pictures.multi_env_status(status))
    return 0


def status(arguments: Namespace) -> int:
    """Is GAIA up, what does it have, is anything wrong. Returns: 0 when all of it runs, 1 when not."""
    data = _status() if furnished() else _NOTHING | {"home": str(gaia_home().root)}
    if arguments.json:
        print(json.dumps(data))
    else:
        print("\n".join(_told(data)))
    return 0 if data["up"] else 1


_NOTHING: dict[str, Any] = {
    "up": False,
    "url": None,
    "processes": {"daemon": None, "web": None, "jobs": None},
    "totals": {"environments": 0, "stages": 0, "sessions": 0},
    "health": {"verdict": "unhealthy", "reasons": []},
}


def _status() -> dict[str, Any]:
    look_now()
    from django.conf import settings

    from gaia_site import multi_env, platform
    from gaia_site.parts import JOBS, WEB
    from processes.actions.harvest import is_alive
    from processes.models import Process

    running = Process.objects.active().newest_by_owner([WEB, JOBS])
    parts = {"daemon": platform.daemon_pid()} | {
        name: running[owner].pid if owner in running and is_alive(running[owner]) else None
        for name, owner in (("web", WEB), ("jobs", JOBS))
    }
    endpoint = fast.endpoint()
    public, problems = settings.GAIA["server.public_url"], multi_env.problems()
    return {
        "up": all(parts.values()),
        "url": public or endpoint[0] if endpoint and parts["web"] else None,
        "home": str(settings.GAIA.home.root),
        "processes": parts,
        "totals": multi_env.status()["totals"],
        "health": {"verdict": "unhealthy" if problems or not all(parts.values()) else "healthy", "reasons": problems},
    }


def _told(data: dict[str, Any]) -> list[str]:
    parts, some = data["processes"], any(data["processes"].values())
    word = "up" if data["up"] else "half up: see below" if some else "down"
    where = f" at {data['url']}" if data["url"] else ""
    lines = [f"{pictures.icon('running' if data['up'] else 'failed' if some else 'stopped')} GAIA is {word}{where}"]
    for name, pid in parts.items() if some else ():
        sign = pictures.icon("running" if pid else "stopped")
        lines.append(f"  {sign} {name:<7} {f'pid {pid}' if pid else 'not running'}")
    lines.append(f"  {pictures.totals(data['totals'])}")
    lines.append(f"  home {data['home']}")
    for problem in data["health"]["reasons"]:
        lines += pictures.wrapped(f"  {pictures.ICONS['failed']} ", problem)
    if not data["up"]:
        lines.append("  Start it: gaia up")
    return lines
