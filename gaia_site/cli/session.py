"""`gaia session …`, `gaia attach` and `gaia tmux`."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace

from common.errors import Conflict
from gaia_site.cli.ground import ready, say


def start(arguments: Namespace) -> int:
    """Start what of the fleet does not run. Returns: the exit code, 1 when a session could not be started."""
    ready()
    from projects.actions import find
    from sessions.actions.start import start_fleet

    project = find(arguments.project) if arguments.project else None
    done = start_fleet(group=arguments.group, only=_names(arguments), project=project)
    if arguments.json:
        print(json.dumps(vars(done)))
        return 1 if done.failed else 0
    total = len(done.started) + len(done.already)
    if done.started:
        print(f"{len(done.started)} sessions started, {len(done.already)} already ran: {total} in all.")
    else:
        print(f"Nothing to do: {len(done.already)} sessions already run.")
    by_reason: dict[str, list[str]] = {}
    for name, reason in done.shells.items():
        by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        print(f"  shell   {', '.join(names)}: {reason}")
    for name, note in done.notes.items():
        print(f"  note    {name}: {note}")
    for name, reason in done.failed.items():
        say(f"  failed  {name}: {reason}")
    return 1 if done.failed else 0


def stop(arguments: Namespace) -> int:
    """End sessions of the fleet. Returns: the exit code."""
    ready()
    from sessions.actions.start import stop_fleet

    stopped = stop_fleet(group=arguments.group, only=_names(arguments))
    print(json.dumps({"stopped": stopped}) if arguments.json else f"{len(stopped)} sessions ended.")
    return 0


def _names(arguments: Namespace) -> list[str]:
    return [*arguments.names, *(name for name in arguments.only.split(",") if name)]


def list_(arguments: Namespace) -> int:
    """Live sessions. Returns: the exit code."""
    ready()
    from sessions.overview import sessions_overview

    from gaia_site.cli import pictures

    sessions = sessions_overview()
    if arguments.json:
        print(json.dumps(sessions))
        return 0
    if not sessions:
        print("No sessions. Start the fleet: gaia session start")
    for session in sessions:
        where = session["environment"] or "-"
        print(pictures.session_line(session, where))
        if session["reason"] or session["problem"]:
            print(f"             {session['problem'] or session['reason']}")
    return 0


def create(arguments: Namespace) -> int:
    """Start one session. Returns: the exit code."""
    ready()
    from environments.actions.stages import find_environment
    from sessions.actions.start import create as create_session
    from sessions.overview import describe

    environment = find_environment(arguments.environment) if arguments.environment else None
    session = create_session(
        arguments.name,
        provider=arguments.provider,
        group=arguments.group,
        environment=environment,
        cwd=os.path.abspath(arguments.cwd) if arguments.cwd else "",
    )
    if arguments.json:
        print(json.dumps(describe(session)))
    else:
        print(f"Session {session.name} runs in {session.cwd}. Attach: gaia attach {session.name}")
        if session.reason:
            print(f"  {session.reason}")
    return 0


def destroy(arguments: Namespace) -> int:
    """End sessions by name. Returns: the exit code."""
    ready()
    from sessions.actions import control

    stopped = control.stop([control.find(name) for name in arguments.names])
    print(json.dumps({"stopped": stopped}) if arguments.json else f"Ended: {', '.join(stopped) or 'none, they had ended'}.")
    return 0


def send(arguments: Namespace) -> int:
    """Type into a session. Returns: the exit code."""
    ready()
    from sessions.actions import control

    session = control.find(arguments.name)
    if arguments.key:
        control.send_key(session, arguments.key)
    else:
        text = sys.stdin.read() if arguments.text == ["-"] else " ".join(arguments.text)
        control.send_keys(session, text, enter=not arguments.no_enter)
    if arguments.json:
        print(json.dumps({"sent": True, "session": session.name}))
    return 0


def capture(arguments: Namespace) -> int:
    """Print a session's screen. Returns: the exit code."""
    ready()
    from sessions.actions import control

    text = control.capture(control.find(arguments.name), lines=arguments.lines, ansi=arguments.ansi)
    print(json.dumps({"text": text}) if arguments.json else text)
    return 0


def attach(arguments: Namespace) -> int:
    """Give this terminal to tmux, attached to a session; returns only when that cannot be done."""
    ready()
    from sessions.actions import control
    from sessions.server import tmux_server

    session = control.find(arguments.name)
    if not session.live:
        raise Conflict(
            f"session {session.name} has ended", meaning=session.problem, fix=f"Start it: gaia session start {session.name}."
        )
    server = tmux_server()
    argv = server.attach_argv(session.name)
    os.execvpe(argv[0], argv, {**server.environment, "TERM": os.environ.get("TERM", "xterm-256color")})


def tmux(arguments: Namespace) -> int:
    """tmux with any arguments on GAIA's socket; returns only when it cannot be run."""
    ready()
    from sessions.server import tmux_server

    server = tmux_server()
    argv = server.passthrough_argv(arguments.words)
    os.execvpe(argv[0], argv, {**server.environment, "TERM": os.environ.get("TERM", "xterm-256color")})
