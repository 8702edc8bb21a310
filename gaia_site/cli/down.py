"""`gaia down`: stop what GAIA started and nothing else."""

from __future__ import annotations

import json
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from common.home import gaia_home
from gaia_site.cli import fast
from gaia_site.cli.ground import furnished, ready, say

if TYPE_CHECKING:
    from processes.models import Process
    from sessions.models import Session


def down(arguments: Namespace) -> int:
    """Stop what GAIA started; with --all also sessions and what scripts launched. Returns: the exit code."""
    if not furnished() and not fast.endpoint() and not fast.daemon_runs():
        return _told_down(arguments, [], _end_sessions_without_rows() if arguments.all else 0, [], [])
    ready()
    from environments.reconcile import look_at_stages
    from gaia_site import platform
    from processes.actions.nodes import ensure_node
    from processes.actions.operations import fail_interrupted
    from processes.actions.stopping import stop_process
    from processes.models import Process
    from processes.states import Origin
    from services.actions.pausing import pause
    from sessions.actions.control import stop_everything
    from sessions.models import Session

    platform.stop_daemon()
    node = ensure_node()
    look_at_stages(node)
    chosen = Process.objects.active().filter(node=node)
    if arguments.keep_stages:
        chosen = chosen.filter(owner__startswith="gaia/")
    elif not arguments.all:
        chosen = chosen.filter(origin=Origin.GAIA)
    processes = list(chosen)
    pause(node, {process.owner for process in processes})
    with ThreadPoolExecutor(8) as pool:
        failures = [failure for failure in pool.map(_stop_one(stop_process), processes) if failure]
    fail_interrupted()
    ended = stop_everything() if arguments.all else 0
    left = list(Process.objects.active().filter(node=node))
    _told_down(arguments, processes, ended, left, list(Session.objects.live().own()))
    for failure in failures:
        say(failure)
    return 1 if failures else 0


def _stop_one(stop_process: Any) -> Any:
    def stop(process: Any) -> str:
        from common.errors import GaiaError
        from events.actor import acting_as, os_user_actor

        try:
            with acting_as(os_user_actor()):
                stop_process(process)
        except GaiaError as error:
            return f"{error.what}. {error.fix}"
        return ""

    return stop


def _end_sessions_without_rows() -> int:
    """A home whose database was removed may have a tmux server all the same."""
    from sessions.server import end_server

    return end_server(gaia_home())


def _told_down(
    arguments: Namespace, stopped: list[Process], ended: int, left: list[Process], sessions: list[Session]
) -> int:
    if arguments.json:
        keys = [process.owner for process in left] + [session.key for session in sessions]
        facts = {"stopped": [process.owner for process in stopped], "sessions_ended": ended, "left_running": keys}
        print(json.dumps(facts))
        return 0
    counts = (len(stopped), "process", "processes"), (ended, "session", "sessions")
    done = [f"{count} {one if count == 1 else many}" for count, one, many in counts if count]
    print("GAIA is down." + (f" Stopped {' and '.join(done)}." if done else ""))
    if sessions:
        noun = "1 session goes" if len(sessions) == 1 else f"{len(sessions)} sessions go"
        print(f"  {noun} on in tmux (gaia attach NAME; gaia down --all ends them)")
    if left:
        print(f"  still running: {', '.join(process.called for process in left)}")
    return 0
