"""GAIA's own console and job queue, which are services like any other."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from django.conf import settings

from gaia_site import canary
from processes.models import Node
from processes.states import EnvironmentBase
from services.actions import running
from services.actions.definitions import Place, redefine, register
from services.models import Service
from services.spec import ServiceSpec, parse_spec
from services.states import ServiceKind

WEB = "gaia/web"
JOBS = "gaia/jobs"
_STOP_GRACE_S = 5.0


def definitions(port: int | None = None) -> dict[str, ServiceSpec]:
    """What the console and the job queue are, by their owner keys.

    Args:
        port: of the console, when another one than the settings' is in force.
    """
    config = settings.GAIA
    chosen = port or config["server.port"]
    common = {"kind": ServiceKind.PLATFORM, "cwd": settings.BASE_DIR, "restart": "always", "stop_grace": _STOP_GRACE_S}
    web = {
        "name": "gaia-web",
        "title": "the console",
        "command": [
            sys.executable, "-m", "uvicorn", "gaia_site.asgi:application",
            "--host", config["server.host"], "--port", str(chosen),
            # it ends its open streams within two seconds when told to stop, or it never would
            "--timeout-graceful-shutdown", "2",
            "--ws-max-size", "65536", "--no-access-log", "--lifespan", "off", "--log-level", "warning",
        ],
        "port": chosen,
        "env": {"GAIA_ROLE": "web"},
        # generous: a console that is only slow is not made faster by a restart, which ends everybody's streams
        "probes": [
            {"type": "http", "endpoint": f"http://{local_host(config['server.host'])}:{chosen}/health",
             "purpose": purpose, "interval": 10, "timeout": 10, "retries": 6}
            for purpose in ("startup", "liveness")
        ],
    }  # fmt: skip
    jobs = {
        "name": "gaia-jobs",
        "title": "the job queue",
        "command": [sys.executable, str(settings.BASE_DIR / "manage.py"), "jobs"],
        "env": {"GAIA_ROLE": "jobs"},
        "probes": [
            {"type": "canary", "purpose": purpose, "interval": canary.EVERY_S, "timeout": 10, "retries": looks}
            for purpose, looks in (("startup", canary.LOOKS_AT_START), ("liveness", canary.LOOKS))
        ],
    }
    return {WEB: parse_spec({**common, **web}), JOBS: parse_spec({**common, **jobs})}


def ensure(node: Node, port: int | None = None) -> list[Service]:
    """Have both known as the settings say, and up: at once, however often they have failed before.

    Returns: the console's and the job queue's rows.
    """
    return [_ensure(node, owner, spec) for owner, spec in definitions(port).items()]


def _ensure(node: Node, owner: str, spec: ServiceSpec) -> Service:
    known = Service.objects.select_related("node").filter(node=node, owner=owner).first()
    place = Place(owner=owner, env_base=EnvironmentBase.GAIA)
    service = register(spec, place=place) if known is None else redefine(known, spec, place=place)
    # what died in another daemon's time is no reason to wait
    Service.objects.filter(pk=service.pk).exclude(failures=0).update(failures=0, failed_at=[], alarmed_at=None)
    return running.start(service)


def start(node: Node) -> None:
    """Have both up at once, for an operator who does not want to wait for the next try."""
    for service in rows(node):
        running.start(service)


def rows(node: Node) -> list[Service]:
    """The console's and the job queue's rows, as far as there are any."""
    found = {each.owner: each for each in Service.objects.filter(node=node, owner__in=(WEB, JOBS))}
    return [found[owner] for owner in (WEB, JOBS) if owner in found]


def local_host(host: str) -> str:
    """Where this machine reaches a console that listens on that address."""
    if host in {"0.0.0.0", "::", "localhost"}:  # noqa: S104  compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def status_line(services: Sequence[Service]) -> str:
    """The state of some services in one line: `gaia-web running, gaia-jobs backoff: it ended with code 1`."""
    told = [f"{each.name} {each.state}{f': {each.problem}' if each.problem else ''}" for each in services]
    return ", ".join(told) or "nothing runs yet"
