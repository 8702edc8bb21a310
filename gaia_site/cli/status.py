"""`gaia status`: is GAIA up, what runs, is anything wrong; from the database, console or not."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from common.home import gaia_home
from gaia_site.cli import fast, panic, pictures
from gaia_site.cli.ground import furnished
from gaia_site.cli.show import look_now

if TYPE_CHECKING:
    from processes.models import Process
    from services.models import Service

_PARTS = {"gaia-web": "web", "gaia-jobs": "jobs"}
_TROUBLE = {"unready", "backoff", "crash_loop", "failed"}


def status(arguments: Namespace) -> int:
    """Is GAIA up, what does it have, is anything wrong. Returns: 0 when all of it runs, 1 when not."""
    data = _status() if furnished() else _NOTHING | {"home": str(gaia_home().root)}
    if arguments.json:
        print(json.dumps(data))
    else:
        print("\n".join(_told(data)))
    return 0 if data["up"] else 1


_NOTHING: dict[str, Any] = {
    "up": False,
    "url": None,
    "processes": {"daemon": None, "web": None, "jobs": None},
    "services": [],
    "totals": {"environments": 0, "stages": 0, "sessions": 0},
    "health": {"verdict": "unhealthy", "reasons": []},
    "panic": {"panic": False, "by": None, "at": None, "reason": None, "lifted_by": None, "lifted_at": None},
}


def _status() -> dict[str, Any]:
    look_now()
    from django.conf import settings

    from gaia_site import multi_env, platform
    from policy.panic import describe, standing

    services = services_in_short(daemon=platform.daemon_runs())
    pids = {_PARTS[each["name"]]: each["pid"] for each in services if each["name"] in _PARTS}
    parts = {"daemon": platform.daemon_pid(), "web": pids.get("web"), "jobs": pids.get("jobs")}
    endpoint = fast.endpoint()
    public, problems = settings.GAIA["server.public_url"], multi_env.problems()
    return {
        "up": all(parts.values()),
        "url": public or endpoint[0] if endpoint and parts["web"] else None,
        "home": str(settings.GAIA.home.root),
        "processes": parts,
        "services": services,
        "totals": multi_env.status()["totals"],
        "health": {"verdict": "unhealthy" if problems or not all(parts.values()) else "healthy", "reasons": problems},
        "panic": describe(standing()),
    }


def services_in_short(*, daemon: bool) -> list[dict[str, Any]]:
    """GAIA's own parts first, then all other services by name; two queries.

    Args:
        daemon: whether one runs. Without one the rows may be old: what has no process any more is stopped.
    """
    from processes.models import Process
    from services.models import Service
    from services.states import ServiceKind

    rows = list(Service.objects.defer("argv", "env", "secrets", "last_death").order_by("name"))
    rows.sort(key=lambda each: each.kind != ServiceKind.PLATFORM)
    live = Process.objects.active().newest_by_owner([each.owner for each in rows])
    return [_in_short(each, live.get(each.owner), daemon) for each in rows]


def _in_short(service: Service, process: Process | None, daemon: bool) -> dict[str, Any]:
    from processes.actions.harvest import is_alive
    from services.states import SERVICE_UP, ServiceState

    pid = process.pid if process is not None and process.pid and is_alive(process) else None
    old = not daemon and pid is None and service.state in SERVICE_UP
    state = ServiceState.STOPPED if old else ServiceState(service.state)
    asked = bool(service.probes_asked) and pid is not None and state != ServiceState.STARTING
    return {
        "name": service.name,
        "kind": service.kind,
        "state": state.value,
        "since": service.state_since.isoformat(),
        "pid": pid,
        "restarts": service.restarts,
        "healthy": state == ServiceState.RUNNING if asked else None,
        "problem": "" if old else service.problem,
    }


def _told(data: dict[str, Any]) -> list[str]:
    some = any(data["processes"].values())
    word = "up" if data["up"] else "half up: see below" if some else "down"
    where = f" at {data['url']}" if data["url"] else ""
    lines = [f"{pictures.icon('running' if data['up'] else 'failed' if some else 'stopped')} GAIA is {word}{where}"]
    lines += panic.lines(data["panic"]) if data["panic"]["panic"] else []
    lines += _part_lines(data) if some else []
    lines += _service_lines([each for each in data["services"] if each["name"] not in _PARTS])
    lines.append(f"  {pictures.totals(data['totals'])}")
    lines.append(f"  home {data['home']}")
    for problem in data["health"]["reasons"]:
        lines += pictures.wrapped(f"  {pictures.ICONS['failed']} ", problem)
    if not data["up"]:
        lines.append("  Start it: gaia up")
    return lines


def _part_lines(data: dict[str, Any]) -> list[str]:
    """The daemon, the console and the job queue, each with its pid and what there is to say."""
    known = {_PARTS[each["name"]]: each for each in data["services"] if each["name"] in _PARTS}
    lines = []
    for name, pid in data["processes"].items():
        service = known.get(name)
        state = (service["state"] if service and pid else "running") if pid else "stopped"
        told = (f"pid {pid}{_besides(service)}" if pid else "not running") + _why(service)
        lines += pictures.wrapped(f"  {pictures.icon(state)} {name:<7} ", told)
    return lines


def _service_lines(services: Sequence[dict[str, Any]]) -> list[str]:
    """Services people registered, a line each; of stages, which other pictures show, only those in trouble."""
    shown = [each for each in services if each["kind"] != "stage" or each["state"] in _TROUBLE]
    width = max((len(each["name"]) for each in shown), default=0)
    lines = []
    for each in shown:
        pid = f", pid {each['pid']}" if each["pid"] else ""
        told = f"{each['state'].replace('_', ' ')}{pid}{_besides(each)}{_why(each)}"
        lines += pictures.wrapped(f"  {pictures.icon(each['state'])} {each['name']:<{width}} ", told)
    return lines


def _besides(service: dict[str, Any] | None) -> str:
    if service is None:
        return ""
    since = datetime.now(UTC) - datetime.fromisoformat(service["since"])
    age = f", for {pictures.age(int(since.total_seconds()))}"
    return age + (f", restarted {service['restarts']} ×" if service["restarts"] else "")


def _why(service: dict[str, Any] | None) -> str:
    return f": {service['problem']}" if service and service["problem"] else ""
