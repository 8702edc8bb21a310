"""Pictures from the database, for when the console does not run."""

from __future__ import annotations

import json
from argparse import Namespace

from gaia_site.cli import fast, pictures
from gaia_site.cli.ground import ready


def group_status(arguments: Namespace) -> int:
    """Sessions by group, looked at now. Returns: the exit code."""
    ready()
    from sessions import reconcile
    from sessions.actions.start import fleet
    from sessions.overview import groups_overview

    reconcile.look()
    groups = groups_overview(fleet())
    print(json.dumps(groups) if arguments.json else pictures.group_status(groups))
    return 0


def multi_env_status(arguments: Namespace) -> int:
    """Directories, stages, PR groups and totals, looked at now. Returns: the exit code."""
    ready()
    from environments import reconcile as environments
    from environments.models import Environment
    from environments.states import ENVIRONMENT_ACTIVE
    from gaia_site import multi_env
    from processes.actions.nodes import ensure_node
    from sessions import reconcile as sessions

    sessions.look()
    environments.look_at_stages(ensure_node())
    environments.refresh_git(list(Environment.objects.filter(state__in=ENVIRONMENT_ACTIVE)))
    status = multi_env.status()
    print(json.dumps(status) if arguments.json else pictures.multi_env_status(status))
    return 0


def status(arguments: Namespace) -> int:
    """Is GAIA up. Returns: the exit code, 0 when all of it runs, 1 when not."""
    ready()
    from django.conf import settings

    from gaia_site import multi_env, platform
    from gaia_site.node import JOBS, WEB
    from processes.models import Process

    running = Process.objects.active().newest_by_owner([WEB, JOBS])
    parts = {"daemon": platform.daemon_pid()} | {
        name: running[owner].pid if owner in running and running[owner].state == "running" else None
        for name, owner in (("web", WEB), ("jobs", JOBS))
    }
    endpoint = fast.endpoint()
    data = {
        "up": all(parts.values()),
        "url": endpoint[0] if endpoint and parts["web"] else None,
        "home": str(settings.GAIA.home.root),
        "processes": parts,
        "totals": multi_env.status()["totals"],
        "health": multi_env.health(),
    }
    if arguments.json:
        print(json.dumps(data))
        return 0 if data["up"] else 1
    print(f"{pictures.icon('running' if data['up'] else 'stopped')} GAIA is {'up' if data['up'] else 'down'}" + (f" at {data['url']}" if data["url"] else ""))
    for name, pid in parts.items():
        print(f"  {pictures.icon('running' if pid else 'stopped')} {name:<7} {f'pid {pid}' if pid else 'not running'}")
    totals = data["totals"]
    print(f"  {totals['environments']} environments, {totals['stages']} stages, {totals['sessions']} sessions in {data['home']}")
    for reason in data["health"]["reasons"]:
        print(f"  {pictures.icon('failed')} {reason}")
    return 0 if data["up"] else 1
