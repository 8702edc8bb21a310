"""One try of one message."""

from __future__ import annotations

from django.conf import settings
from django.utils import timezone

from common.errors import GaiaError
from common.mail import mail_server
from events.drivers import mail, webhook
from events.drivers.outcome import NotDelivered
from events.models import Destination
from events.notifications.message import Message, sign
from events.states import DestinationKind


def dispatch(destination: Destination, message: Message) -> None:
    """Try once; takes at most some ten seconds. Raises: NotDelivered."""
    if destination.kind == DestinationKind.EMAIL:
        _mail(destination, message)
    else:
        _post(destination, message)


def _post(destination: Destination, message: Message) -> None:
    body = message.as_json()
    headers = {"Content-Type": "application/json", "User-Agent": "GAIA", **message.headers()}
    if destination.secret:
        headers["X-Gaia-Signature"] = sign(destination.secret, timezone.now(), body)
    webhook.post(destination.address, body, headers)


def _mail(destination: Destination, message: Message) -> None:
    url = settings.GAIA["mail.url"]
    if not url:
        raise NotDelivered("no mail server is set: write mail.url into config.toml and restart GAIA")
    try:
        server = mail_server(url)
    except GaiaError as error:  # the settings were checked; their rules are newer than the running process
        raise NotDelivered(error.what) from error
    mail.send(
        server,
        sender=settings.GAIA["mail.sender"],
        recipient=destination.address,
        subject=message.subject(),
        text=message.text(),
        headers={**message.headers(), "Auto-Submitted": "auto-generated"},
    )
