"""`gaia up`: the console, and on request a project with its fleet."""

from __future__ import annotations

import http.client
import json
import sys
import time
from argparse import Namespace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from common.errors import Conflict, InvalidInput, Unavailable
from common.files import file_lock, write_json
from common.home import gaia_home
from common.text import plain
from gaia_site.cli import clean_start, fast
from gaia_site.cli.ground import called_from, ready, say
from gaia_site.room import full_disk

if TYPE_CHECKING:
    from processes.models import Node, Process

_READY_S = 60.0
_FIRST_WEB_S = 10.0
_TRIES = 4  # starts of the console that may fail before that is called a failure
_OTHER_PORT = "Stop that process, or choose another port: gaia up --port 8090."
_CLI_TOKEN = "gaia command line"  # noqa: S105  a name
_CLI_TOKEN_DAYS = 365


def up(arguments: Namespace) -> int:
    """Start the console, and on request set up a project and its fleet. Returns: the exit code."""
    if arguments.demo and arguments.repo:
        raise InvalidInput("--demo makes its own repository", fix="Leave --demo or the repository away.")
    if arguments.port is not None and not 1 <= arguments.port <= 65535:
        raise InvalidInput(f"{arguments.port} is not a port", fix="Ports are 1 to 65535.")
    if arguments.foreground:
        _require_alone(arguments)
    ready()
    from gaia_site.platform import check_programs

    check_programs()
    _check_room()
    begun = clean_start.clean_first() if arguments.clean else {}
    if arguments.foreground:
        _become_daemon(arguments.port)
    with file_lock(gaia_home().locks / "up.lock", timeout=_READY_S, what="the start of GAIA"):
        console = _start(arguments.port)
    if arguments.demo or arguments.repo:
        _furnish(arguments)
    console["password"] = _first_password()
    _warn_of_exposure()
    if arguments.json:
        print(json.dumps({**console, **begun}), flush=True)
    else:
        _welcome(console)
    if not arguments.detach:
        return _follow(console)
    return 0


def _require_alone(arguments: Namespace) -> None:
    """Raise InvalidInput when something else was wished for, which a daemon does not do."""
    given = {"--demo": arguments.demo, "--detach": arguments.detach, "--json": arguments.json, "REPO": arguments.repo}
    if other := [name for name, value in given.items() if value]:
        raise InvalidInput(
            f"--foreground does not go with {other[0]}",
            meaning="It is the daemon itself, for systemd or another supervisor, and ends when it is told to.",
            fix="Leave it away, or run gaia up a second time with the rest.",
        )


def _become_daemon(port: int | None) -> NoReturn:
    """Go on as the daemon. Raises: Conflict when one runs already."""
    from gaia_site import platform
    from policy.actions import ensure_operator
    from processes.actions.nodes import ensure_node

    with file_lock(gaia_home().locks / "up.lock", timeout=_READY_S, what="the start of GAIA"):
        if platform.daemon_runs():
            raise Conflict(
                f"GAIA runs already (pid {platform.daemon_pid()})",
                meaning="A home has one daemon.",
                fix="End that one first: gaia down --keep-stages. Sessions, stages and services go on.",
            )
        user = ensure_operator()
        chosen = _choose_port(ensure_node(), port)
        if (known := fast.endpoint()) is None or known[0] != _local(chosen):
            _new_cli_token(user, _local(chosen))
    _warn_of_exposure()
    platform.become_daemon(chosen)


def _check_room() -> None:
    """Raise Unavailable when the home's disk is full: nothing could be written down, so nothing would come up."""
    if full := full_disk():
        raise Unavailable(
            full,
            meaning="GAIA writes down what it does before it does it.",
            fix="Make room and run this again; what was to be written down then is made up for by itself.",
        )


def _start(port: int | None) -> dict[str, Any]:
    """Daemon and console running and answering. Returns: url, username, token."""
    from django.conf import settings

    from gaia_site import parts, platform
    from policy.actions import ensure_operator
    from processes.actions.nodes import ensure_node

    user, node = ensure_operator(), ensure_node()
    chosen = _choose_port(node, port)
    local = _local(chosen)
    if platform.daemon_runs():
        parts.start(node)
    else:
        say("Starting GAIA …")
        platform.start_daemon(chosen)
    _wait_until_ready(local)
    token = _cli_token(user, local)
    public = settings.GAIA["server.public_url"].rstrip("/") or local
    return {"url": public, "username": user.username, "password": None, "token": token}


def _choose_port(node: Node, wanted: int | None) -> int:
    """The port of the console that is there, or else where it can be.

    Raises: Conflict when it is on another port than the wanted one, or somebody else has that.
    """
    from django.conf import settings

    from gaia_site import platform
    from processes.actions.harvest import harvest_if_gone, is_alive
    from processes.actions.ports import check_listening

    daemon = platform.daemon_runs()
    web = _newest_web(node)
    deadline = time.monotonic() + _FIRST_WEB_S
    while daemon and not _is_of(web, node, platform.daemon_pid()) and time.monotonic() < deadline:
        time.sleep(0.05)
        node.refresh_from_db()
        web = _newest_web(node)
    if web is not None and not daemon:
        harvest_if_gone(web)  # what it left behind may still have the port
    there = web.port if web is not None and (daemon or (web.active and is_alive(web))) else None
    if wanted is not None and there is not None and wanted != there:
        raise Conflict(f"the console already runs on port {there}", fix="Stop it first: gaia down.", port=there)
    chosen = int(there or wanted or settings.GAIA["server.port"])
    if web is None or not web.active:
        try:
            check_listening(chosen, fix=_OTHER_PORT)
        except Conflict:
            again = _newest_web(node)
            if again is None or not again.active:  # else the daemon has just started it
                raise
    return chosen


def _is_of(web: Process | None, node: Node, daemon_pid: int | None) -> bool:
    """Whether the running daemon has had its word on the console: one that has only just begun has not."""
    if web is None or node.daemon_pid != daemon_pid or node.daemon_started_at is None:
        return False
    return web.active or web.created_at >= node.daemon_started_at


def _newest_web(node: Node) -> Process | None:
    from gaia_site.parts import WEB
    from processes.models import Process

    return Process.objects.filter(node=node, owner=WEB).order_by("-id").first()


def _local(port: int) -> str:
    from django.conf import settings

    from gaia_site.parts import local_host

    return f"http://{local_host(settings.GAIA['server.host'])}:{port}"


def _wait_until_ready(local: str) -> None:
    """Wait for `/ready`; when the console keeps dying, say why.

    Raises: Conflict naming who has its port; Unavailable with the end of its log.
    """
    from gaia_site import platform
    from gaia_site.parts import WEB
    from processes.actions.logs import read_end
    from processes.actions.nodes import ensure_node
    from processes.actions.ports import check_listening
    from processes.models import Process
    from processes.states import ProcessState

    node = ensure_node()
    newest = _newest_web(node)
    tries = Process.objects.filter(node=node, owner=WEB, id__gt=newest.pk if newest else 0, ended_at__isnull=False)
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline and platform.daemon_runs() and tries.count() < _TRIES:
        if _answers(local):
            return
        time.sleep(0.1)
    if not platform.daemon_runs():
        raise Unavailable("the daemon has ended", meaning=platform.log_end(), fix=f"Its log is in {gaia_home().logs}.")
    newest = _newest_web(node)
    if newest is not None and newest.state == ProcessState.NOT_STARTED and newest.port:
        # somebody took its port after it was found free: say so as when it had been taken from the start
        check_listening(newest.port, fix=_OTHER_PORT)
    raise Unavailable(
        f"the console does not answer on {local}",
        meaning="\n".join(part for part in (newest.problem, read_end(Path(newest.log), 12)) if part) if newest else "",
        fix=f"The logs are in {gaia_home().processes} and {gaia_home().logs}.",
    )


def _answers(local: str) -> bool:
    parts = urlsplit(local)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=2)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False  # not yet
    finally:
        connection.close()


def _cli_token(user: Any, local: str) -> str:
    """The CLI's own token, kept 0600 in run/; a new one when the old one no longer opens the door."""
    known = fast.endpoint()
    if known is not None and known[0] == local and fast.fetch("/api/multi-env/health") is not None:
        return known[1]
    return _new_cli_token(user, local)


def _new_cli_token(user: Any, local: str) -> str:
    from policy.actions import issue_token, revoke_tokens

    revoke_tokens(_CLI_TOKEN)
    token = issue_token(user, _CLI_TOKEN, lifetime=timedelta(days=_CLI_TOKEN_DAYS))
    write_json(gaia_home().run / "cli.json", {"local_url": local, "token": token})
    return token


def _first_password() -> str | None:
    from policy.actions import ensure_operator, first_password

    return first_password(ensure_operator())


def _furnish(arguments: Namespace) -> None:
    """Environments and sessions for `up REPO` and `up --demo`."""
    from environments.actions.setup import plan_setup, request_setup
    from gaia_site.cli.following import finish
    from gaia_site.demo import demo_base_port, make_demo
    from projects.actions import find
    from sessions.actions.start import start_fleet

    if arguments.demo:
        source = make_demo(gaia_home().root / "demo" / "demo")
        plan = plan_setup(source=str(source), count=5, base_port=demo_base_port(source, 5))
    else:
        plan = plan_setup(source=arguments.repo, cwd=called_from())
    say(f"Setting up {len(plan.environments)} environments of {plan.project} in {plan.root} …")
    finish(request_setup(plan), detached=True)
    say("Starting the fleet …")
    done = start_fleet(project=find(plan.project))
    say(f"{len(done.started)} sessions started, {len(done.already)} already ran")
    if done.shells:
        say(f"{len(done.shells)} of them run a shell: their agent's CLI is not installed")


def _warn_of_exposure() -> None:
    from gaia_site.checks import check_exposure

    for warning in check_exposure(None):
        say(f"{warning.msg} {warning.hint}")


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
                print(f"{event.at:%H:%M:%S} {plain(event.message)}", flush=True)
            connection.close()
            time.sleep(0.5)
        say("The daemon has ended.")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        from gaia_site.cli.down import down

        return down(Namespace(all=False, keep_stages=True, json=False))
