"""`gaia notify …`: who is told of events, and what became of that."""

from __future__ import annotations

import json
import secrets
from argparse import Namespace
from typing import Any

from common.errors import InvalidInput, NotFound, Unavailable
from gaia_site.cli import pictures
from gaia_site.cli.ground import confirm, given, ready

_SIGNS = {"on": "running", "off": "stopped", "failing": "warning"}
_ADDRESS = "Mail address, or https:// address of a webhook"
_DELIVERY_SIGNS = {"waiting": "queued", "delivered": "succeeded", "failed": "failed"}


def list_(arguments: Namespace) -> int:
    """Destinations, and whether they take what they are sent. Returns: the exit code."""
    ready()
    from events.notifications.destinations import describe, overview

    found = [describe(each) for each in overview()]
    if arguments.json:
        print(json.dumps(found))
        return 0
    if not found:
        print("Nobody is told of events yet. Add a destination: gaia notify add NAME ADDRESS")
    for each in found:
        print("\n".join(_lines(each)))
    return 0


def _lines(each: dict[str, Any]) -> list[str]:
    sign = f"{pictures.icon(_SIGNS[each['state']])} {each['state']:<7}"
    lines = [f"{sign} {each['name']:<20} {each['address']}"]
    lines += pictures.wrapped("          ", f"{each['events']} from level {each['level']} on")
    counts = [f"{each[name]} {word}" for name, word in (("waiting", "waiting"), ("given_up", "given up")) if each[name]]
    if counts:
        lines.append(f"          {', '.join(counts)}: gaia notify log --destination {each['name']}")
    return lines


def add(arguments: Namespace) -> int:
    """Add a destination. Returns: the exit code."""
    ready()
    from events.notifications import destinations

    address, secret = given(arguments.address, _ADDRESS), _secret(arguments)
    made = destinations.add(
        arguments.name, address or "", events=arguments.events or "*", level=arguments.level or "warning",
        secret=secret or "",
    )  # fmt: skip
    told = _described(made)
    if arguments.json:
        print(json.dumps({**told, **({"secret": secret} if arguments.sign else {})}))
        return 0
    print(f"{made.name} is told of {made.events} from level {made.level} on. Try it: gaia notify test {made.name}")
    if arguments.sign:
        print(f"  It is signed with {secret}\n  shown once; its receiver needs it: docs/notifications.md")
    return 0


def set_(arguments: Namespace) -> int:
    """Change a destination. Returns: the exit code."""
    ready()
    from events.notifications import destinations

    address = given(arguments.address, _ADDRESS) if arguments.address is not None else None
    wanted = {"address": address, "events": arguments.events, "level": arguments.level}
    wanted["secret"] = _secret(arguments)
    said = {name: value for name, value in wanted.items() if value is not None}
    if not said:
        raise InvalidInput(
            "nothing is to be changed", meaning="Nothing was done.", fix="Name what: --events, --level, --address, …."
        )
    changed = destinations.change(destinations.find(arguments.name), **said)
    if arguments.json:
        print(json.dumps({**_described(changed), **({"secret": said["secret"]} if arguments.sign else {})}))
        return 0
    print(f"{changed.name} is told of {changed.events} from level {changed.level} on.")
    if arguments.sign:
        print(f"  It is signed with {said['secret']}\n  shown once")
    return 0


def _secret(arguments: Namespace) -> str | None:
    """The one that was given, made, or read; None when none was asked for."""
    if arguments.sign:
        arguments.secret = secrets.token_urlsafe(24)
    return given(arguments.secret, "Secret") if arguments.secret is not None else None


def turn(arguments: Namespace) -> int:
    """Turn a destination on or off. Returns: the exit code."""
    ready()
    from events.notifications import destinations

    destination, on = destinations.find(arguments.name), arguments.on
    changed = destinations.turn(destination, on=on)
    word = (
        ("is told of events from now on" if on else "is told of nothing any more")
        if changed
        else ("is on already" if on else "is off already")
    )
    print(json.dumps(_described(destination)) if arguments.json else f"{destination.name} {word}.")
    return 0


def test(arguments: Namespace) -> int:
    """Send a test now. Returns: the exit code, 6 when it was not taken."""
    ready()
    from events.notifications import destinations

    destination = destinations.find(arguments.name)
    tested = destinations.send_test(destination)
    if arguments.json:
        told = {"delivered": tested.delivered, "problem": tested.problem, "took": round(tested.took, 3)}
        print(json.dumps(told))
        return 0 if tested.delivered else Unavailable.exit_code
    if not tested.delivered:
        raise Unavailable(
            tested.problem,
            meaning=f"The test did not reach {destination.name}; events would not reach it either.",
            fix=f"Mend it there, or give it another address: gaia notify set {destination.name} --address …",
        )
    print(f"{destination.name} took the test in {tested.took:.1f} s.")
    return 0


def remove(arguments: Namespace) -> int:
    """Forget a destination. Returns: the exit code."""
    ready()
    from events.notifications import destinations

    destination = destinations.find(arguments.name)
    confirm(f"Remove {destination.name}, and the list of what it was told?", yes=arguments.yes)
    destinations.remove(destination)
    print(json.dumps({"removed": destination.name}) if arguments.json else f"{destination.name} was removed.")
    return 0


def log(arguments: Namespace) -> int:
    """What destinations were told, oldest first. Returns: the exit code."""
    ready()
    from events.models import Notification
    from events.notifications.deliveries import describe
    from events.notifications.destinations import find
    from events.states import NotificationState

    rows = Notification.objects.select_related("destination", "event").order_by("-id")
    if arguments.destination:
        rows = rows.filter(destination=find(arguments.destination))
    if arguments.failed:
        rows = rows.filter(state=NotificationState.FAILED)
    found = [describe(row) for row in reversed(rows[: arguments.limit])]
    if arguments.json:
        print(json.dumps(found))
        return 0
    if not found:
        print("Nobody was told of anything.")
    for each in found:
        sign = pictures.icon(_DELIVERY_SIGNS[each["state"]])
        number = f"{each['id']:>5} {sign} {each['destination']:<16} "
        print("\n".join(pictures.wrapped(number, each["event"]["message"])))
        if each["problem"]:
            print("\n".join(pictures.wrapped("        ", f"after {each['attempts']} tries: {each['problem']}")))
    return 0


def retry(arguments: Namespace) -> int:
    """Try again what was given up of a destination. Returns: the exit code."""
    ready()
    from events.notifications import deliveries, destinations

    destination = destinations.find(arguments.name)
    count = deliveries.retry_all(destination)
    if arguments.json:
        print(json.dumps({"retried": count}))
    elif not destination.enabled:
        raise NotFound(
            f"{destination.name} is off", meaning="Nothing was done.", fix=f"gaia notify on {destination.name}"
        )
    else:
        print(f"{count} notifications are tried again." if count != 1 else "1 notification is tried again.")
    return 0


def _described(destination: Any) -> dict[str, Any]:
    from events.notifications.destinations import describe, overview

    return describe(overview().get(pk=destination.pk))
