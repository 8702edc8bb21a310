"""What a service has written, for whoever shows it: whole lines, by offset, without the values of its secrets."""

from __future__ import annotations

from typing import Any

from common.redaction import mask_values
from processes.actions.logs import read_end_lines, read_lines
from services.actions import former_secrets
from services.actions.former_secrets import log_file
from services.models import Service

__all__ = ["log_file", "read_end", "read_on", "secrets_of"]


def read_end(service: Service, lines: int) -> dict[str, Any]:
    """The last lines: `{text, next_offset, unfinished}`.

    Returns: text has whole lines; what there is of a line whose end has not come yet is `unfinished`, and is read
    again when one goes on at `next_offset`.
    """
    return _told(service, read_end_lines(log_file(service), lines))


def read_on(service: Service, offset: int) -> dict[str, Any]:
    """What comes after an offset that an earlier answer gave; the same as `read_end`."""
    return _told(service, read_lines(log_file(service), offset))


def _told(service: Service, read: tuple[str, int, str]) -> dict[str, Any]:
    text, after, unfinished = read
    hidden = [*service.secret_values, *former_secrets.of(service.owner)]
    return {
        "text": mask_values(text, hidden),
        "next_offset": after,
        "unfinished": mask_values(unfinished, hidden),
    }


def secrets_of(owner: str) -> list[str]:
    """What nobody is shown of what processes of an owner write."""
    current = [value for service in Service.objects.filter(owner=owner) for value in service.secret_values]
    return [*current, *former_secrets.of(owner)]
