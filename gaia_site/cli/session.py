"""`gaia session …`, `gaia attach` and `gaia tmux`."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from common.errors import InvalidInput
from gaia_site.cli import pictures
from gaia_site.cli.ground import called_from, confirm, ready, say
from gaia_site.cli.show import look_at_sessions

if TYPE_CHECKING:
    from sessions.actions.start import Started


def start(arguments: Namespace) -> int:
    """Start what of the fleet does not run. Returns: the exit code, 1 when a session could not be started."""
    ready()
    from projects.actions import find
    from sessions.actions.start import start_fleet

    project = find(arguments.project) if arguments.project else None
    done = start_fleet(group=arguments.group, only=_names(arguments), project=project)
    if arguments.json:
        print(json.dumps(vars(done)))
    else:
        print("\n".join(_told(done)))
    for name, reason in {} if arguments.json else done.failed.items():
        say("\n".join(pictures.wrapped("  failed  ", f"{name}: {reason}")))
    return 1 if done.failed else 0


def _told(done: Started) -> list[str]:
    count = len(done.started) + len(done.already)
    if done.started:
        lines = [f"{len(done.started)} sessions started, {len(done.already)} already ran: {count} in all."]
    else:
        lines = [f"{len(done.already)} sessions already run, none was started."]
    by_reason: dict[str, list[str]] = {}
    for name, reason in done.shells.items():
        by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        lines += pictures.wrapped("  shell   ", f"{reason}: {', '.join(names)}")
    for name, note in done.notes.items():
        lines += pictures.wrapped("  note    ", f"{name}: {note}")
    return lines


def stop(arguments: Namespace) -> int:
    """End sessions of the fleet. Returns: the exit code."""
    look_at_sessions()
    from sessions.actions.start import select, stop_fleet
    from sessions.models import Session

    names = [one.name for one in select(arguments.group, _names(arguments))]
    running = Session.objects.live().own().filter(name__in=names).count()
    if running and not _names(arguments):
        which = f"the {running} sessions of group {arguments.group}" if arguments.group else f"all {running} sessions"
        confirm(f"End {which} and what runs in them?", yes=arguments.yes)
    stopped = stop_fleet(group=arguments.group, only=_names(arguments))
    print(json.dumps({"stopped": stopped}) if arguments.json else f"{len(stopped)} sessions ended.")
    return 0


def _names(arguments: Namespace) -> list[str]:
    return [*arguments.names, *(name.strip() for name in arguments.only.split(",") if name.strip())]


def list_(arguments: Namespace) -> int:
    """Live sessions, or past lives. Returns: the exit code."""
    look_at_sessions()
    from sessions.overview import past_sessions, sessions_overview

    sessions = past_sessions() if arguments.ended else sessions_overview()
    print(json.dumps(sessions) if arguments.json else pictures.session_list(sessions))
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
        role=arguments.role,
        environment=environment,
        cwd=os.path.normpath(called_from() / os.path.expanduser(arguments.cwd)) if arguments.cwd else "",
    )
    if arguments.json:
        print(json.dumps(describe(session)))
    else:
        print(f"Session {session.name} runs in {session.cwd}\n  Attach: gaia attach {session.name}")
        for note in filter(None, (session.reason, session.problem)):
            print("\n".join(pictures.wrapped("  ", note)))
    return 0


def adopt(arguments: Namespace) -> int:
    """Work with a session that GAIA did not start. Returns: the exit code."""
    ready()
    from environments.actions.stages import find_environment
    from sessions.actions import adoption
    from sessions.overview import describe

    found = adoption.find_foreign(arguments.name, socket=socket_given(arguments))
    session = adoption.adopt(
        found,
        name=arguments.name_here,
        group=arguments.group,
        provider=arguments.provider,
        role=arguments.role,
        environment=find_environment(arguments.environment) if arguments.environment else None,
    )
    if arguments.json:
        print(json.dumps(describe(session)))
    else:
        print(f"Session {session.name} is adopted: GAIA can type into it, and end it when you say so.")
        print(f"  Attach: gaia attach {session.name}\n  Let it go: gaia session release {session.name}")
        for note in filter(None, (session.reason, session.problem)):
            print("\n".join(pictures.wrapped("  ", note)))
    return 0


def release(arguments: Namespace) -> int:
    """Let an adopted session go. Returns: the exit code."""
    ready()
    from sessions.actions import adoption, control
    from sessions.overview import describe

    session = adoption.release(control.find(arguments.name, socket=socket_given(arguments)))
    told = f"Session {session.name} is let go: GAIA only looks at it."
    print(json.dumps(describe(session)) if arguments.json else told)
    return 0


def socket_given(arguments: Namespace) -> str:
    """As it was typed: a name of a server, or a path, from where one stands."""
    given: str = os.path.expanduser(arguments.socket)
    return os.path.normpath(called_from() / given) if "/" in given else given


def destroy(arguments: Namespace) -> int:
    """End sessions by name. Returns: the exit code."""
    look_at_sessions()
    from sessions.actions import control

    chosen = [control.find(name) for name in arguments.names]  # all of them before one is ended
    stopped = control.stop(chosen)
    ended = [session.name for session in chosen if session.name not in stopped]
    if arguments.json:
        print(json.dumps({"stopped": stopped, "had_ended": ended}))
    else:
        print("\n".join(_told_destroyed(stopped, ended)))
    return 0


def _told_destroyed(stopped: Sequence[str], ended: Sequence[str]) -> list[str]:
    lines = pictures.wrapped("Ended: ", ", ".join(stopped)) if stopped else []
    return lines + (pictures.wrapped("Had ended before: ", ", ".join(ended)) if ended else [])


def send(arguments: Namespace) -> int:
    """Type into a session. Returns: the exit code."""
    if arguments.key and arguments.text:
        raise InvalidInput("a text and --key together are not clear", fix="Send one after the other.")
    if not arguments.key and not arguments.text:
        raise InvalidInput("there is nothing to send", fix="Give a text, - for standard input, or --key Enter.")
    ready()
    from sessions.actions import control, windows

    session, place = control.find(arguments.name), (arguments.window, arguments.pane)
    text = sys.stdin.read() if arguments.text == ["-"] else " ".join(arguments.text)
    if arguments.key and any(place):
        windows.send_key(session, *place, arguments.key)
    elif arguments.key:
        control.send_key(session, arguments.key)
    elif any(place):
        windows.send_keys(session, *place, text, enter=not arguments.no_enter)
    else:
        control.send_keys(session, text, enter=not arguments.no_enter)
    if arguments.json:
        print(json.dumps({"sent": True, "session": session.name}))
    return 0


def capture(arguments: Namespace) -> int:
    """Print a session's screen. Returns: the exit code."""
    if arguments.before is not None and not arguments.window and not arguments.pane:
        fix = f"gaia session capture {arguments.name} --window 0 --before {arguments.before}"
        raise InvalidInput("--before belongs to --window or --pane", fix=fix)
    ready()
    from sessions.actions import control, windows

    session = control.find(arguments.name, socket=socket_given(arguments))
    if arguments.window or arguments.pane:
        page = windows.capture(
            session, arguments.window, arguments.pane,
            lines=arguments.lines or None, before=arguments.before, ansi=arguments.ansi,
        )  # fmt: skip
        print(json.dumps(page) if arguments.json else page["text"])
        return 0
    text = control.capture(session, lines=arguments.lines, ansi=arguments.ansi)
    print(json.dumps({"text": text}) if arguments.json else text)
    return 0


def attach(arguments: Namespace) -> int:
    """Give this terminal to tmux, attached to a session; with --json, say how that is done. Returns: the exit code."""
    ready()
    from sessions.actions import control

    session = control.find(arguments.name)
    argv = control.attach_argv(session, read_only=arguments.read_only)
    if arguments.json:
        print(json.dumps({"session": session.name, "argv": argv}))
        return 0
    if not sys.stdin.isatty():
        raise InvalidInput(
            "attaching needs a terminal",
            meaning="Standard input is none here.",
            fix=f"Read its screen instead: gaia session capture {session.name}.",
        )
    _become_tmux(argv)


def tmux(arguments: Namespace) -> int:
    """tmux with any arguments on GAIA's socket; returns only when it cannot be run."""
    ready()
    from sessions.actions.panic import check_tmux
    from sessions.server import tmux_server

    check_tmux(arguments.words)
    _become_tmux(tmux_server().passthrough_argv(arguments.words))


def _become_tmux(argv: list[str]) -> NoReturn:
    from sessions.server import tmux_server

    environ = {**tmux_server().environment, "TERM": os.environ.get("TERM", "xterm-256color")}
    sys.stdout.flush()
    os.execvpe(argv[0], argv, environ)  # noqa: S606  an argv list, and no shell is wanted
