"""Pictures from the database, for when the console does not run."""

from __future__ import annotations

import json
from argparse import Namespace

from gaia_site.cli import pictures
from gaia_site.cli.ground import ready


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
