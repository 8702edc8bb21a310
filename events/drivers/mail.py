"""Handing in mail, through Django's backend for SMTP."""

from __future__ import annotations

import smtplib
from collections.abc import Mapping

from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend

from common.mail import MailServer
from common.redaction import mask_url
from events.drivers.outcome import NotDelivered

TIMEOUT_S = 10.0
_NO_SUCH_MAILBOX = frozenset({550, 551, 553})


def send(
    server: MailServer,
    *,
    sender: str,
    recipient: str,
    subject: str,
    text: str,
    headers: Mapping[str, str],
    timeout: float = TIMEOUT_S,
) -> None:
    """Hand in one plain-text mail.

    Args:
        timeout: seconds for each step of the conversation.

    Raises: NotDelivered.
    """
    backend = EmailBackend(
        host=server.host,
        port=server.port,
        username=server.username,
        password=server.password,
        use_tls=server.tls == "starttls",
        use_ssl=server.tls == "ssl",
        timeout=timeout,
        fail_silently=False,
    )
    mail = EmailMessage(subject, text, sender, [recipient], connection=backend, headers=dict(headers))
    try:
        mail.send()
    except smtplib.SMTPRecipientsRefused as error:
        code, said = next(iter(error.recipients.values()))
        raise NotDelivered(f"{server.host} refused {recipient}: {_said(code, said)}", gone=_is_gone(code)) from error
    except smtplib.SMTPResponseException as error:
        raise NotDelivered(f"{server.host} answered {_said(error.smtp_code, error.smtp_error)}") from error
    except (smtplib.SMTPException, OSError) as error:
        raise NotDelivered(f"{server.host} port {server.port} took no mail: {mask_url(str(error))[:300]}") from error


def _is_gone(code: int) -> bool:
    return code in _NO_SUCH_MAILBOX


def _said(code: int, text: bytes | str) -> str:
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f"{code} {mask_url(' '.join(words.split()))[:300]}".rstrip()
