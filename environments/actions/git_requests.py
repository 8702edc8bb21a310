"""Asking for the verbs of git that may reach a source over the network: they are operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from environments.models import Environment
from processes.actions.operations import request_operation
from processes.models import Operation

KIND = "environments.git"
_TITLES = {"sync": "Sync", "push": "Push"}


def request_verb(
    environment: Environment, verb: str, options: Mapping[str, Any], *, idempotency_key: str | None = None
) -> Operation:
    """Ask the daemon to sync or push an environment.

    Args:
        verb: sync or push.
        options: as of the action of that name.

    Raises: Conflict when another operation works on the environment.
    """
    return request_operation(
        KIND,
        f"{_TITLES[verb]} of {environment.directory}",
        subject=environment.key,
        params={"environment": environment.pk, "verb": verb, "options": dict(options)},
        idempotency_key=idempotency_key,
    )


def newest_request(environment: Environment) -> Operation | None:
    """The last sync or push that was asked for; one query."""
    made = Operation.objects.filter(subject=environment.key, kind=KIND, created_at__gte=environment.created_at)
    return made.order_by("-id").first()
