"""The command line's grammar."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from gaia_site.cli import arguments_environments as environments
from gaia_site.cli import arguments_layers as layers
from gaia_site.cli import arguments_mcp as mcp
from gaia_site.cli import arguments_services as services
from gaia_site.cli import arguments_windows as windows
from gaia_site.cli.grammar import (
    PORT,
    SESSION,
    Parser,
    Verbs,
    add_group,
    add_verb,
    add_yes,
    completed_by,
    number,
)


def build_parser(verb: str = "") -> Parser:
    """The grammar; each verb names its function in `run`.

    Args:
        verb: the first word of a command line. If it is a verb, it alone is known afterwards, which takes a tenth of
            the time that the whole grammar takes.
    """
    parser = Parser(
        prog="gaia",
        description="Runs fleets of coding agents on real repositories.",
        epilog="First time: gaia up --demo. Each verb says more with --help; docs/cli.md has an example of each.",
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")
    for section in [_section_of()[verb]] if verb in _section_of() else _SECTIONS:
        section(verbs)
    return parser


def _console(verbs: Verbs[Parser]) -> None:
    up = add_verb(verbs, "up", "up:up", "start the console; with a repository also its environments and the fleet")
    up.add_argument("repo", nargs="?", metavar="REPO", help="path or URL of a repository to set up at once")
    up.add_argument("--demo", action="store_true", help="make a sample project, five environments and the fleet of 26")
    up.add_argument("--clean", action="store_true", help="first clear what was left behind by what was killed")
    up.add_argument("--detach", action="store_true", help="return when it is ready instead of following what happens")
    up.add_argument("--foreground", action="store_true", help="be the daemon, for a systemd unit; ends when told to")
    up.add_argument("--port", type=PORT, help="port of the console (default: the setting, 8080)")
    down = add_verb(verbs, "down", "down:down", "stop what GAIA started; sessions stay")
    down.add_argument("--all", action="store_true", help="also end sessions, their tmux server, script-launched stages")
    down.add_argument("--keep-stages", action="store_true", help="leave services, stages and operations running")


def _pictures(verbs: Verbs[Parser]) -> None:
    add_verb(verbs, "status", "status:status", "is GAIA up, what does it have, is anything wrong")
    add_verb(verbs, "group-status", "show:group_status", "sessions by group; also as gaia --group-status")
    add_verb(
        verbs, "multi-env-status", "show:multi_env_status",
        "directories, stages, PR groups and totals; also as gaia --multi-env-status",
    )  # fmt: skip
    watch = add_verb(verbs, "watch", "watch:watch", "all of it, live, in the terminal; also as gaia --watch")
    seconds = number("an interval in seconds", 0.2, 3600, float)
    watch.add_argument("--interval", type=seconds, default=1.0, metavar="S", help="seconds between looks (default 1)")
    watch.add_argument("--once", action="store_true", help="draw once and return")


def _sessions(verbs: Verbs[Parser]) -> None:
    session = add_group(verbs, "session", "tmux sessions with agents in them")
    add_start_arguments(add_verb(session, "start", "session:start", "start what of the fleet does not run"))
    add_stop_arguments(add_verb(session, "stop", "session:stop", "end sessions of the fleet and what runs in them"))
    list_ = add_verb(session, "list", "session:list_", "live sessions, with what runs in each and where")
    list_.add_argument("--ended", action="store_true", help="past lives instead, newest first")
    create = add_verb(session, "create", "session:create", "start one session of your own")
    create.add_argument("name", metavar="NAME", help="letters, digits, '_' and '-'")
    create.add_argument("--provider", default="system", help="claude, codex, gemini, ollama, system (a shell, default)")
    create.add_argument("--group", default="other", help="group it is listed in (default other)")
    create.add_argument("--role", default="", help="one word for what it does")
    create.add_argument("--environment", help="environment it works in")
    create.add_argument("--cwd", default="", metavar="DIR", help="directory, when it is not an environment's")
    adopt = add_verb(session, "adopt", "session:adopt", "work with a session that GAIA did not start")
    completed_by(adopt.add_argument("name", metavar="NAME", help="which, as gaia session list has it"), SESSION)
    _socket(adopt)
    adopt.add_argument("--as", dest="name_here", default="", metavar="NAME", help="what GAIA shall call it")
    adopt.add_argument("--group", default="", help="group it is listed in (default: the one its name is like)")
    adopt.add_argument("--provider", default="", help="whose agent runs there (default: the one its name is like)")
    adopt.add_argument("--role", default="", help="one word for what it does")
    adopt.add_argument("--environment", default="", help="it works in (default: where its directory is)")
    release = add_verb(session, "release", "session:release", "let an adopted session go; it runs on")
    completed_by(release.add_argument("name", metavar="NAME", help="which"), SESSION)
    _socket(release)
    destroy = add_verb(session, "destroy", "session:destroy", "end sessions by name")
    completed_by(destroy.add_argument("names", nargs="+", metavar="NAME", help="which"), SESSION)
    send = add_verb(session, "send", "session:send", "type text into a session")
    completed_by(send.add_argument("name", metavar="NAME", help="which"), SESSION)
    send.add_argument("text", nargs="*", default=[], metavar="TEXT", help="words; - reads standard input")
    send.add_argument("--no-enter", action="store_true", help="do not press Enter afterwards")
    send.add_argument("--key", help="press one named key instead, such as Escape or C-c")
    windows.add_place(send)
    capture = add_verb(session, "capture", "session:capture", "print a session's screen")
    completed_by(capture.add_argument("name", metavar="NAME", help="which"), SESSION)
    _socket(capture)
    lines = number("a number of lines", 0, 50_000)
    capture.add_argument("--lines", type=lines, default=0, metavar="N", help="scrollback lines to add")
    capture.add_argument("--ansi", action="store_true", help="keep colours")
    windows.add_place(capture)
    before = number("a line's number", 0, 1_000_000_000)
    capture.add_argument("--before", type=before, metavar="N", help="of a window or pane: the page above this line")
    windows.add_windows(session)
    _explain(session)
    attach = add_verb(verbs, "attach", "session:attach", "attach this terminal to a session")
    completed_by(attach.add_argument("name", metavar="NAME", help="which; Ctrl-b d detaches"), SESSION)
    attach.add_argument("--read-only", action="store_true", help="only look: nothing can be typed")
    tmux = add_verb(verbs, "tmux", "session:tmux", "tmux on GAIA's own socket", json=False)
    tmux.add_argument("words", nargs=argparse.REMAINDER, metavar="ARGS", help="as for tmux, such as ls")


def _explain(session: Verbs[Parser]) -> None:
    explain = add_verb(session, "explain", "explain:explain", "what a session's agent does, and how one sees that")
    completed_by(explain.add_argument("name", nargs="?", default="", metavar="NAME", help="which"), SESSION)
    _socket(explain)
    explain.add_argument("--screen", metavar="FILE", help="a saved screen instead; - reads standard input")
    explain.add_argument("--provider", default="", help="with --screen: whose agent it shows")
    explain.add_argument("--title", default="", help="with --screen: its pane's title")


def _socket(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--socket", default="", help="of its tmux server, a path or its last part, such as default")


def add_start_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `gaia session start` and `manage.py start_sessions`."""
    _add_choice(parser, "only these; with none, all of the fleet")
    parser.add_argument("--project", help="whose environments the workers get (default: the newest)")


def add_stop_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `gaia session stop` and `manage.py stop_sessions`."""
    _add_choice(parser, "only these; with none, all of the fleet")
    add_yes(parser)


def _add_choice(parser: argparse.ArgumentParser, text: str) -> None:
    completed_by(parser.add_argument("names", nargs="*", default=[], metavar="NAME", help=text), SESSION)
    parser.add_argument("--only", default="", metavar="NAME,NAME", help="the same, in one word")
    parser.add_argument("--group", help="only this group, by key, short form or full name")


def _operations(verbs: Verbs[Parser]) -> None:
    operation = add_group(verbs, "operation", "long work: its progress, its log, cancelling it")
    add_verb(operation, "list", "operation:list_", "the last operations")
    for name, text in (("follow", "follow one to its end"), ("cancel", "ask one to stop"), ("log", "print its log")):
        number_of = number("an operation's number", 1, 2**63 - 1)
        verb = add_verb(operation, name, f"operation:{name}", text)
        verb.add_argument("id", type=number_of, metavar="ID", help="its number in the list")
    events = add_verb(verbs, "events", "operation:events", "what happened, oldest first")
    events.add_argument("--subject", help="only of this, such as session/dev1_worker")
    count = number("a number of events", 1, 10_000)
    events.add_argument("--limit", type=count, default=30, metavar="N", help="how many (default 30)")


def _notify(verbs: Verbs[Parser]) -> None:
    notify = add_group(verbs, "notify", "who is told of events: webhooks and mail addresses")
    add_verb(notify, "list", "notify:list_", "destinations, and whether they take what they are sent")
    add = add_verb(notify, "add", "notify:add", "tell a webhook or a mail address of events from now on")
    add.add_argument("name", metavar="NAME", help="what you call it")
    add.add_argument("address", metavar="ADDRESS", help="https://host/path, or name@host; - reads standard input")
    change = add_verb(notify, "set", "notify:set_", "change what a destination is told of, or where it is")
    change.add_argument("name", metavar="NAME", help="which")
    change.add_argument("--address", metavar="ADDRESS", help="another of the same kind; - reads standard input")
    for verb in (add, change):
        verb.add_argument(
            "--events", metavar="KINDS", help="in quotes, such as 'environment.health *.failed'; * is all"
        )
        verb.add_argument("--level", choices=("info", "warning", "error"), help="the least that is told")
        verb.add_argument("--secret", metavar="TEXT", help="signs what a webhook is sent; - reads standard input")
        verb.add_argument("--sign", action="store_true", help="make a secret and print it, this once")
    for name, on, text in (("on", True, "tell it again from now on"), ("off", False, "tell it nothing until it is on")):
        verb = add_verb(notify, name, "notify:turn", text)
        verb.set_defaults(on=on)
        verb.add_argument("name", metavar="NAME", help="which")
    test = add_verb(notify, "test", "notify:test", "send a test now and say what became of it")
    retry = add_verb(notify, "retry", "notify:retry", "try again what was given up")
    remove = add_verb(notify, "remove", "notify:remove", "forget a destination, and what it was told")
    for verb in (test, retry, remove):
        verb.add_argument("name", metavar="NAME", help="which")
    add_yes(remove)
    log = add_verb(notify, "log", "notify:log", "what destinations were told, oldest first")
    log.add_argument("--destination", metavar="NAME", help="only this one")
    log.add_argument("--failed", action="store_true", help="only what was given up")
    count = number("a number of notifications", 1, 10_000)
    log.add_argument("--limit", type=count, default=30, metavar="N", help="how many (default 30)")


def _schedule(verbs: Verbs[Parser]) -> None:
    schedule = add_group(verbs, "schedule", "jobs that run by the clock")
    add_verb(schedule, "list", "schedule:list_", "what each does, when it runs, what became of the last run")
    run = add_verb(schedule, "run", "schedule:run", "run a job now, besides its own times")
    on = add_verb(schedule, "on", "schedule:turn", "run a job by the clock again, from its next time on")
    off = add_verb(schedule, "off", "schedule:turn", "run a job no more until it is on again, also after a restart")
    on.set_defaults(on=True)
    off.set_defaults(on=False)
    change = add_verb(schedule, "set", "schedule:set_", "run a job at other times")
    for verb in (run, on, off, change):
        verb.add_argument("name", metavar="NAME", help="which, as in the list")
    change.add_argument(
        "when", nargs="+", metavar="WHEN", help="such as daily at 03:10, every 5 minutes, cron 0 3 * * 1"
    )
    change.add_argument("--dry-run", action="store_true", help="print the next runs that means and do nothing")


def _account(verbs: Verbs[Parser]) -> None:
    passwd = add_verb(verbs, "passwd", "account:passwd", "give an account a new password")
    passwd.add_argument("user", nargs="?", default="operator", metavar="USER", help="whose (default operator)")
    passwd.add_argument("--random", action="store_true", help="make one and print it instead of asking")
    token = add_verb(verbs, "token", "account:token", "issue an API token")
    token.add_argument("name", metavar="NAME", help="what it is for")
    token.add_argument("--read-only", action="store_true", help="it may only read")
    days = number("a number of days", 1, 3650)
    token.add_argument("--days", type=days, default=90, metavar="N", help="until it expires (default 90)")
    token.add_argument("--revoke", action="store_true", help="revoke the tokens of that name instead")
    config = add_verb(verbs, "config", "account:config", "settings in force and where each comes from; changes one")
    config.add_argument("key", nargs="?", metavar="KEY", help="only this one, such as server.port")
    config.add_argument("value", nargs="?", metavar="VALUE", help="write it into config.toml; - reads standard input")
    config.add_argument("--unset", action="store_true", help="take KEY out of config.toml: its default is in force")


def _rest(verbs: Verbs[Parser]) -> None:
    completion = add_verb(verbs, "completion", "completion:completion", "print a completion script", json=False)
    completion.add_argument("shell", choices=("bash", "zsh"), help="source <(gaia completion bash)")
    manage = add_verb(verbs, "manage", "account:manage", "run a Django management command", json=False)
    manage.add_argument("words", nargs=argparse.REMAINDER, metavar="ARGS", help="as for manage.py, such as check")
    # these two are run by the bootstrap, which installs what they need; they stand here for --help
    add_verb(verbs, "test", "account:bootstrap_only", "check and test GAIA itself", json=False)
    add_verb(verbs, "lock", "account:bootstrap_only", "lock the requirements again", json=False)


_SECTIONS: dict[Callable[[Verbs[Parser]], None], tuple[str, ...]] = {
    _console: ("up", "down"),
    _pictures: ("status", "group-status", "multi-env-status", "watch"),
    environments.add_environments: ("env",),
    environments.add_ports: ("ports",),
    environments.add_https: ("https",),
    layers.add_layers: ("layer",),
    layers.add_doctor: ("doctor",),
    _sessions: ("session", "attach", "tmux"),
    windows.add_panic: ("panic",),
    services.add_services: ("service",),
    mcp.add_mcp: ("mcp",),
    environments.add_backups: ("backup",),
    _operations: ("operation", "events"),
    _notify: ("notify",),
    _schedule: ("schedule",),
    _account: ("passwd", "token", "config"),
    _rest: ("completion", "manage", "test", "lock"),
}
"""What adds verbs, in the order of `gaia --help`, and the verbs it adds."""


def _section_of() -> dict[str, Callable[[Verbs[Parser]], None]]:
    return {verb: section for section, verbs in _SECTIONS.items() for verb in verbs}
