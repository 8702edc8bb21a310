"""Values that secrets of services had: masked in logs that may hold them, and forgotten when none does any more.

They lie in the database as the secrets of services do, and for no longer than there is something to mask: a value
cannot be found in a text by anything less than the value.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from common.home import gaia_home
from processes.actions.traces import trace
from processes.drivers.logs import begin_of_data, size_of
from processes.models import Process
from services.models import FormerSecret, Service


def of(owner: str) -> list[str]:
    """Values that a service had and has no more, by its owner key."""
    return list(FormerSecret.objects.filter(owner=owner).values_list("value", flat=True))


def note(service: Service, kept: Iterable[Any] = ()) -> None:
    """Remember the secrets a service loses. In the transaction that takes them away.

    Args:
        kept: values it has afterwards.
    """
    newest = _newest(service)
    lost = sorted(set(service.secret_values) - {str(value) for value in kept})
    if newest is None or not lost:
        return  # nobody ever had them
    FormerSecret.objects.filter(owner=service.owner, value__in=lost).delete()  # had before, and had again
    log = str(trace(newest, newest.log))
    FormerSecret.objects.bulk_create(
        [FormerSecret(owner=service.owner, value=value, log=log, attempt=newest.attempt) for value in lost]
    )


def forget_gone() -> int:
    """Forget values that no log holds any more: who had them has ended, what they wrote was archived. How many."""
    gone = [each.pk for each in FormerSecret.objects.all() if _is_gone(each)]
    return FormerSecret.objects.filter(pk__in=gone).delete()[0]


def _is_gone(secret: FormerSecret) -> bool:
    path = Path(secret.log)
    if secret.until is None:
        active = Process.objects.active().filter(owner=secret.owner)
        if active.filter(attempt__lte=secret.attempt).exists():
            return False
        secret.until = size_of(path)
        secret.save(update_fields=["until"])
    # a log that is shorter by now was made anew
    return secret.until > size_of(path) or begin_of_data(path) >= secret.until


def log_file(service: Service) -> Path:
    """Where it writes: the file of its newest start, or where its first one will."""
    newest = _newest(service)
    if newest is not None:
        return trace(newest, newest.log)
    return Path(service.log or gaia_home().processes / f"{service.owner.replace('/', '-')}.log")


def _newest(service: Service) -> Process | None:
    return Process.objects.filter(node_id=service.node_id, owner=service.owner).order_by("-id").first()
