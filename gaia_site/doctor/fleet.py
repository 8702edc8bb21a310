"""What GAIA runs and looks after: its own parts, services, environments, sessions, ports, certificates."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.conf import settings

from common.errors import GaiaError
from environments.findings import Finding
from environments.states import Verdict
from gaia_site.doctor.checks import EVERY, PORTS, USUAL, Check, Depth, Needs, failed, note, warning

_RECORDED = frozenset({Depth.VERIFY, Depth.PRODUCTION})
_ELSEWHERE = {"ports"}  # `check_ports` asks the same of all ports, not only of stages'
_MANY = 3


def check_parts() -> Iterator[Finding]:
    """The daemon runs, and with it the console and the job queue, which answer."""
    from gaia_site import platform
    from gaia_site.parts import JOBS, WEB
    from services.models import Service
    from services.states import ServiceState

    if not platform.daemon_runs():
        meaning = "Nobody looks after services, stages and sessions; what runs goes on."
        yield warning("parts", "down", "GAIA is down", meaning, "gaia up --detach")
        return
    restart = "gaia down --keep-stages && gaia up --detach"
    there = {service.owner: service for service in Service.objects.filter(owner__in=[WEB, JOBS])}
    for owner, called in ((WEB, "the console"), (JOBS, "the job queue")):
        service = there.get(owner)
        if service is None:
            yield failed(
                "parts", "missing", f"{called} is not there", "The daemon has not registered it.", restart, owner
            )
        elif service.state not in {ServiceState.RUNNING, ServiceState.STARTING}:
            what = f"{called} is {service.get_state_display().lower()}"
            yield failed("parts", "not-running", what, service.problem or "It should run.", restart, owner)


def check_services() -> Iterator[Finding]:
    """No service that should run has failed or dies again and again."""
    from gaia_site import platform
    from services.models import Service
    from services.states import Desired, ServiceKind, ServiceState

    first = "" if platform.daemon_runs() else "gaia up --detach && "  # nobody else starts services
    bad = (ServiceState.FAILED, ServiceState.CRASH_LOOP)
    rows = Service.objects.filter(desired=Desired.UP, state__in=bad).exclude(kind=ServiceKind.PLATFORM)
    for service in rows.exclude(kind=ServiceKind.STAGE):
        state = service.get_state_display().lower()
        what = f"{service.called}: {state}" + (f": {service.problem}" if service.problem else "")
        log = f"Its log: gaia service logs {service.name}"
        yield failed("services", service.state, what, log, f"{first}gaia service restart {service.name}", service.name)


def check_environments() -> Iterator[Finding]:
    """What the health checks say of every environment, looked at now: checkout, git, stages, databases, layer, …."""
    from environments.actions import health

    live = health.live()
    found = health.check_environments(health.fresh(live))
    for each in live:
        for finding in found[each.pk]:
            if finding.verdict != Verdict.OK and finding.check not in _ELSEWHERE:
                yield _of(each.directory, finding)


def _of(directory: str, finding: Finding) -> Finding:
    about = f"{directory}/{finding.about}" if finding.about else directory
    return Finding(
        finding.check, finding.verdict, _named(directory, finding.what), finding.meaning, finding.fix, finding.fault,
        about, data=finding.data,
    )  # fmt: skip


def _named(directory: str, what: str) -> str:
    """What stands below an environment's name elsewhere says here whose it is."""
    return f"{directory}: {what}" if what.startswith("its ") else what


def check_recorded() -> Iterator[Finding]:
    """What the last look at every environment found; for who has no time to look."""
    from environments.health_overview import health_of
    from environments.models import Environment
    from environments.states import ENVIRONMENT_ACTIVE, EnvironmentState

    live = list(Environment.objects.filter(state__in=ENVIRONMENT_ACTIVE).select_related("project"))
    damaged = {each.directory: each for each in live if each.state == EnvironmentState.DAMAGED}
    for name, each in damaged.items():  # that is known without a look
        fix = f"gaia env setup --project {each.project.name}"
        what = f"{name} is damaged" + (f": {each.problem}" if each.problem else "")
        yield failed("environments", "damaged", what, "Its stages cannot be launched.", fix, name)
    told = [one for one in health_of(live) if one["environment"] not in damaged]
    for one in told:
        yield from _recorded(one)
    unseen = [one["environment"] for one in told if one["checked_at"] is None]
    if unseen:
        names = _some(unseen)
        yield note("environments", "unseen", f"nobody has looked at {names} yet", "gaia doctor does, without --verify.")


def _recorded(one: dict[str, Any]) -> Iterator[Finding]:
    for each in one["findings"]:
        if each["verdict"] != Verdict.OK and each["check"] not in _ELSEWHERE:
            what, fault = _named(one["environment"], each["what"]), each["key"].partition(".")[2]
            verdict = Verdict(each["verdict"])
            yield Finding(each["check"], verdict, what, each["meaning"], each["fix"], fault, one["environment"])


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MANY} more" if names[_MANY:] else ""
    return ", ".join(names[:_MANY]) + more


def check_dirty() -> Iterator[Finding]:
    """Uncommitted work is no fault; before a release one wants to know of it."""
    from environments.models import GitState
    from environments.states import ENVIRONMENT_ACTIVE

    states = GitState.objects.filter(environment__state__in=ENVIRONMENT_ACTIVE).select_related("environment")
    dirty = [state.environment.directory for state in states if state.dirty]
    if dirty:
        yield note("git", "dirty", f"uncommitted work lies in {_some(dirty)}", "gaia multi-env-status shows how much.")


def check_sessions() -> Iterator[Finding]:
    """Sessions that should live do; those in environments are told with these."""
    from sessions.configured import fleet, fleet_problem
    from sessions.overview import missing_overview, sessions_overview

    if fleet_problem():
        return  # Django's checks tell it
    for one in sessions_overview(state="exited"):
        if one["origin"] != "foreign" and not one["environment"]:
            fix = f"gaia session start {one['name']}"
            yield warning("sessions", "ended", f"the program of session {one['name']} has ended", "", fix, one["name"])
    for one in missing_overview(fleet()):
        if not one["environment"]:
            fix = f"gaia session start {one['name']}"
            yield warning(
                "sessions", "missing", f"session {one['name']} is {one['state']}", one["problem"], fix, one["name"]
            )


def check_operations() -> Iterator[Finding]:
    """Operations that failed within the last day, when the same was not done since."""
    from datetime import timedelta

    from django.utils import timezone

    from processes.models import Operation
    from processes.states import OperationState

    recent = Operation.objects.filter(created_at__gt=timezone.now() - timedelta(days=1))
    newest: dict[tuple[str, str], Operation] = {}
    for operation in recent.order_by("id"):
        newest[operation.kind, operation.subject] = operation
    for operation in newest.values():
        if operation.state == OperationState.FAILED:
            why = (operation.error or {}).get("what", "")
            told = f"{operation.title} failed" + (f": {why}" if why and why != operation.title else "")
            yield note("operations", "failed", told, f"gaia operation log {operation.pk} shows how.", str(operation.pk))


def check_ports() -> Iterator[Finding]:
    """Nobody else listens on a port that is handed out, nor on the console's; layers have room."""
    from environments.actions import ports
    from gaia_site import platform
    from processes.actions.ports import check_listening

    for use in ports.overview():
        if use["state"] != "taken":
            continue
        who = f"{use['command'] or 'a process'} (pid {use['pid']})" if use["pid"] else "another user's process"
        name = f"{use['environment']} {use['stage']}" if use["stage"] else use["owner"]
        fix = use["move"] or (f"kill {use['pid']}" if use["pid"] else f"ss -ltnp 'sport = :{use['port']}'")
        meaning = "What it was handed out for cannot be started there."
        yield failed("ports", "taken", f"port {use['port']} of {name} is taken by {who}", meaning, fix, use["owner"])
    console = int(settings.GAIA["server.port"])
    if not platform.daemon_runs():
        try:
            check_listening(console)
        except GaiaError as error:
            free = ports.find(1)["ports"][0]
            meaning = "gaia up cannot start the console there."
            yield failed("ports", "console", f"the console's {error.what}", meaning, f"gaia config server.port {free}")
    yield from _layer_ports(console)


def _layer_ports(console: int) -> Iterator[Finding]:
    from environments.models import Layer

    for layer in Layer.objects.exclude(first_port=None):
        if layer.ports is not None and console in layer.ports:
            what = f"the console's port {console} lies in the range of layer {layer.name}"
            fix = f"gaia layer change {layer.name} --ports {console + 1}-{max(layer.ports.stop - 1, console + 15)}"
            yield warning(
                "ports", "layer", what, "A stage could be given that port while GAIA is down.", fix, layer.name
            )


def check_certificates() -> Iterator[Finding]:
    """No certificate of a stage that serves HTTPS has expired."""
    from environments.actions import https

    now = datetime.now(UTC)
    for one in https.overview()["environments"]:
        facts = one["certificate"]
        if not one["stages"]:
            continue
        fix = f"gaia https on {shlex.quote(one['environment'])} {one['stages'][0]}"
        if facts is None:
            what = f"{one['environment']} serves HTTPS and has no certificate"
            yield failed("certificates", "missing", what, "Its stages do not start.", fix, one["environment"])
        elif datetime.fromisoformat(facts["until"]) < now:
            what = f"the certificate of {one['environment']} has expired"
            yield failed("certificates", "expired", what, "Browsers refuse its stages.", fix, one["environment"])


CHECKS = (
    Check("parts", check_parts, needs=Needs.DATABASE, well="the daemon, the console and the job queue run"),
    Check("services", check_services, needs=Needs.DATABASE, well="no service has failed"),
    Check("ports", check_ports, PORTS, Needs.DATABASE, "nobody else listens on a port that is handed out"),
    Check("environments", check_environments, USUAL, Needs.DATABASE, "every environment is healthy"),
    Check("environments", check_recorded, _RECORDED, Needs.DATABASE, "every environment was healthy at the last look"),
    Check("sessions", check_sessions, USUAL, Needs.DATABASE, "every session lives"),
    Check("operations", check_operations, needs=Needs.DATABASE, well="no operation has failed"),
    Check("certificates", check_certificates, EVERY, Needs.DATABASE, "no certificate has expired"),
    Check("git", check_dirty, EVERY, Needs.DATABASE, "every change is committed"),
)
