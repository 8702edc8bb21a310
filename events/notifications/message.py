"""What is said: one event, or in a burst several in one message, as JSON for programs and as mail for people."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings

from events.models import Event

SHOWN = 50
"""Events of a burst that are told in full; of the others, how many."""

_SUBJECT_CHARS = 120


@dataclass(frozen=True)
class Message:
    """Something for one destination.

    delivery: its id, the same at every try.
    events: in the order they happened, at least one.
    more: how many came after those.
    """

    delivery: str
    destination: str
    events: Sequence[Event]
    more: int = 0

    @property
    def kind(self) -> str:
        """The kind of its event; `bundle` when it tells of several."""
        return self.events[0].kind if len(self.events) + self.more == 1 else "bundle"

    @property
    def line(self) -> str:
        """All of it in one line."""
        first = " ".join(self.events[0].message.split())
        others = len(self.events) - 1 + self.more
        return f"{first} (and {others} more)" if others else first

    def as_json(self) -> bytes:
        """The body of a webhook. `text` is what chat programs show."""
        facts: dict[str, Any] = {
            "delivery": self.delivery,
            "destination": self.destination,
            "text": self.line,
            "events": [{**event.as_dict(), "link": link_to(event)} for event in self.events],
            "more": self.more,
        }
        return json.dumps(facts, ensure_ascii=False, default=str).encode()

    def headers(self) -> dict[str, str]:
        """What both webhooks and mails carry."""
        return {"X-Gaia-Event": self.kind, "X-Gaia-Delivery": self.delivery}

    def subject(self) -> str:
        """Of a mail."""
        line = f"[GAIA] {self.line}"
        return line if len(line) <= _SUBJECT_CHARS else f"{line[: _SUBJECT_CHARS - 1]}…"

    def text(self) -> str:
        """Of a mail."""
        told = "\n\n".join(_told(event) for event in self.events)
        more = f"\n\n… and {self.more} more: {console()}/admin/events/event/" if self.more else ""
        return f"{told}{more}\n\n-- \nGAIA tells {self.destination} of this: {console()}/admin/events/destination/\n"


def sign(secret: str, at: datetime, body: bytes) -> str:
    """The value of X-Gaia-Signature: `t=SECONDS,sha256=HEX` over `SECONDS.BODY`, as Stripe does it.

    The time is signed, too, so that a receiver can refuse what was recorded and is sent again later.
    """
    seconds = int(at.timestamp())
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},sha256={digest}"


def console() -> str:
    """Where people reach the console."""
    return str(settings.GAIA.url)


def link_to(event: Event) -> str:
    """The event's page in the console; the list of them for one that was not stored."""
    return f"{console()}/admin/events/event/" + (f"{event.pk}/change/" if event.pk else "")


def _told(event: Event) -> str:
    when = event.at.strftime("%Y-%m-%d %H:%M:%S UTC")
    facts = f"  {event.level} · {event.kind} · {event.subject}\n  {when}, by {event.actor}\n  {link_to(event)}"
    return f"{event.message}\n\n{facts}"
