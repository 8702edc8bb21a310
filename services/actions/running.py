"""What people want of services: intents, which the node's daemon carries out.

Each is one transaction, may be said again without harm, and never waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from common.errors import Conflict, InvalidInput, NotFound
from events import log
from processes.actions import stopping
from processes.actions.processes import request_stop, request_stop_many
from processes.models import Process
from services.actions.recording import begin, hold, move
from services.dependencies import Gates, in_start_order
from services.models import Service
from services.signals import service_starting
from services.states import SERVICE_UP, Desired, ServiceState

_TRIES = 20
_RUNS = (ServiceState.STARTING, ServiceState.RUNNING, ServiceState.UNREADY)


def find_service(name_or_id: str | int) -> Service:
    """A service by its name or by its number. Raises: NotFound with what there is."""
    text = str(name_or_id)
    services = Service.objects.select_related("node")
    found = services.filter(name=text).first()
    if found is None and text.isascii() and text.isdigit() and len(text) < 19:
        found = services.filter(pk=int(text)).first()
    if found is not None:
        return found
    names = list(Service.objects.order_by("name").values_list("name", flat=True)[:20])
    raise NotFound(
        f"there is no service {text[:80]!r}",
        fix=f"There are: {', '.join(names)}." if names else "Register one: gaia service register FILE.",
    )


def read_anew(service: Service) -> None:
    """Bring the row up to date. Raises: NotFound when somebody has unregistered it meanwhile."""
    try:
        service.refresh_from_db()
    except Service.DoesNotExist:
        raise NotFound(f"{service.called} is not registered any more") from None


def start(service: Service, *, prepared: bool = False) -> Service:
    """Have a service up: now, or as soon as what it depends on is there.

    What runs or is about to is left alone. After a failure it is started at once, and counts as new.

    Args:
        prepared: whoever makes services of its kind has seen to it already.

    Raises: InvalidInput when one of its secrets has no value yet; what those raise who hear `service_starting`.
    """
    if not prepared and service.state not in SERVICE_UP:
        service_starting.send(Service, service=service)
    return _until_written(service, _start)


def stop(service: Service, *, graceful: bool = True) -> Service:
    """Have a service down: TERM, its grace period, KILL.

    Args:
        graceful: False kills it at once.
    """
    return _until_written(service, lambda each: _stop(each, graceful=graceful))


def restart(service: Service, *, graceful: bool = True, prepared: bool = False) -> Service:
    """Have a service stop, if it runs, and start again, through the gates of what it depends on.

    Args:
        graceful: False kills it at once.
        prepared: as in `start`.

    Raises: as `start`.
    """
    if not prepared:
        service_starting.send(Service, service=service)
    return _until_written(service, lambda each: _restart(each, graceful=graceful))


def start_all(services: Iterable[Service]) -> list[Service]:
    """Start several, each behind those it depends on, in one transaction."""
    ordered = in_start_order(services)
    for service in ordered:
        if service.state not in SERVICE_UP:
            service_starting.send(Service, service=service)
    with log.atomic():
        return [start(service, prepared=True) for service in ordered]


def stop_all(services: Iterable[Service], *, graceful: bool = True) -> list[Service]:
    """Stop several, in one transaction."""
    ordered = list(reversed(in_start_order(services)))
    with log.atomic():
        stopped = _stop_running(ordered) if graceful else set()
        return [service if service.pk in stopped else stop(service, graceful=graceful) for service in ordered]


def restart_all(services: Iterable[Service], *, graceful: bool = True) -> list[Service]:
    """Restart several: all stop at once, and start again in the order of their dependencies."""
    ordered = in_start_order(services)
    for service in ordered:
        service_starting.send(Service, service=service)
    with log.atomic():
        return [restart(service, graceful=graceful, prepared=True) for service in ordered]


def _until_written(service: Service, write: Callable[[Service], bool]) -> Service:
    """The row is read anew until nobody has changed it between the look and the writing."""
    for _ in range(_TRIES):
        read_anew(service)
        if write(service):
            return service
    raise Conflict(f"{service.called} changes all the time", fix="Try again in a moment.")


def _start(service: Service) -> bool:
    if service.state in (ServiceState.STARTING, ServiceState.RUNNING, ServiceState.UNREADY, ServiceState.HELD):
        return service.desired == Desired.UP or _want(service, Desired.UP, "start_requested", "is to stay up")
    if service.state == ServiceState.STOPPING:
        told = "starts again as soon as it has stopped"
        return service.desired == Desired.UP or _want(service, Desired.UP, "start_requested", told)
    _check_secrets(service)
    if _live(service) is not None:  # its script started it, which the daemon has not seen yet
        return service.desired == Desired.UP or _want(service, Desired.UP, "start_requested", "is to stay up")
    why = Gates().closed(service)
    fresh = {"failures": 0, "failed_at": [], "last_death": service.last_death | {"repeated": 0}}
    if why:
        return hold(service, why, fields=fresh)
    return begin(service, message=f"Start of {service.called} was asked for", fields=fresh) is not None


def _check_secrets(service: Service) -> None:
    missing = sorted(name for name, value in service.secrets.items() if value is None)
    if missing:
        raise InvalidInput(
            f"{service.called} has no value for its secret{'s' if len(missing) > 1 else ''} {', '.join(missing)}",
            meaning="A definition that was imported names its secrets and does not have their values.",
            fix=f'Write "secrets": {{"{missing[0]}": "…"}} in its definition: gaia service register FILE --replace.',
            missing=missing,
        )


def _want(service: Service, desired: str, kind: str, told: str) -> bool:
    with log.atomic():
        changed = Service.objects.filter(pk=service.pk, state=service.state, desired=service.desired).update(
            desired=desired
        )
        if changed:
            log.emit(f"service.{kind}", subject=service.key, message=f"{service.sentence} {told}")
    service.desired = desired if changed else service.desired
    return bool(changed)


def _stop(service: Service, *, graceful: bool) -> bool:
    live = _live(service)
    if live is None and service.state in SERVICE_UP:
        return _settle(service)
    if live is None:
        if service.state == ServiceState.STOPPED and service.desired == Desired.DOWN:
            return True
        if service.state == ServiceState.STOPPED:
            return _want(service, Desired.DOWN, "stop_requested", "is to stay down")
        return _move_down(service)
    if service.desired == Desired.DOWN and service.state == ServiceState.STOPPING:
        _hurry([live], graceful)
        return True
    told = f"Stop of {service.called} was asked for" + ("" if graceful else ", at once")
    with log.atomic():
        if service.state == ServiceState.STOPPING:
            if not _want(service, Desired.DOWN, "stop_requested", "does not start again"):
                return False
        elif service.state in SERVICE_UP and not move(
            service,
            ServiceState.STOPPING,
            kind="stop_requested",
            message=told,
            fields={"desired": Desired.DOWN, "ready_at": None, "problem": ""},
        ):
            return False
        started_by_script = service.state not in SERVICE_UP and service.desired == Desired.UP
        if started_by_script and not _want(service, Desired.DOWN, "stop_requested", "is to stay down"):
            return False
        _end([live], graceful)
    return True


def _stop_running(services: Sequence[Service]) -> set[int]:
    """Stop those that just run, in as many statements for fifty as for one. Returns: their ids; the others are left."""
    known = {service.pk: service for service in services}
    running = list(Service.objects.select_for_update().filter(pk__in=known, state__in=_RUNS).order_by("pk"))
    processes = Process.objects.active().filter(owner__in=[each.owner for each in running])
    live = {(each.node_id, each.owner): each for each in processes}
    chosen = [each for each in running if (each.node_id, each.owner) in live]
    changes: dict[str, Any] = {"state": ServiceState.STOPPING, "state_since": timezone.now(), "desired": Desired.DOWN}
    changes |= {"ready_at": None, "problem": ""}
    Service.objects.filter(pk__in=[each.pk for each in chosen]).update(**changes)
    for each in chosen:
        log.emit("service.stop_requested", subject=each.key, message=f"Stop of {each.called} was asked for")
        for name, value in changes.items():
            setattr(known[each.pk], name, value)
    request_stop_many([live[each.node_id, each.owner] for each in chosen])
    return {each.pk for each in chosen}


def _move_down(service: Service) -> bool:
    return move(
        service,
        ServiceState.STOPPED,
        kind="stopped",
        message=f"{service.sentence} is not started any more",
        fields={"desired": Desired.DOWN, "next_start_at": None, "problem": "", "alarmed_at": None},
    )


def _settle(service: Service) -> bool:
    """Its process has ended and the daemon has not dealt with that yet: it need only not start another one."""
    return move(
        service,
        ServiceState.STOPPED,
        kind="stopped",
        message=f"{service.sentence} was stopped",
        fields={"desired": Desired.DOWN, "ready_at": None, "next_start_at": None, "problem": ""},
    )


def _restart(service: Service, *, graceful: bool) -> bool:
    live = _live(service)
    if live is None or service.state not in SERVICE_UP:
        return _start(service) if service.state not in SERVICE_UP else _start_over(service)
    with log.atomic():
        told = f"Restart of {service.called} was asked for" + ("" if graceful else ", at once")
        fields: dict[str, Any] = {"desired": Desired.UP, "ready_at": None, "problem": ""}
        fields |= {"failures": 0, "failed_at": []}
        if service.state == ServiceState.STOPPING:
            if service.desired == Desired.DOWN and not _want(service, Desired.UP, "start_requested", "starts again"):
                return False
        elif not move(service, ServiceState.STOPPING, kind="stop_requested", message=told, fields=fields):
            return False
        _end([live], graceful)
    return True


def _start_over(service: Service) -> bool:
    """Its process has ended and the daemon has not dealt with that yet."""
    if service.desired == Desired.DOWN:
        return _want(service, Desired.UP, "start_requested", "starts again")
    return True


def _live(service: Service) -> Process | None:
    return Process.objects.active().filter(node=service.node, owner=service.owner).first()


def _end(processes: Sequence[Process], graceful: bool) -> None:
    _hurry(processes, graceful)
    for process in processes:
        request_stop(process)


def _hurry(processes: Sequence[Process], graceful: bool) -> None:
    """No grace period. What is in the middle of one is killed as soon as that is written down."""
    if not graceful:
        for process in processes:
            if process.stop_requested_at is not None and process.pid is not None:
                process.stop_grace = 0.0
                transaction.on_commit(partial(stopping.end, process))
        Process.objects.active().filter(Q(pk__in=[each.pk for each in processes]), ~Q(stop_grace=0)).update(
            stop_grace=0.0
        )
