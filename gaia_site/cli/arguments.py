"""The command line's grammar."""

from __future__ import annotations

import argparse

from gaia_site.cli.grammar import Parser, Verbs, number

STAGES = ("dev", "qa", "staging")
PORT = number("a port", 1, 65535)
SESSION, ENVIRONMENT = "sessions", "environments"  # whose names complete a word: see `completion`


def build_parser() -> Parser:
    """The whole grammar; each verb names its function in `run`."""
    parser = Parser(
        prog="gaia",
        description="Runs fleets of coding agents on real repositories.",
        epilog="First time: gaia up --demo. Each verb says more with --help; docs/cli.md has an example of each.",
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")
    _console(verbs)
    _pictures(verbs)
    _environments(verbs)
    _ports(verbs)
    _https(verbs)
    _sessions(verbs)
    _backups(verbs)
    _operations(verbs)
    _notify(verbs)
    _schedule(verbs)
    _account(verbs)
    _rest(verbs)
    return parser


def _verb(verbs: Verbs[Parser], name: str, run: str, text: str, *, json: bool = True) -> Parser:
    parser = verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(run=run, parser=parser)
    if json:
        parser.add_argument("--json", action="store_true", help="print data for programs")
    return parser


def _group(verbs: Verbs[Parser], name: str, text: str) -> Verbs[Parser]:
    parser = verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(helps=parser)
    return parser.add_subparsers(title="verbs", metavar="VERB")


def _completed_by(action: argparse.Action, source: str) -> None:
    action.completed_by = source  # type: ignore[attr-defined]  # read by `completion`


def _yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask; without a terminal nobody is asked")


def _console(verbs: Verbs[Parser]) -> None:
    up = _verb(verbs, "up", "up:up", "start the console; with a repository also its environments and the fleet")
    up.add_argument("repo", nargs="?", metavar="REPO", help="path or URL of a repository to set up at once")
    up.add_argument("--demo", action="store_true", help="make a sample project, five environments and the fleet of 26")
    up.add_argument("--detach", action="store_true", help="return when it is ready instead of following what happens")
    up.add_argument("--port", type=PORT, help="port of the console (default: the setting, 8080)")
    down = _verb(verbs, "down", "down:down", "stop what GAIA started; sessions stay")
    down.add_argument("--all", action="store_true", help="also end sessions, their tmux server, script-launched stages")
    down.add_argument("--keep-stages", action="store_true", help="leave launched stages and operations running")


def _pictures(verbs: Verbs[Parser]) -> None:
    _verb(verbs, "status", "show:status", "is GAIA up, what does it have, is anything wrong")
    _verb(verbs, "group-status", "show:group_status", "sessions by group; also as gaia --group-status")
    _verb(
        verbs, "multi-env-status", "show:multi_env_status",
        "directories, stages, PR groups and totals; also as gaia --multi-env-status",
    )  # fmt: skip
    watch = _verb(verbs, "watch", "watch:watch", "all of it, live, in the terminal; also as gaia --watch")
    seconds = number("an interval in seconds", 0.2, 3600, float)
    watch.add_argument("--interval", type=seconds, default=1.0, metavar="S", help="seconds between looks (default 1)")
    watch.add_argument("--once", action="store_true", help="draw once and return")


def _environments(verbs: Verbs[Parser]) -> None:
    env = _group(verbs, "env", "isolated checkouts with their own ports and databases")
    add_setup_arguments(_verb(env, "setup", "env:setup", "make environments, or repair what is missing of them"))
    clean = _verb(env, "clean", "env:clean", "remove environments; unpushed and uncommitted work is salvaged first")
    names = clean.add_argument(
        "names", nargs="*", default=[], metavar="NAME", help="dev1 …; default all of the project"
    )
    _completed_by(names, ENVIRONMENT)
    clean.add_argument("--project", help="which project, when there are several")
    clean.add_argument("--dry-run", action="store_true", help="print what would be removed and do nothing")
    clean.add_argument("--detach", action="store_true", help="return at once; the operation goes on in the background")
    _yes(clean)
    _verb(env, "list", "env:list_", "environments with git state and stages")
    for name, run, text in (("launch", "env:launch", "start a stage"), ("stop", "env:stop", "stop a stage")):
        verb = _verb(env, name, run, text)
        environment = verb.add_argument("name", metavar="NAME", help="environment, dev1 or demo-dev1")
        _completed_by(environment, ENVIRONMENT)
        verb.add_argument("stage", nargs="?", default="dev", choices=STAGES, help="dev (default), qa or staging")
        verb.add_argument("--project", help="which project, when there are several")
    reset = _verb(env, "reset", "backup:reset", "make environments anew; work and databases are saved first")
    which = reset.add_argument("names", nargs="*", default=[], metavar="NAME", help="dev1 …")
    _completed_by(which, ENVIRONMENT)
    reset.add_argument("--all", action="store_true", help="every environment, of every project without --project")
    reset.add_argument("--project", help="which project, when there are several")
    _yes(reset)
    mend = _verb(env, "repair-database", "backup:repair_database", "salvage a stage's damaged database, make it again")
    _completed_by(mend.add_argument("name", metavar="NAME", help="environment, dev1 or demo-dev1"), ENVIRONMENT)
    mend.add_argument("stage", nargs="?", default="dev", choices=STAGES, help="dev (default), qa or staging")
    mend.add_argument("--project", help="which project, when there are several")
    mend.add_argument("--restart", action="store_true", help="stop the stage for it if it runs, and start it again")
    _yes(mend)
    restore = _verb(env, "restore", "env:restore", "bring salvaged work back into a checkout")
    restore.add_argument("salvage", nargs="?", metavar="SALVAGE", help="its name; without it the salvages are listed")
    restore.add_argument("--into", metavar="DIR", help="the checkout; default the environment it came from")
    _monitor(env)
    _snapshots(env)
    _git(_group(env, "git", "git in an environment; what could be lost is in a snapshot first"))


def _monitor(env: Verbs[Parser]) -> None:
    monitor = _verb(env, "monitor", "health:monitor", "look whether environments are well, and what mends them")
    names = monitor.add_argument("names", nargs="*", default=[], metavar="ENV", help="dev1 or demo-dev1; default all")
    _completed_by(names, ENVIRONMENT)
    monitor.add_argument("--project", help="which project, when there are several")
    monitor.add_argument("--watch", action="store_true", help="look again and again until Ctrl-C")
    seconds = number("an interval in seconds", 1, 3600, float)
    monitor.add_argument("--interval", type=seconds, default=10.0, metavar="S", help="between looks (default 10)")


def _snapshots(env: Verbs[Parser]) -> None:
    snapshots = _verb(env, "snapshots", "snapshots:snapshots", "how environments were before verbs of git; restore one")
    of = snapshots.add_argument(
        "of", nargs="?", metavar="ENV", help="whose; default all. The word restore brings NAME back"
    )
    _completed_by(of, ENVIRONMENT)
    snapshots.add_argument("name", nargs="?", metavar="NAME", help="the snapshot, shop-dev1/20250131T120000Z")
    snapshots.add_argument("--into", metavar="ENV", help="the environment; default the one it was taken of")
    snapshots.add_argument("--project", help="which project, when there are several")
    _yes(snapshots)


def _git(git: Verbs[Parser]) -> None:
    """The verbs of `gaia env git`."""
    everywhere = "in all environments, or those of --project"
    status = _git_verb(git, "status", "branch, commits ahead and behind, changes, what is under way", every=everywhere)
    status.set_defaults(run="git_look:status")
    log = _git_verb(git, "log", "commits, newest first")
    log.set_defaults(run="git_look:log")
    count = number("a number of commits", 1, 1000)
    log.add_argument("-n", "--limit", type=count, default=20, metavar="N", help="how many (default 20)")
    log.add_argument("--since", default="", metavar="COMMIT", help="leave out what this branch or commit has")
    diff = _git_verb(git, "diff", "what differs, by default files against the last commit")
    diff.set_defaults(run="git_look:diff")
    against = diff.add_mutually_exclusive_group()
    against.add_argument("--staged", action="store_true", help="the index against the last commit")
    against.add_argument("--branch", action="store_true", help="commits and files since it left the default branch")
    against.add_argument("--against", metavar="REV", help="files against a branch, tag or commit")
    against.add_argument("--commit", metavar="REV", help="what one commit changed")
    diff.add_argument("--stat", action="store_true", help="only the files with their counts")
    commit = _git_verb(git, "commit", "commit what was changed, new files too")
    commit.add_argument("-m", "--message", action="append", required=True, metavar="TEXT", help="again: a paragraph")
    commit.add_argument("--staged", action="store_true", help="leave out what is not in the index")
    feature = _git_verb(git, "feature", "start a branch from the default branch, or check out the one there is")
    feature.add_argument("name", metavar="NAME", help="caching makes feature/caching; with a slash as it is")
    feature.add_argument("--base", default="", metavar="COMMIT", help="where it starts (default the default branch)")
    delete = _git_verb(git, "delete-branch", "delete a local branch; its commits are in a snapshot")
    delete.add_argument("branch", metavar="BRANCH", help="which; not the one that is checked out")
    _git_bringing_in(git, everywhere)
    _git_taking_back(git)


def _git_bringing_in(git: Verbs[Parser], everywhere: str) -> None:
    sync = _git_verb(git, "sync", "fetch the source and bring its default branch in", every=everywhere)
    pull = _git_verb(git, "pull", "bring in what others pushed to the same branch of the hub", every=everywhere)
    for verb in (sync, pull):
        verb.add_argument("--rebase", action="store_true", help="rebase instead of merge")
    rebase = _git_verb(git, "rebase", "put the branch's commits on top of the default branch")
    rebase.add_argument("--onto", default="", metavar="COMMIT", help="on top of another branch or commit")
    for verb in (sync, pull, rebase):
        ending = verb.add_mutually_exclusive_group()
        ending.add_argument("--continue", dest="proceed", action="store_true", help="go on after conflicts")
        ending.add_argument("--abort", action="store_true", help="give up and go back to how it was")
    proceed = _git_verb(git, "continue", "go on with the merge or rebase under way, once the files are edited")
    proceed.set_defaults(run="git:proceed")
    _git_verb(git, "abort", "give up the merge or rebase under way; what was resolved is in a snapshot")
    push = _git_verb(
        git, "push", "push the branch to the hub, and to the source if gaia.yaml says so", every=everywhere
    )
    push.add_argument(
        "--force-with-lease", action="store_true", help="after a rebase: replace what this checkout last saw there"
    )


def _git_taking_back(git: Verbs[Parser]) -> None:
    reset = _git_verb(git, "reset", "move the branch, or take back changes; how it was is in a snapshot")
    reset.add_argument("--to", default="HEAD", metavar="COMMIT", help="branch, tag or commit (default HEAD)")
    mode = reset.add_mutually_exclusive_group()
    for name, text in (("soft", "only the branch"), ("mixed", "also the index (default)"), ("hard", "also the files")):
        mode.add_argument(f"--{name}", dest="mode", action="store_const", const=name, default="mixed", help=text)
    clean = _git_verb(git, "clean", "remove files that git neither knows nor ignores; they are in a snapshot")
    clean.add_argument("--branches", action="store_true", help="delete branches that the default branch has, instead")
    for verb in (reset, clean):
        _yes(verb)


def _git_verb(git: Verbs[Parser], name: str, text: str, *, every: str = "") -> Parser:
    verb = _verb(git, name, f"git:{name.replace('-', '_')}", text)
    which = verb.add_argument(
        "environment", nargs="?", metavar="ENV", help="dev1 or shop-dev1; default where one stands"
    )
    _completed_by(which, ENVIRONMENT)
    if every:
        verb.add_argument("--all", action="store_true", help=every)
    verb.add_argument("--project", help="which project, when there are several")
    return verb


def add_setup_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `gaia env setup` and `manage.py setup_envs`."""
    number_of = number("a number of environments", 0, 10**6)  # how many are too many, the plan says
    parser.add_argument("--count", type=number_of, metavar="N", help="how many (default: the setting, 5)")
    parser.add_argument("--source", help="path or URL; default the registered project, else where one stands")
    parser.add_argument("--project", help="name of the project; default from the source")
    parser.add_argument("--root", metavar="DIR", help="directory for the checkouts; default beside a local source")
    parser.add_argument("--base-port", type=PORT, help="port of the first dev stage (default: the setting, 8081)")
    parser.add_argument("--dry-run", action="store_true", help="print what would be done and do nothing")
    parser.add_argument("--detach", action="store_true", help="return at once; the operation goes on in the background")
    parser.add_argument("--clean", action="store_true", help="remove them instead, salvaging unpushed work first")
    _yes(parser)


def _ports(verbs: Verbs[Parser]) -> None:
    ports = _group(verbs, "ports", "ports of stages: who has which, free ones, moving; alone it lists them")
    _verb(ports, "list", "ports:list_", "ports that are handed out, with who listens there; conflicts first")
    find = _verb(ports, "find", "ports:find", "propose ports that are free and that no environment will ask for")
    count = number("a number of ports", 1, 100)
    find.add_argument("--count", type=count, default=1, metavar="N", help="how many (default 1)")
    move = _verb(ports, "move", "ports:move", "give a stage another port")
    _stage_of_environment(move, "dev (default), qa or staging", default="dev")
    move.add_argument("--to", type=PORT, metavar="PORT", help="which (default: a free one is chosen)")
    move.add_argument("--restart", action="store_true", help="if it runs, stop it before and start it again after")


def _https(verbs: Verbs[Parser]) -> None:
    https = _group(verbs, "https", "HTTPS for stages, with a certificate authority of your own; alone it lists them")
    _verb(https, "list", "https:list_", "the local authority, and environments with a certificate")
    for name, text in (("on", "have stages serve HTTPS"), ("off", "have stages serve plain HTTP again")):
        verb = _verb(https, name, f"https:{name}", text)
        _stage_of_environment(verb, "dev, qa or staging (default: all of them)", default=None)
        verb.add_argument(
            "--restart", action="store_true", help="stop those that run before and start them again after"
        )
    _verb(https, "trust", "https:trust", "print the commands by which systems and browsers trust the authority")
    ca = _verb(https, "ca", "https:ca", "the authority's certificate; it is made when there is none")
    ca.add_argument("--path", action="store_true", help="print only where its file is")


def _stage_of_environment(verb: Parser, text: str, *, default: str | None) -> None:
    environment = verb.add_argument("name", metavar="NAME", help="environment, dev1 or demo-dev1")
    _completed_by(environment, ENVIRONMENT)
    verb.add_argument("stage", nargs="?", default=default, choices=STAGES, help=text)
    verb.add_argument("--project", help="which project, when there are several")


def _sessions(verbs: Verbs[Parser]) -> None:
    session = _group(verbs, "session", "tmux sessions with agents in them")
    add_start_arguments(_verb(session, "start", "session:start", "start what of the fleet does not run"))
    add_stop_arguments(_verb(session, "stop", "session:stop", "end sessions of the fleet and what runs in them"))
    list_ = _verb(session, "list", "session:list_", "live sessions, with what runs in each and where")
    list_.add_argument("--ended", action="store_true", help="past lives instead, newest first")
    create = _verb(session, "create", "session:create", "start one session of your own")
    create.add_argument("name", metavar="NAME", help="letters, digits, '_' and '-'")
    create.add_argument("--provider", default="system", help="claude, codex, gemini, ollama, system (a shell, default)")
    create.add_argument("--group", default="other", help="group it is listed in (default other)")
    create.add_argument("--role", default="", help="one word for what it does")
    create.add_argument("--environment", help="environment it works in")
    create.add_argument("--cwd", default="", metavar="DIR", help="directory, when it is not an environment's")
    adopt = _verb(session, "adopt", "session:adopt", "work with a session that GAIA did not start")
    _completed_by(adopt.add_argument("name", metavar="NAME", help="which, as gaia session list has it"), SESSION)
    _socket(adopt)
    adopt.add_argument("--as", dest="name_here", default="", metavar="NAME", help="what GAIA shall call it")
    adopt.add_argument("--group", default="", help="group it is listed in (default: the one its name is like)")
    adopt.add_argument("--provider", default="", help="whose agent runs there (default: the one its name is like)")
    adopt.add_argument("--role", default="", help="one word for what it does")
    adopt.add_argument("--environment", default="", help="it works in (default: where its directory is)")
    release = _verb(session, "release", "session:release", "let an adopted session go; it runs on")
    _completed_by(release.add_argument("name", metavar="NAME", help="which"), SESSION)
    _socket(release)
    destroy = _verb(session, "destroy", "session:destroy", "end sessions by name")
    _completed_by(destroy.add_argument("names", nargs="+", metavar="NAME", help="which"), SESSION)
    send = _verb(session, "send", "session:send", "type text into a session")
    _completed_by(send.add_argument("name", metavar="NAME", help="which"), SESSION)
    send.add_argument("text", nargs="*", default=[], metavar="TEXT", help="words; - reads standard input")
    send.add_argument("--no-enter", action="store_true", help="do not press Enter afterwards")
    send.add_argument("--key", help="press one named key instead, such as Escape or C-c")
    capture = _verb(session, "capture", "session:capture", "print a session's screen")
    _completed_by(capture.add_argument("name", metavar="NAME", help="which"), SESSION)
    _socket(capture)
    lines = number("a number of lines", 0, 50_000)
    capture.add_argument("--lines", type=lines, default=0, metavar="N", help="scrollback lines to add")
    capture.add_argument("--ansi", action="store_true", help="keep colours")
    attach = _verb(verbs, "attach", "session:attach", "attach this terminal to a session")
    _completed_by(attach.add_argument("name", metavar="NAME", help="which; Ctrl-b d detaches"), SESSION)
    tmux = _verb(verbs, "tmux", "session:tmux", "tmux on GAIA's own socket", json=False)
    tmux.add_argument("words", nargs=argparse.REMAINDER, metavar="ARGS", help="as for tmux, such as ls")


def _socket(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--socket", default="", help="of its tmux server, a path or its last part, such as default")


def add_start_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `gaia session start` and `manage.py start_sessions`."""
    _add_choice(parser, "only these; with none, all of the fleet")
    parser.add_argument("--project", help="whose environments the workers get (default: the newest)")


def add_stop_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `gaia session stop` and `manage.py stop_sessions`."""
    _add_choice(parser, "only these; with none, all of the fleet")
    _yes(parser)


def _add_choice(parser: argparse.ArgumentParser, text: str) -> None:
    _completed_by(parser.add_argument("names", nargs="*", default=[], metavar="NAME", help=text), SESSION)
    parser.add_argument("--only", default="", metavar="NAME,NAME", help="the same, in one word")
    parser.add_argument("--group", help="only this group, by key, short form or full name")


def _backups(verbs: Verbs[Parser]) -> None:
    backup = _group(verbs, "backup", "backups of databases: the stages' and GAIA's own")
    take = _verb(backup, "take", "backup:take", "take backups now and verify them by restoring them")
    environment = take.add_argument("environment", nargs="?", metavar="ENV", help="dev1 or shop-dev1: its stages'")
    _completed_by(environment, ENVIRONMENT)
    take.add_argument("stage", nargs="?", metavar="STAGE", choices=STAGES, help="only this stage's: dev, qa or staging")
    take.add_argument("--all", action="store_true", help="every database, GAIA's own too")
    take.add_argument("--gaia", action="store_true", help="GAIA's own database")
    list_ = _verb(backup, "list", "backup:list_", "backups, newest first")
    listed = list_.add_argument("environment", nargs="?", metavar="ENV", help="only those of this environment's stages")
    _completed_by(listed, ENVIRONMENT)
    list_.add_argument("--all", action="store_true", help="deleted ones, too")
    restore = _verb(backup, "restore", "backup:restore", "put one in the place of its database, backed up before")
    restore.add_argument("name", metavar="NAME", help="which; gaia means the newest of GAIA's own, with GAIA down")
    restore.add_argument("stage", nargs="?", metavar="STAGE", choices=STAGES, help="with --latest: default dev")
    restore.add_argument("--latest", action="store_true", help="NAME is an environment: its newest one")
    restore.add_argument("--restart", action="store_true", help="stop the stage for it if it runs, and start it again")
    _yes(restore)
    for verb in (take, list_, restore):
        verb.add_argument("--project", help="which project, when there are several")
    for name, text in (("show", "what one is, and what restoring it would change"), ("verify", "verify one again")):
        _verb(backup, name, f"backup:{name}", text).add_argument("name", metavar="NAME", help="which")
    delete = _verb(backup, "delete", "backup:delete", "delete backups")
    delete.add_argument("names", nargs="+", metavar="NAME", help="which")
    _yes(delete)


def _operations(verbs: Verbs[Parser]) -> None:
    operation = _group(verbs, "operation", "long work: its progress, its log, cancelling it")
    _verb(operation, "list", "operation:list_", "the last operations")
    for name, text in (("follow", "follow one to its end"), ("cancel", "ask one to stop"), ("log", "print its log")):
        number_of = number("an operation's number", 1, 2**63 - 1)
        verb = _verb(operation, name, f"operation:{name}", text)
        verb.add_argument("id", type=number_of, metavar="ID", help="its number in the list")
    events = _verb(verbs, "events", "operation:events", "what happened, oldest first")
    events.add_argument("--subject", help="only of this, such as session/dev1_worker")
    count = number("a number of events", 1, 10_000)
    events.add_argument("--limit", type=count, default=30, metavar="N", help="how many (default 30)")


def _notify(verbs: Verbs[Parser]) -> None:
    notify = _group(verbs, "notify", "who is told of events: webhooks and mail addresses")
    _verb(notify, "list", "notify:list_", "destinations, and whether they take what they are sent")
    add = _verb(notify, "add", "notify:add", "tell a webhook or a mail address of events from now on")
    add.add_argument("name", metavar="NAME", help="what you call it")
    add.add_argument("address", metavar="ADDRESS", help="https://host/path, or name@host; - reads standard input")
    change = _verb(notify, "set", "notify:set_", "change what a destination is told of, or where it is")
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
        verb = _verb(notify, name, "notify:turn", text)
        verb.set_defaults(on=on)
        verb.add_argument("name", metavar="NAME", help="which")
    test = _verb(notify, "test", "notify:test", "send a test now and say what became of it")
    retry = _verb(notify, "retry", "notify:retry", "try again what was given up")
    remove = _verb(notify, "remove", "notify:remove", "forget a destination, and what it was told")
    for verb in (test, retry, remove):
        verb.add_argument("name", metavar="NAME", help="which")
    _yes(remove)
    log = _verb(notify, "log", "notify:log", "what destinations were told, oldest first")
    log.add_argument("--destination", metavar="NAME", help="only this one")
    log.add_argument("--failed", action="store_true", help="only what was given up")
    count = number("a number of notifications", 1, 10_000)
    log.add_argument("--limit", type=count, default=30, metavar="N", help="how many (default 30)")


def _schedule(verbs: Verbs[Parser]) -> None:
    schedule = _group(verbs, "schedule", "jobs that run by the clock")
    _verb(schedule, "list", "schedule:list_", "what each does, when it runs, what became of the last run")
    run = _verb(schedule, "run", "schedule:run", "run a job now, besides its own times")
    on = _verb(schedule, "on", "schedule:turn", "run a job by the clock again, from its next time on")
    off = _verb(schedule, "off", "schedule:turn", "run a job no more until it is on again, also after a restart")
    on.set_defaults(on=True)
    off.set_defaults(on=False)
    change = _verb(schedule, "set", "schedule:set_", "run a job at other times")
    for verb in (run, on, off, change):
        verb.add_argument("name", metavar="NAME", help="which, as in the list")
    change.add_argument(
        "when", nargs="+", metavar="WHEN", help="such as daily at 03:10, every 5 minutes, cron 0 3 * * 1"
    )
    change.add_argument("--dry-run", action="store_true", help="print the next runs that means and do nothing")


def _account(verbs: Verbs[Parser]) -> None:
    passwd = _verb(verbs, "passwd", "account:passwd", "give an account a new password")
    passwd.add_argument("user", nargs="?", default="operator", metavar="USER", help="whose (default operator)")
    passwd.add_argument("--random", action="store_true", help="make one and print it instead of asking")
    token = _verb(verbs, "token", "account:token", "issue an API token")
    token.add_argument("name", metavar="NAME", help="what it is for")
    token.add_argument("--read-only", action="store_true", help="it may only read")
    days = number("a number of days", 1, 3650)
    token.add_argument("--days", type=days, default=90, metavar="N", help="until it expires (default 90)")
    token.add_argument("--revoke", action="store_true", help="revoke the tokens of that name instead")
    _verb(verbs, "config", "account:config", "settings in force and where each comes from")


def _rest(verbs: Verbs[Parser]) -> None:
    completion = _verb(verbs, "completion", "completion:completion", "print a completion script", json=False)
    completion.add_argument("shell", choices=("bash", "zsh"), help="source <(gaia completion bash)")
    manage = _verb(verbs, "manage", "account:manage", "run a Django management command", json=False)
    manage.add_argument("words", nargs=argparse.REMAINDER, metavar="ARGS", help="as for manage.py, such as check")
    # these two are run by the bootstrap, which installs what they need; they stand here for --help
    _verb(verbs, "test", "account:bootstrap_only", "check and test GAIA itself", json=False)
    _verb(verbs, "lock", "account:bootstrap_only", "lock the requirements again", json=False)
