"""Receivers of notifications, and a clock that is the test's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from django.conf import settings

from tests.events.receivers import Mailbox, Receiver, mail_receiver, web_receiver

if TYPE_CHECKING:  # Django is not set up yet when this is imported
    from tests.events.telling import Clock


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Somebody who takes webhooks."""
    with web_receiver() as found:
        yield found


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    """A mail server, which is the one that is set."""
    with mail_receiver() as found:
        monkeypatch.setitem(settings.GAIA.values, "mail.url", found.url)  # type: ignore[arg-type]
        yield found


@pytest.fixture
def clock() -> Clock:
    """Time that goes on when the test says so."""
    from tests.events.telling import Clock

    return Clock()
