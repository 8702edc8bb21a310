"""The grammar of `gaia service`."""

from __future__ import annotations

from gaia_site.cli.grammar import PORT, SERVICE, Parser, Verbs, add_group, add_verb, add_yes, completed_by, number


def add_services(verbs: Verbs[Parser]) -> None:
    service = add_group(verbs, "service", "programs that should stay up")
    list_ = add_verb(service, "list", "service:list_", "services with their state, health and figures")
    kinds = ("process", "mcp", "stage", "platform")
    list_.add_argument("--kind", choices=kinds, metavar="KIND", help="only process, mcp, stage or platform")
    list_.add_argument("--needs-you", action="store_true", help="only those that do not stay up")
    _name(add_verb(service, "show", "service:show", "one service, all there is to say"))
    _register(add_verb(service, "register", "service:register", "make a service known, from JSON or by options"))
    unregister = add_verb(service, "unregister", "service:unregister", "forget services; what runs is stopped")
    _names(unregister)
    add_yes(unregister)
    start = add_verb(service, "start", "service:start", "have services up, and wait until they are ready")
    stop = add_verb(service, "stop", "service:stop", "have services down, and wait until they are")
    restart = add_verb(service, "restart", "service:restart", "end services and start them again")
    for verb in (start, stop, restart):
        _names(verb)
        _waiting(verb)
    for verb in (stop, restart):
        verb.add_argument("--now", action="store_true", help="kill at once instead of asking to end first")
    _looks(service)
    import_ = add_verb(service, "import", "service:import_", "register and redefine what a registry has")
    import_.add_argument("file", metavar="FILE", help="JSON as export prints it; - reads standard input")
    import_.add_argument("--dry-run", action="store_true", help="say what would change and change nothing")
    export = add_verb(service, "export", "service:export", "all definitions as JSON, without secrets' values")
    export.add_argument("file", nargs="?", metavar="FILE", help="where to (default standard output)")


def _register(register: Parser) -> None:
    register.add_argument(
        "file", nargs="*", default=[], metavar="FILE", help="JSON; - is standard input; with --name, behind --: COMMAND"
    )
    register.add_argument("--replace", action="store_true", help="change the service of that name if there is one")
    register.add_argument("--start", action="store_true", help="start it, too, and wait until it is ready")
    _waiting(register)
    register.add_argument("--name", metavar="NAME", help="what it is called; the words behind -- are its command")
    register.add_argument("--cwd", default="", metavar="DIR", help="where it runs (default: where one stands)")
    register.add_argument("--port", type=PORT, help="the port it listens on; it is told as PORT")
    register.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="a variable; again: another")
    register.add_argument(
        "--secret", action="append", default=[], metavar="NAME", help="a variable whose value standard input has"
    )
    register.add_argument("--health", metavar="CHECK", help="URL or /path for HTTP; tcp, or HOST:PORT, to connect")
    register.add_argument("--depends-on", action="append", default=[], metavar="NAME", help="must be ready before it")
    register.add_argument("--memory", metavar="SIZE", help="the most it may use, such as 512MB")
    restart = ("always", "on_failure", "never")
    register.add_argument("--restart", choices=restart, metavar="WHEN", help="always, on_failure (default) or never")


def _looks(service: Verbs[Parser]) -> None:
    logs = add_verb(service, "logs", "service:logs", "what a service has written")
    _name(logs)
    logs.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    lines = number("a number of lines", 1, 10_000)
    logs.add_argument("-n", "--lines", type=lines, default=100, metavar="N", help="how many of the last (default 100)")
    _name(add_verb(service, "health", "service:health", "a service's probes, now and before; exit code 1: not ready"))
    metrics = add_verb(service, "metrics", "service:metrics", "CPU and memory over time")
    _name(metrics)
    metrics.add_argument(
        "--span", choices=("1h", "24h", "7d"), default="1h", metavar="SPAN", help="1h (default), 24h or 7d"
    )
    events = add_verb(service, "events", "service:events", "what happened to a service, oldest first")
    _name(events)
    count = number("a number of events", 1, 10_000)
    events.add_argument("--limit", type=count, default=30, metavar="N", help="how many (default 30)")


def _waiting(verb: Parser) -> None:
    verb.add_argument("--no-wait", action="store_true", help="return at once; it goes on in the background")
    seconds = number("a number of seconds", 0.1, 86_400, float)
    verb.add_argument("--timeout", type=seconds, default=60.0, metavar="S", help="wait so many seconds (default 60)")


def _name(verb: Parser) -> None:
    completed_by(verb.add_argument("name", metavar="NAME", help="which, by name or number"), SERVICE)


def _names(verb: Parser) -> None:
    completed_by(verb.add_argument("names", nargs="+", metavar="NAME", help="which"), SERVICE)
