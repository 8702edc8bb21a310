"""Requests that are repeated: with the same idempotency key they do nothing twice. Kept for a day."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from django.db import IntegrityError
from django.utils import timezone
from django.utils.crypto import salted_hmac

from common.errors import Conflict
from events.actor import current_actor
from processes.actions.operations import check_key
from services.actions.running import find_service
from services.models import Service, ServiceRequest

KEPT = timedelta(days=1)
_SURELY_OVER = timedelta(minutes=2)  # longer than any of these requests takes: whoever had it was killed on the way


def once(key: str | None, name: str, asked: Mapping[str, Any], act: Callable[[], Service]) -> Service:
    """Do what was asked for, unless this very request was done already.

    A request that was interrupted is done again when it is repeated: whatever it did is done only once all the same,
    but for a restart, which may then be a second one.

    Args:
        key: the idempotency key; without one it is just done.
        name: of the service.
        asked: the whole request; only a keyed digest of it is kept, as it may hold secrets.
        act: does it.

    Returns: the service as it is now.
    Raises: InvalidInput for what is no key, Conflict when the key was used for another request or that one is still
    being done; whatever `act` raises, and then it counts as not done.
    """
    check_key(key)
    if not key:
        return act()
    if _done_before(key, asked):
        return find_service(name)
    ServiceRequest.objects.filter(created_at__lt=timezone.now() - KEPT).delete()
    try:
        request = ServiceRequest.objects.create(key=key, actor=current_actor(), digest=_digest(asked))
    except IntegrityError:  # the same one came twice at the same moment
        raise _under_way(key) from None
    try:
        service = act()
    except BaseException:
        request.delete()
        raise
    ServiceRequest.objects.filter(pk=request.pk).update(done=True)
    return service


def _done_before(key: str, asked: Mapping[str, Any]) -> bool:
    known = ServiceRequest.objects.filter(key=key).first()
    if known is None:
        return False
    if (known.actor, known.digest) != (current_actor(), _digest(asked)):
        raise Conflict(
            f"the idempotency key {key} was used for another request",
            meaning="Nothing was done.",
            fix="Use a new key for each request; the same key only to repeat one.",
        )
    if known.done:
        return True
    if known.created_at > timezone.now() - _SURELY_OVER:
        raise _under_way(key)
    known.delete()
    return False


def _under_way(key: str) -> Conflict:
    return Conflict(
        f"the request with the idempotency key {key} is being done",
        meaning="Nothing was done twice.",
        fix="Repeat it in a moment: it is answered as the first one was.",
    )


def _digest(asked: Mapping[str, Any]) -> str:
    return salted_hmac("services.requests", json.dumps(asked, sort_keys=True), algorithm="sha256").hexdigest()
