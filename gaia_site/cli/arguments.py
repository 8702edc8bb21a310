"""The command line's grammar."""

from __future__ import annotations

import argparse

_FLAGS = {"--group-status": "group-status", "--multi-env-status": "multi-env-status", "--watch": "watch"}
STAGES = ("dev", "qa", "staging")


def normalise(words: list[str]) -> list[str]:
    """`gaia --group-status` and its like are verbs, too."""
    return [_FLAGS[words[0]], *words[1:]] if words and words[0] in _FLAGS else words


def build_parser() -> argparse.ArgumentParser:
    """The whole grammar; each verb names its function in `run`."""
    parser = argparse.ArgumentParser(prog="gaia", description="Runs fleets of coding agents on real repositories.")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")
    _console(verbs)
    _pictures(verbs)
    _environments(verbs)
    _sessions(verbs)
    _rest(verbs)
    return parser


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, run: str, text: str, *, json: bool = True
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    if json:
        parser.add_argument("--json", action="store_true", help="print data for programs")
    return parser


def _group(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse._SubParsersAction[argparse.ArgumentParser]:
    return verbs.add_parser(name, help=text, description=text).add_subparsers(metavar="VERB", required=True)


def _console(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    up = _verb(verbs, "up", "up:up", "start the console; with a repository also its environments and the fleet")
    up.add_argument("repo", nargs="?", metavar="REPO", help="path or URL of a repository to set up at once")
    up.add_argument("--demo", action="store_true", help="make a sample project, five environments and the fleet of 26")
    up.add_argument("--detach", action="store_true", help="return when it is ready instead of following what happens")
    up.add_argument("--port", type=int, help="port of the console (default: the setting, 8080)")
    down = _verb(verbs, "down", "down:down", "stop what GAIA started; sessions stay")
    down.add_argument("--all", action="store_true", help="also end the sessions, their tmux server and script-launched stages")
    down.add_argument("--keep-stages", action="store_true", help="leave launched stages and operations running")


def _pictures(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    _verb(verbs, "status", "show:status", "is GAIA up, and what does it have")
    _verb(verbs, "group-status", "show:group_status", "sessions by group")
    _verb(verbs, "multi-env-status", "show:multi_env_status", "directories, stages, PR groups and totals")
    watch = _verb(verbs, "watch", "watch:watch", "all of it, live, in the terminal", json=False)
    watch.add_argument("--interval", type=float, default=1.0, help="seconds between two looks (default 1)")
    watch.add_argument("--once", action="store_true", help="draw once and return")


def _environments(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    env = _group(verbs, "env", "isolated checkouts with their own ports and databases")
    add_setup_arguments(_verb(env, "setup", "env:setup", "make environments, or repair what is missing of them"))
    clean = _verb(env, "clean", "env:clean", "remove environments; unpushed and uncommitted work is salvaged first")
    clean.add_argument("names", nargs="*", metavar="NAME", help="dev1 …; default all of the project")
    clean.add_argument("--project", help="which project, when there are several")
    _verb(env, "list", "env:list_", "environments with git state and stages")
    for name, run, text in (("launch", "env:launch", "start a stage"), ("stop", "env:stop", "stop a stage")):
        verb = _verb(env, name, run, text)
        verb.add_argument("name", metavar="NAME", help="environment, dev1 or demo-dev1")
        verb.add_argument("stage", nargs="?", default="dev", choices=STAGES)
        verb.add_argument("--project")
    restore = _verb(env, "restore", "env:restore", "bring salvaged work back into a checkout")
    restore.add_argument("salvage", nargs="?", help="name of the salvage; without it the salvages are listed")
    restore.add_argument("--into", metavar="DIR", help="the checkout; default the environment it came from")


def add_setup_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `gaia env setup` and `manage.py setup_envs`."""
    parser.add_argument("--count", type=int, help="how many (default: the setting, 5)")
    parser.add_argument("--source", help="path or URL; default the registered project, else the repository one stands in")
    parser.add_argument("--project", help="name of the project; default from the source")
    parser.add_argument("--root", help="directory for the checkouts; default beside a local source")
    parser.add_argument("--base-port", type=int, help="port of the first dev stage (default: the setting, 8081)")
    parser.add_argument("--dry-run", action="store_true", help="print what would be done and do nothing")
    parser.add_argument("--detach", action="store_true", help="return at once; the operation goes on in the background")
    parser.add_argument("--clean", action="store_true", help="remove them instead, salvaging unpushed work first")


def _sessions(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    session = _group(verbs, "session", "tmux sessions with agents in them")
    start = _verb(session, "start", "session:start", "start what of the fleet does not run yet")
    start.add_argument("names", nargs="*", metavar="NAME", help="only these")
    start.add_argument("--only", default="", metavar="NAME,NAME", help="the same, in one word")
    start.add_argument("--group", help="only this group")
    start.add_argument("--project", help="whose environments the workers get")
    stop = _verb(session, "stop", "session:stop", "end sessions of the fleet")
    stop.add_argument("names", nargs="*", metavar="NAME", help="only these; with none, all of the fleet")
    stop.add_argument("--only", default="", metavar="NAME,NAME", help="the same, in one word")
    stop.add_argument("--group", help="only this group")
    _verb(session, "list", "session:list_", "live sessions")
    create = _verb(session, "create", "session:create", "start one session of your own")
    create.add_argument("name", metavar="NAME")
    create.add_argument("--provider", default="system", help="claude, codex, gemini, ollama, system (a shell)")
    create.add_argument("--group", default="other")
    create.add_argument("--environment", help="environment it works in")
    create.add_argument("--cwd", default="", help="directory, when it is not an environment's")
    destroy = _verb(session, "destroy", "session:destroy", "end sessions by name")
    destroy.add_argument("names", nargs="+", metavar="NAME")
    send = _verb(session, "send", "session:send", "type text into a session")
    send.add_argument("name", metavar="NAME")
    send.add_argument("text", nargs="*", metavar="TEXT", help="words; - reads standard input")
    send.add_argument("--no-enter", action="store_true", help="do not press Enter afterwards")
    send.add_argument("--key", help="press one named key instead, such as Escape or C-c")
    capture = _verb(session, "capture", "session:capture", "print a session's screen")
    capture.add_argument("name", metavar="NAME")
    capture.add_argument("--lines", type=int, default=0, help="scrollback lines to add")
    capture.add_argument("--ansi", action="store_true", help="keep colours")
    attach = _verb(verbs, "attach", "session:attach", "attach this terminal to a session", json=False)
    attach.add_argument("name", metavar="NAME")
    tmux = _verb(verbs, "tmux", "session:tmux", "tmux on GAIA's own socket", json=False)
    tmux.add_argument("words", nargs=argparse.REMAINDER, metavar="ARGS")


def _rest(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    operation = _group(verbs, "operation", "long work: its progress, its log, cancelling it")
    _verb(operation, "list", "operation:list_", "the last operations")
    for name, text in (("follow", "follow one to its end"), ("cancel", "ask one to stop"), ("log", "print its log")):
        _verb(operation, name, f"operation:{name}", text).add_argument("id", type=int, metavar="ID")
    events = _verb(verbs, "events", "operation:events", "what happened")
    events.add_argument("--subject", help="only of this, such as session/dev1_worker")
    events.add_argument("--limit", type=int, default=30)
    passwd = _verb(verbs, "passwd", "account:passwd", "give an account a new password")
    passwd.add_argument("user", nargs="?", default="operator")
    passwd.add_argument("--random", action="store_true", help="make one and print it instead of asking")
    token = _verb(verbs, "token", "account:token", "issue an API token")
    token.add_argument("name", help="what it is for")
    token.add_argument("--read-only", action="store_true")
    token.add_argument("--days", type=int, default=90)
    token.add_argument("--revoke", action="store_true", help="revoke the tokens of that name instead")
    _verb(verbs, "config", "account:config", "settings in force and where each comes from")
    completion = _verb(verbs, "completion", "completion:completion", "print a completion script", json=False)
    completion.add_argument("shell", choices=("bash", "zsh"))
    manage = _verb(verbs, "manage", "account:manage", "run a Django management command", json=False)
    manage.add_argument("words", nargs=argparse.REMAINDER, metavar="ARGS")
    # these two are run by the bootstrap, which installs what they need; they stand here for --help
    _verb(verbs, "test", "account:bootstrap_only", "check and test GAIA itself", json=False)
    _verb(verbs, "lock", "account:bootstrap_only", "lock the requirements again", json=False)
