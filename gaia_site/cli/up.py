"""`gaia up`: the console, and on request a project with its fleet."""

from __future__ import annotations

import http.client
import json
import sys
import time
from argparse import Namespace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from common.errors import Conflict, InvalidInput, Unavailable
from common.files import file_lock, write_json
from common.home import gaia_home
from gaia_site.cli import fast
from gaia_site.cli.ground import called_from, ready, say

_READY_S = 60.0
_CLI_TOKEN = "gaia command line"  # noqa: S105  a name
_CLI_TOKEN_DAYS = 365


def up(arguments: Namespace) -> int:
    """Start the console, and on request set up a project and its fleet. Returns: the exit code."""
    if arguments.demo and arguments.repo:
        raise InvalidInput("--demo makes its own repository", fix="Leave --demo or the repository away.")
    if arguments.port is not None and not 1 <= arguments.port <= 65535:
        raise InvalidInput(f"{arguments.port} is not a port", fix="Ports are 1 to 65535.")
    ready()
    from environments.drivers.git import check_git
    from sessions.drivers.tmux import check_tmux

    check_tmux()
    check_git()
    with file_lock(gaia_home().locks / "up.lock", timeout=_READY_S, what="the start of GAIA"):
        console = _start(arguments.port)
    if arguments.demo or arguments.repo:
        _furnish(arguments)
    console["password"] = _first_password()
    if arguments.json:
        print(json.dumps(console), flush=True)
    else:
        _welcome(console)
    if not arguments.detach:
        return _follow(console)
    return 0


def _start(port: int | None) -> dict[str, Any]:
    """Daemon and console running and answering. Returns: url, username, token."""
    from django.conf import settings

    from gaia_site import platform
    from gaia_site.node import WEB
    from policy.actions import ensure_operator
    from processes.actions.ports import check_listening
    from processes.models import Process
    from processes.reconcile import identity_of
    from processes.drivers.liveness import alive

    user = ensure_operator()
    running = Process.objects.active().filter(owner=WEB).first()
    there = running.port if running is not None and running.pid and alive(identity_of(running)) else None
    if port is not None and there is not None and port != there:
        raise Conflict(f"the console already runs on port {there}", fix="Stop it first: gaia down.", port=there)
    chosen = int(there or port or settings.GAIA["server.port"])
    if there is None:
        check_listening(chosen, fix="Stop that process, or choose another port: gaia up --port 8090.")
    host = settings.GAIA["server.host"]
    local = f"http://{'127.0.0.1' if host in {'0.0.0.0', '::', 'localhost'} else host}:{chosen}"  # noqa: S104  compared
    if not platform.daemon_runs():
        say("Starting GAIA …")
        platform.start_daemon(chosen)
    _wait_until_ready(local)
    token = _cli_token(user, local)
    public = settings.GAIA["server.public_url"].rstrip("/") or local
    return {"url": public, "username": user.username, "password": None, "token": token}


def _wait_until_ready(local: str) -> None:
    """Wait for `/ready`; when the console keeps dying, say why.

    Raises: Unavailable with the end of its log.
    """
    from gaia_site import platform
    from gaia_site.node import WEB
    from processes.drivers.logs import tail
    from processes.models import Process

    parts, deadline = urlsplit(local), time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=2)
        try:
            connection.request("GET", "/ready")
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass  # not yet
        finally:
            connection.close()
        if not platform.daemon_runs():
            break
        time.sleep(0.1)
    newest = Process.objects.filter(owner=WEB).order_by("-id").first()
    text = tail(Path(newest.log), 12) if newest and Path(newest.log).exists() else ""
    raise Unavailable(
        f"the console does not answer on {local}",
        meaning="\n".join(part for part in (newest.problem if newest else "", text) if part),
        fix=f"The logs are in {gaia_home().processes} and {gaia_home().logs}.",
    )


def _cli_token(user: Any, local: str) -> str:
    """The CLI's own token, kept 0600 in run/; a new one when the old one no longer opens the door."""
    from policy.actions import issue_token, revoke_tokens

    path = gaia_home().run / "cli.json"
    known = fast.endpoint()
    if known is not None and known[0] == local and fast.fetch("/api/multi-env/health") is not None:
        return known[1]
    revoke_tokens(_CLI_TOKEN)
    token = issue_token(user, _CLI_TOKEN, lifetime=timedelta(days=_CLI_TOKEN_DAYS))
    write_json(path, {"local_url": local, "token": token})
    return token


def _first_password() -> str | None:
    from policy.actions import ensure_operator, first_password

    return first_password(ensure_operator())


def _furnish(arguments: Namespace) -> None:
    """Environments and sessions for `up REPO` and `up --demo`."""
    from environments.actions.setup import plan_setup, request_setup
    from gaia_site.cli.following import finish
    from gaia_site.demo import demo_base_port, make_demo
    from sessions.actions.start import start_fleet

    if arguments.demo:
        source = make_demo(gaia_home().root / "demo" / "demo")
        plan = plan_setup(source=str(source), count=5, base_port=demo_base_port(source, 5))
    else:
        plan = plan_setup(source=arguments.repo, cwd=called_from())
    say(f"Setting up {len(plan.environments)} environments of {plan.project} in {plan.root} …")
    finish(request_setup(plan), detached=True)
    say("Starting the fleet …")
    done = start_fleet()
    say(f"{len(done.started)} sessions started, {len(done.already)} already ran")
    if done.shells:
        say(f"{len(done.shells)} of them run a shell: their agent's CLI is not installed")


def _welcome(console: dict[str, Any]) -> None:
    print(f"GAIA runs at {console['url']}")
    print(f"  user      {console['username']}")
    if console["password"]:
        print(f"  password  {console['password']}   (shown once; gaia passwd makes another)")
    print("  stop      gaia down")


def _follow(console: dict[str, Any]) -> int:
    """Print what happens until Ctrl-C, which stops the console and leaves stages and sessions running."""
    from django.db import connection

    from events.models import Event
    from gaia_site import platform

    say("Following what happens; Ctrl-C stops the console, stages and sessions go on.")
    newest = Event.objects.order_by("-id").values_list("id", flat=True).first() or 0
    try:
        while platform.daemon_runs():
            for event in Event.objects.filter(id__gt=newest).order_by("id")[:200]:
                newest = event.id
                print(f"{event.at:%H:%M:%S} {event.message}", flush=True)
            connection.close()
            time.sleep(0.5)
        say("The daemon has ended.")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        from gaia_site.cli.down import down

        return down(Namespace(all=False, keep_stages=True, json=False))
