"""Destinations of notifications: what they may be, what is told of their changes, and whether they answer."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from django.conf import settings

from common.errors import Conflict, InvalidInput
from events.drivers.outcome import NotDelivered
from events.models import Destination, Event, Notification
from events.notifications import delivery, destinations
from events.notifications.message import Message
from tests.events.receivers import Mailbox, Receiver
from tests.events.telling import SECRET

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("ftp://example.org/", "not an address a webhook can have"),
        ("http:///path", "not an address a webhook can have"),
        ("http://me:secret@example.org/", "carries a user name"),
        ("http://169.254.169.254/latest/meta-data", "credentials of cloud machines"),
        ("http://[fd00:ec2::254]/", "credentials of cloud machines"),
        ("http://[fd20:ce::254]/", "credentials of cloud machines"),
        ("http://168.63.129.16/", "credentials of cloud machines"),
        ("http://[::ffff:169.254.169.254]/", "credentials of cloud machines"),
        ("http://[64:ff9b::a9fe:a9fe]/", "credentials of cloud machines"),
        ("http://2852039166/", "credentials of cloud machines"),
        ("http://0xa9fea9fe/", "credentials of cloud machines"),
        ("http://169.254.3.4/", "link-local"),
        ("http://[fe80::1]/", "link-local"),
        ("http://0.0.0.0/", "nobody's own"),
        ("http://example.org:99999/", "not a web address"),
        ("http://example.org/a b", "not an address a webhook can have"),
        ("example.org", "neither a web address nor a mail address"),
        ("ops@", "not a mail address"),
        ("a@example.org,b@example.org", "not a mail address"),
        ("ops@example.org\nBcc: x@example.org", "not a mail address"),
    ],
)
def test_addresses_that_are_refused(address: str, told: str, acting: str, mailbox: Mailbox) -> None:
    with pytest.raises(InvalidInput, match=told):
        destinations.add("ops", address)
    assert not Destination.objects.exists()


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9000/x", "https://10.0.0.7/", "http://[::1]:8000/", "http://tool.lan"]
)
def test_tools_at_home_are_reached(address: str, acting: str) -> None:
    assert destinations.add("ops", address).address == address


def test_other_mistakes(acting: str, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    here = "http://127.0.0.1:9/"
    for wrong, told in (
        ({"events": " "}, "no kind"),
        ({"events": "a;b"}, "cannot match"),
        ({"events": "x" * 501}, "501 characters"),
        ({"level": "loud"}, "no level"),
        ({"secret": "short"}, "cannot be a secret"),
    ):
        with pytest.raises(InvalidInput, match=told):
            destinations.add("ops", here, **wrong)
    with pytest.raises(InvalidInput, match="not signed"):
        destinations.add("ops", "ops@example.org", secret=SECRET)
    with pytest.raises(InvalidInput, match="destination's name"):
        destinations.add("o p s", here)
    destinations.add("ops", here)
    with pytest.raises(Conflict, match="destination ops already"):
        destinations.add("ops", here)
    monkeypatch.setitem(settings.GAIA.values, "mail.url", "")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="no mail server"):
        destinations.add("mail", "ops@example.org")


def test_the_log_has_every_change_and_no_secret(acting: str) -> None:
    ops = destinations.add("ops", "http://127.0.0.1:9/services/T0/verysecretpath", secret=SECRET)
    destinations.change(ops, secret=SECRET[::-1], level="error")
    destinations.change(ops, level="error")
    destinations.turn(ops, on=False)
    destinations.remove(ops)
    events = Event.objects.filter(subject="destination/ops").order_by("id")
    assert [event.kind for event in events] == [
        "destination.added", "destination.changed", "destination.turned_off", "destination.removed",
    ]  # fmt: skip
    assert events[1].message == "Destination ops has another level, secret"
    told = json.dumps([event.as_dict() for event in events])
    assert "verysecretpath" not in told
    assert SECRET not in told


def test_a_test_says_what_became_of_it(acting: str, receiver: Receiver) -> None:
    ops = destinations.add("ops", receiver.url, secret=SECRET)
    assert destinations.send_test(ops).delivered
    assert receiver.got[0].headers["X-Gaia-Event"] == "notification.test"
    assert receiver.got[0].headers["X-Gaia-Delivery"].startswith("test-")
    receiver.answer = lambda number: (401, "who are you?")
    tested = destinations.send_test(ops)
    assert (tested.delivered, tested.problem) == (False, "127.0.0.1 answered 401: who are you?")
    told = Event.objects.filter(kind="destination.tested").latest("id")
    assert told.message == "Destination ops could not be reached: 127.0.0.1 answered 401: who are you?"
    assert not Notification.objects.exists()


def test_a_mail_server_that_was_taken_away(acting: str, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    ops = destinations.add("ops", "ops@example.org")
    monkeypatch.setitem(settings.GAIA.values, "mail.url", "")  # type: ignore[arg-type]
    assert destinations.send_test(ops).problem.startswith("no mail server is set")
    with pytest.raises(NotDelivered):
        delivery.dispatch(ops, Message("1", "ops", [Event(message="x", kind="a.b", subject="c", actor="d")]))


def test_the_kinds_that_the_guide_names_are_emitted() -> None:
    root = Path(__file__).resolve().parents[2]
    table = (root / "docs" / "notifications.md").read_text().split("| kinds | level | when |")[1].split("\n\n")[0]
    named = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", table))
    rooms = ("environments", "processes", "services", "sessions", "gaia_site")
    code = "".join(path.read_text() for room in rooms for path in (root / room).rglob("*.py"))
    services = "".join((root / "services" / name).read_text() for name in ("ends.py", "actions/standing.py"))
    code += "".join(f'"service.{verb}"' for verb in re.findall(r'"([a-z_]+)"', services))  # `move` puts it before
    made = {"operation.failed"}  # its second half is the state
    assert len(named) > 8
    assert [kind for kind in sorted(named - made) if f'"{kind}"' not in code] == []
