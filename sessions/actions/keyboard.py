"""Whoever types into a session: one at a time, told in the log before it happens, once per idempotency key."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone
from django.utils.crypto import salted_hmac

from common.errors import Conflict, GaiaError, InvalidInput
from common.files import file_lock
from events import log
from events.actor import current_actor
from events.models import Level
from sessions.actions.panic import check_typing
from sessions.drivers.tmux import NOTHING_WRITTEN, NotSubmitted
from sessions.models import Send, Session
from sessions.states import SendOutcome

LONGEST_KEY = 100  # characters
KEPT = timedelta(days=1)
_WAIT_S = 10.0
_Pane = TypeVar("_Pane")  # a pane as the driver that writes into it knows it


@dataclass(frozen=True)
class Keys:
    """What is typed: as the log calls it, which never holds a text; and whole, to know a repetition by."""

    kind: str
    told: str
    request: Sequence[str | bool]


def type_once(
    session: Session,
    keys: Keys,
    find: Callable[[Session], _Pane],
    write: Callable[[_Pane], None],
    *,
    idempotency_key: str | None = None,
) -> None:
    """Have the session's keyboard for oneself and type.

    The event comes first (invariant 12): whoever is killed in between leaves a trace, which says that it was being
    typed, not that it arrived. One that failed gets a second event.

    Args:
        find: gives the pane; raises why nothing can be typed there.
        write: types into it; raises what went wrong.
        idempotency_key: a repetition of a request that was typed does nothing.

    Raises: PanicHolds while a panic holds; Conflict when the key was used for something else, or nobody knows how far
        the first request came; InvalidInput for a bad key; what `find` and `write` raise.
    """
    _check_key(idempotency_key)
    with _keyboard(session):
        if idempotency_key and _was_sent(idempotency_key, session, keys):
            return
        check_typing(session)
        pane = find(session)
        send = _announce(session, keys, idempotency_key)
        try:
            write(pane)
        except GaiaError as error:
            _failed(session, keys, error, send)
            raise
        if send is not None:
            Send.objects.filter(pk=send.pk).update(outcome=SendOutcome.SENT)


def _keyboard(session: Session) -> AbstractContextManager[None]:
    """Two texts whose Enter comes later would become one prompt (invariant 6)."""
    path = settings.GAIA.home.locks / f"keyboard-{session.gaia_id}.lock"
    return file_lock(path, timeout=_WAIT_S, what=f"the keyboard of {session.name}")


def _announce(session: Session, keys: Keys, key: str | None) -> Send | None:
    """The event, and the row of a request that has a key: both or none."""
    try:
        with log.atomic():
            log.emit(keys.kind, subject=session.key, message=f"{keys.told} to {session.name}", gaia_id=session.gaia_id)
            if not key:
                return None
            Send.objects.filter(created_at__lt=timezone.now() - KEPT).delete()
            return Send.objects.create(key=key, session=session, actor=current_actor(), digest=_digest(keys))
    except IntegrityError as error:  # somebody used it for another session, just now
        raise _used(str(key)) from error


def _failed(session: Session, keys: Keys, error: GaiaError, send: Send | None) -> None:
    """What is known of it, and that it may be tried again with the same key if nothing was written."""
    nothing = isinstance(error, (*NOTHING_WRITTEN, InvalidInput))
    if isinstance(error, NotSubmitted):
        told = f"{keys.told} to {session.name}, but not the Enter that submits it"
    else:
        told = f"{keys.told} to {session.name}: {'it did not arrive' if nothing else 'nobody knows whether it arrived'}"
    with log.atomic():
        log.emit(
            "session.keys_failed", subject=session.key, message=told, level=Level.WARNING,
            gaia_id=session.gaia_id, code=error.code,
        )  # fmt: skip
        if send is None:
            return
        if nothing:
            send.delete()
        else:
            Send.objects.filter(pk=send.pk).update(outcome=SendOutcome.UNSURE, problem=error.what)


def _was_sent(key: str, session: Session, keys: Keys) -> bool:
    """Whether this very request was typed before. The caller has the keyboard: nobody else is at it.

    Raises: Conflict.
    """
    send = Send.objects.select_related("session").filter(key=key).first()
    if send is None:
        return False
    if (send.session.name, send.actor, send.digest) != (session.name, current_actor(), _digest(keys)):
        raise _used(key)
    if send.outcome == SendOutcome.SENT:
        return True
    raise Conflict(
        f"nobody knows whether this was typed into {session.name}",
        meaning=send.problem or "Whoever typed it was killed on the way. It is not typed again by itself.",
        fix=f"Look at the screen (gaia session capture {session.name}); to type it again, send it with a new key.",
        key=key,
    )


def _used(key: str) -> Conflict:
    return Conflict(
        f"the idempotency key {key} was used for another request",
        meaning="Nothing was done.",
        fix="Use a new key for each request; the same key only to repeat one.",
    )


def _check_key(key: str | None) -> None:
    if key and (len(key) > LONGEST_KEY or not key.isprintable()):
        raise InvalidInput(f"an idempotency key has at most {LONGEST_KEY} printable characters", fix="Use a UUID.")


def _digest(keys: Keys) -> str:
    return salted_hmac("sessions.keyboard", json.dumps(keys.request), algorithm="sha256").hexdigest()
