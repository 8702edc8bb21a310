"""`gaia service …`: what should stay up."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import Unavailable
from gaia_site.cli import service_pictures as pictures
from gaia_site.cli.ground import called_from, confirm, ready, say
from gaia_site.cli.pictures import icon, wrapped
from gaia_site.cli.service_definition import read_json, spec_of

if TYPE_CHECKING:
    from services.models import Service

_SPANS = {"1h": 3600, "24h": 86_400, "7d": 604_800}


def list_(arguments: Namespace) -> int:
    """Services with their state and figures. Returns: the exit code."""
    ready()
    from services.models import Service
    from services.overview import services_overview

    chosen = Service.objects.order_by("name")
    if arguments.kind:
        chosen = chosen.filter(kind=arguments.kind)
    if arguments.needs_you:
        chosen = chosen.failing()
    services = services_overview(list(chosen))
    if arguments.json:
        _print(services)
        return 0
    print(pictures.service_list(services))
    if services:
        _tell_if_down()
    return 0


def show(arguments: Namespace) -> int:
    """One service, all there is to say. Returns: the exit code."""
    ready()
    from services.actions.running import find_service
    from services.overview import service_overview

    service = find_service(arguments.name)
    if arguments.json:
        _print(_detail(service))
        return 0
    print(pictures.service_page(service_overview(service)))
    _last_words(service)
    _tell_if_down()
    return 0


def _detail(service: Service) -> dict[str, Any]:
    """All of it, with its definition."""
    from services.actions.registry import definition_of
    from services.overview import service_overview

    return {**service_overview(service), "definition": definition_of(service)}


def _last_words(service: Service) -> None:
    from services.console.page import death_of

    death = death_of(service)
    if death is None:
        return
    print(f"  last death   {death['text']}" + (f", {pictures.ago(death['at'])}" if death["at"] else ""))
    if service.state not in {"running", "stopped"}:
        for line in death["lines"].splitlines():
            print(f"    {line}")


def register(arguments: Namespace) -> int:
    """Make a service known; with --start have it run, too. Returns: the exit code."""
    ready()
    from services.actions import definitions
    from services.actions.running import start as start_service

    if arguments.start:
        _need_daemon(unless=arguments.no_wait)
    spec = spec_of(arguments)
    known = _known(spec.name) if arguments.replace else None
    service = definitions.redefine(known, spec) if known else definitions.register(spec)
    if not arguments.json:
        print(f"Service {service.name} is {'changed' if known else 'registered'}.")
    if not arguments.start:
        if arguments.json:
            _print(_detail(service))
        else:
            print(f"  Start it: gaia service start {service.name}")
        return 0
    start_service(service)
    return _after([service], arguments, "up", one=True)


def _known(name: str) -> Service | None:
    from services.models import Service

    return Service.objects.filter(name=name).first()


def unregister(arguments: Namespace) -> int:
    """Forget services. Returns: the exit code."""
    ready()
    from services.actions import definitions
    from services.actions.running import find_service

    chosen = [find_service(name) for name in arguments.names]
    names = [service.name for service in chosen]
    confirm(f"Forget {', '.join(names)}: definition, secrets and history? What runs is stopped.", yes=arguments.yes)
    for service in chosen:
        definitions.unregister(service)
    _print({"unregistered": names}) if arguments.json else print(f"Unregistered: {', '.join(names)}")
    return 0


def start(arguments: Namespace) -> int:
    """Have services up, and wait until they are ready. Returns: the exit code."""
    chosen = _chosen(arguments)
    from services.actions.running import start_all

    start_all(chosen)
    return _after(chosen, arguments, "up")


def stop(arguments: Namespace) -> int:
    """Have services down, and wait until they are. Returns: the exit code."""
    chosen = _chosen(arguments)
    from services.actions.running import stop_all

    stop_all(chosen, graceful=not arguments.now)
    return _after(chosen, arguments, "down")


def restart(arguments: Namespace) -> int:
    """End services and start them again. Returns: the exit code."""
    chosen = _chosen(arguments)
    from services.actions.running import restart_all

    restart_all(chosen, graceful=not arguments.now)
    return _after(chosen, arguments, "up")


def _chosen(arguments: Namespace) -> list[Service]:
    ready()
    from services.actions.running import find_service

    chosen = [find_service(name) for name in dict.fromkeys(arguments.names)]
    _need_daemon(unless=arguments.no_wait)
    return chosen


def _need_daemon(*, unless: bool) -> None:
    """Raises: Unavailable when there is none, unless nobody waits: then it is written down for the next one."""
    from gaia_site import platform

    if platform.daemon_runs():
        return
    if unless:
        say("GAIA is down: it is done as soon as it runs. Start it: gaia up --detach")
        return
    raise Unavailable(
        "GAIA is down",
        meaning="Its daemon starts and stops services, so nothing was done. What runs goes on running.",
        fix="Start it: gaia up --detach. Or say --no-wait: then it is done as soon as GAIA runs.",
    )


def _tell_if_down() -> None:
    from gaia_site import platform

    if not platform.daemon_runs():
        say("GAIA is down: this is how it was when it last looked. Start it: gaia up --detach")


def _after(chosen: list[Service], arguments: Namespace, wanted: str, *, one: bool = False) -> int:
    """Wait unless told not to, and say what became of it. Returns: the exit code."""
    from gaia_site.cli.service_waiting import wait

    if not arguments.no_wait:
        wait(chosen, wanted, timeout=arguments.timeout)
    described = _described(chosen)
    if arguments.json:
        chosen[0].refresh_from_db()
        _print(_detail(chosen[0]) if one else described)
    elif arguments.no_wait:
        print("\n".join(f"Service {each['name']}: {pictures.word(each['state'])}" for each in described))
    else:
        print(pictures.service_list(described).partition("\n\n")[0])
    return 0


def _described(chosen: list[Service]) -> list[dict[str, Any]]:
    from services.models import Service
    from services.overview import services_overview

    by_id = {service.pk: service for service in Service.objects.filter(pk__in=[each.pk for each in chosen])}
    return services_overview([by_id[each.pk] for each in chosen])


def logs(arguments: Namespace) -> int:
    """What a service has written; with -f go on until Ctrl-C. Returns: the exit code."""
    ready()
    from services.actions.running import find_service
    from services.logs import read_end

    service = find_service(arguments.name)
    read = read_end(service, arguments.lines)
    if arguments.json and not arguments.follow:
        _print(read)
        return 0
    if arguments.follow:
        from gaia_site.cli.service_waiting import follow_log

        return follow_log(service, read, as_json=arguments.json)
    sys.stdout.write(read["text"] + (f"{read['unfinished']}\n" if read["unfinished"] else ""))
    return 0


def health(arguments: Namespace) -> int:
    """A service's probes, now and before. Returns: 0 when it is ready, 1 when not."""
    ready()
    from services import history
    from services.actions.running import find_service
    from services.overview import service_overview

    service = find_service(arguments.name)
    one = service_overview(service)
    periods = history.health_history(service)
    if arguments.json:
        _print({"state": one["state"], "problem": one["problem"], "probes": one["probes"], "history": periods})
    else:
        print(f"{icon(one['state'])} {service.name}: {pictures.word(one['state'])}")
        print("\n".join(pictures.probe_lines(one["probes"]) or ["  It has no probes."]))
        for period in [each for each in periods if not each["ok"]][:10]:
            until = pictures.clock(period["checked_at"])
            print(f"  was bad      {period['probe']}, {pictures.clock(period['since'])} to {until}: {period['answer']}")
    return 0 if one["state"] in {"running", "completed"} else 1


def metrics(arguments: Namespace) -> int:
    """CPU and memory over time. Returns: the exit code."""
    ready()
    from services import history
    from services.actions.running import find_service

    service = find_service(arguments.name)
    data = {"span": arguments.span, **history.metrics(service, _SPANS[arguments.span])}
    _print(data) if arguments.json else print(pictures.figures(data))
    return 0


def events(arguments: Namespace) -> int:
    """What happened to a service, oldest first. Returns: the exit code."""
    ready()
    from services.actions.running import find_service
    from services.console.page import own_events

    service = find_service(arguments.name)
    shown = list(reversed(own_events(service)[: arguments.limit]))
    if arguments.json:
        _print([event.as_dict() for event in shown])
        return 0
    for event in shown:
        print(f"{event.at.astimezone():%Y-%m-%d %H:%M:%S}  {event.actor:<20} {event.message}")
    return 0


def import_(arguments: Namespace) -> int:
    """Register and redefine what a registry has. Returns: the exit code."""
    ready()
    from services.actions.registry import import_definitions

    done = import_definitions(read_json(arguments.file), dry_run=arguments.dry_run).as_dict()
    if arguments.json:
        _print(done)
        return 0
    for verb in ("registered", "redefined", "unchanged"):
        if done[verb]:
            print("\n".join(wrapped(f"{verb:<11} ", ", ".join(done[verb]))))
    if not any(done[verb] for verb in ("registered", "redefined", "unchanged")):
        print("There is no service in it.")
    for name, secrets in done["missing_secrets"].items():
        say(f"{name} has no value for {', '.join(secrets)} yet: gaia service register FILE --replace")
    if done["outdated"]:
        say(f"As it was defined before until it is restarted: {', '.join(done['outdated'])}")
    if arguments.dry_run:
        print("Nothing was done (--dry-run).")
    return 0


def export(arguments: Namespace) -> int:
    """All definitions as JSON, without the values of secrets. Returns: the exit code."""
    ready()
    from common.files import write_atomic
    from services.actions.registry import registry

    text = json.dumps(registry(), indent=2, ensure_ascii=False, default=str) + "\n"
    if arguments.file is None or arguments.file == "-":
        sys.stdout.write(text)
        return 0
    path = called_from() / Path(arguments.file).expanduser()
    write_atomic(path, text)
    _print({"path": str(path)}) if arguments.json else print(f"{path} has them.")
    return 0


def _print(data: Any) -> None:
    print(json.dumps(data, default=_plain))


def _plain(value: Any) -> str:
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)
