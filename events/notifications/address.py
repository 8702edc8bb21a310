"""Addresses of destinations: what may be one, and how much of it is shown."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from common.errors import InvalidInput
from events.drivers.reach import numeric, why_not
from events.models import Destination
from events.states import DestinationKind

_LONGEST = 500
_FIX = "Write https://HOST/PATH for a webhook, or NAME@HOST for mail."


def kind_of(address: str) -> str:
    """What an address is, by how it looks. Raises: InvalidInput."""
    if "://" in address:
        return DestinationKind.WEBHOOK
    if "@" in address:
        return DestinationKind.EMAIL
    raise InvalidInput(f"{address[:120]!r} is neither a web address nor a mail address", fix=_FIX)


def check_address(kind: str, address: str) -> str:
    """The address, trimmed. Raises: InvalidInput for one that GAIA does not send to."""
    text = address.strip()
    if len(text) > _LONGEST:
        raise InvalidInput(f"the address is {len(text)} characters long", fix=f"At most {_LONGEST} are kept.")
    if kind == DestinationKind.EMAIL:
        _check_mailbox(text)
    else:
        _check_url(text)
    return text


def _check_mailbox(text: str) -> None:
    try:
        validate_email(text)
    except ValidationError:
        raise InvalidInput(f"{text[:120]!r} is not a mail address", fix="Write it like ops@example.org.") from None


def _check_url(text: str) -> None:
    parts = _split(text)
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or not host or not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidInput("that is not an address a webhook can have", fix="Write it like https://HOST/PATH.")
    if parts.username is not None or parts.password is not None:
        raise InvalidInput(
            "the address carries a user name or password",
            meaning="It would stand in the database as it is.",
            fix="Leave it away; give the destination a secret, with which every delivery is signed.",
        )
    spelt = numeric(host)
    if spelt is not None and (reason := why_not(spelt)):
        raise InvalidInput(f"nothing is sent to {host}: {reason}", fix="Name the machine your receiver runs on.")


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port  # judged when it is asked for
    except ValueError as error:
        raise InvalidInput(f"that is not a web address: {error}", fix="Write it like https://HOST/PATH.") from None
    return parts


def shown_address(destination: Destination) -> str:
    """The address without what may be a password: the path of many a webhook is one."""
    if destination.kind == DestinationKind.EMAIL:
        return destination.address
    parts = urlsplit(destination.address)
    more = bool(parts.path.strip("/") or parts.query)
    return f"{parts.scheme}://{parts.netloc}{'/…' if more else ''}"
