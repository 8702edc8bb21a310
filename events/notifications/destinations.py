"""What operators do with destinations."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import IntegrityError
from django.db.models import Count, Max, Q, QuerySet
from django.utils import timezone

from common.errors import Conflict, InvalidInput, NotFound
from common.names import check_name
from events import log
from events.actor import current_actor
from events.drivers.outcome import NotDelivered
from events.models import Destination, Event, Level, Notification
from events.notifications.address import check_address, kind_of, shown_address
from events.notifications.choice import check_level, check_patterns
from events.notifications.dispatch import dispatch
from events.notifications.fanout import fan_out
from events.notifications.message import Message
from events.states import DestinationKind, NotificationState
from events.tail import newest_id

SHORTEST_SECRET, _LONGEST_SECRET = 16, 200


@dataclass(frozen=True)
class Tested:
    """What became of a test. took: seconds."""

    delivered: bool
    problem: str
    took: float


def key_of(destination: Destination) -> str:
    """Subject of its events."""
    return f"destination/{destination.name}"


def find(name: str) -> Destination:
    """The destination of that name. Raises: NotFound that lists what there is."""
    found = Destination.objects.filter(name=name).first()
    if found is None:
        names = ", ".join(Destination.objects.values_list("name", flat=True)[:10])
        fix = f"There are: {names}." if names else "Add one: gaia notify add NAME ADDRESS."
        raise NotFound(f"there is no destination {name!r}", fix=fix)
    return found


def add(name: str, address: str, *, events: str = "*", level: str = Level.WARNING, secret: str = "") -> Destination:
    """A new destination, told of what happens from now on.

    Args:
        address: an http or https URL, or a mail address.
        events: kinds, separated by spaces, with * ? and [].
        level: the least that is told.
        secret: signs what a webhook is sent; empty for none.

    Raises: InvalidInput; Conflict when the name is taken.
    """
    check_name(name, what="destination's name")
    kind = kind_of(address.strip())
    fields = {
        "address": check_address(kind, address),
        "events": check_patterns(events),
        "level": check_level(level),
        "secret": _check_secret(kind, secret),
    }
    if kind == DestinationKind.EMAIL and not settings.GAIA["mail.url"]:
        raise InvalidInput(
            "GAIA knows no mail server",
            meaning="Nothing was added.",
            fix="Set mail.url, such as smtp://USER:PASSWORD@HOST:587, in config.toml and start GAIA again.",
        )
    try:
        with log.atomic():
            made = Destination.objects.create(name=name, kind=kind, after=newest_id(), **fields)
            told = f"Destination {name} is told of {made.events} from level {made.level} on: {shown_address(made)}"
            log.emit("destination.added", subject=key_of(made), message=told)
    except IntegrityError:
        fix = f"Choose another name, or change that one: gaia notify set {name}."
        raise Conflict(f"there is a destination {name} already", fix=fix) from None
    return made


def change(destination: Destination, **wanted: str) -> Destination:
    """Give it another address, other events, another level or secret; what happened before keeps to the old ones.

    Args:
        wanted: of `address`, `events`, `level`, `secret`; what is not given stays.

    Raises: InvalidInput.
    """
    checks: dict[str, Callable[[str], str]] = {
        "address": lambda text: check_address(destination.kind, text),
        "events": check_patterns,
        "level": check_level,
        "secret": lambda text: _check_secret(destination.kind, text),
    }
    fields = {name: checks[name](text) for name, text in wanted.items()}
    changed = {name: value for name, value in fields.items() if value != getattr(destination, name)}
    if not changed:
        return destination
    with log.atomic():
        _catch_up(destination)
        Destination.objects.filter(pk=destination.pk).update(**changed, after=newest_id())
        what = ", ".join(sorted(changed))
        log.emit(
            "destination.changed",
            subject=key_of(destination),
            message=f"Destination {destination.name} has another {what}",
        )
    destination.refresh_from_db()
    return destination


def turn(destination: Destination, *, on: bool) -> bool:
    """Switch it on or off. What happens while it is off is not told later; what waited is given up.

    Returns: whether that changed anything.
    """
    with log.atomic():
        moved = Destination.objects.filter(pk=destination.pk, enabled=not on).update(enabled=on, after=newest_id())
        if moved:
            if not on:
                waiting = destination.notifications.filter(state=NotificationState.WAITING)
                waiting.update(state=NotificationState.FAILED, problem="The destination was turned off.")
            word = "on" if on else "off"
            told = f"Destination {destination.name} was turned {word}"
            log.emit(f"destination.turned_{word}", subject=key_of(destination), message=told)
    destination.enabled = on
    return bool(moved)


def remove(destination: Destination) -> None:
    """Forget it, and what it was told of."""
    with log.atomic():
        Notification.objects.filter(destination=destination).delete()
        Destination.objects.filter(pk=destination.pk).delete()
        told = f"Destination {destination.name} was removed"
        log.emit("destination.removed", subject=key_of(destination), message=told)


def send_test(destination: Destination) -> Tested:
    """Send a message that is no event, now; takes up to some ten seconds."""
    event = Event(
        at=timezone.now(),
        actor=current_actor(),
        kind="notification.test",
        subject=key_of(destination),
        message=f"A test: {destination.name} is told of {destination.events} from level {destination.level} on.",
    )
    message = Message(f"test-{secrets.token_hex(8)}", destination.name, [event])
    began = time.monotonic()
    try:
        dispatch(destination, message)
        problem = ""
    except NotDelivered as error:
        problem = error.what
    with log.atomic():
        told = f"could not be reached: {problem}" if problem else "was sent a test"
        log.emit(
            "destination.tested",
            subject=key_of(destination),
            message=f"Destination {destination.name} {told}",
            level=Level.WARNING if problem else Level.INFO,
        )
    return Tested(not problem, problem, time.monotonic() - began)


def overview() -> QuerySet[Any]:
    """All of them, each with how its notifications fare."""
    waiting = Q(notifications__state=NotificationState.WAITING)
    return Destination.objects.annotate(
        waiting=Count("notifications", filter=waiting),
        tried=Count("notifications", filter=waiting & Q(notifications__attempts__gt=0)),
        given_up=Count("notifications", filter=Q(notifications__state=NotificationState.FAILED)),
        last_delivered_at=Max("notifications__delivered_at"),
    ).order_by("name")


def state_of(destination: Any) -> str:
    """`on`, `off`, or `failing` while tries fail. destination: of `overview`."""
    if not destination.enabled:
        return "off"
    return "failing" if destination.tried else "on"


def describe(destination: Any) -> dict[str, Any]:
    """A destination of `overview` as every door shows it: never its secret, nor the path of a webhook."""
    last = destination.last_delivered_at
    return {
        "id": destination.pk,
        "name": destination.name,
        "kind": destination.kind,
        "address": shown_address(destination),
        "signed": bool(destination.secret),
        "events": destination.events,
        "level": destination.level,
        "enabled": destination.enabled,
        "state": state_of(destination),
        "waiting": destination.waiting,
        "given_up": destination.given_up,
        "last_delivered_at": last and last.isoformat(),
    }


def _catch_up(destination: Destination) -> None:
    """What has happened up to now is chosen by what is in force now."""
    destination.refresh_from_db()
    upto = newest_id()
    while destination.enabled and destination.after < upto:
        before = destination.after
        fan_out(destination, upto=upto, now=timezone.now(), looked=destination.after)
        if destination.after == before:
            break


def _check_secret(kind: str, text: str) -> str:
    if not text:
        return ""
    if kind == DestinationKind.EMAIL:
        raise InvalidInput("mail is not signed with a secret", fix="Leave the secret away.")
    clean = text.isascii() and text.isprintable() and " " not in text
    if not (clean and SHORTEST_SECRET <= len(text) <= _LONGEST_SECRET):
        what = f"{SHORTEST_SECRET} to {_LONGEST_SECRET} letters, digits and signs"
        raise InvalidInput("that cannot be a secret", fix=f"Use {what}, such as `openssl rand -hex 32` prints.")
    return text
