"""What a service has written, for whoever shows it: whole lines, by offset, without the values of its secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.home import gaia_home
from common.redaction import mask_values
from processes.actions.logs import read_end_lines, read_lines
from processes.actions.traces import trace
from processes.models import Process
from services.models import Service


def read_end(service: Service, lines: int) -> dict[str, Any]:
    """The last lines: `{text, next_offset, unfinished}`.

    Returns: text has whole lines; what there is of a line whose end has not come yet is `unfinished`, and is read
    again when one goes on at `next_offset`.
    """
    return _told(service, read_end_lines(log_file(service), lines))


def read_on(service: Service, offset: int) -> dict[str, Any]:
    """What comes after an offset that an earlier answer gave; the same as `read_end`."""
    return _told(service, read_lines(log_file(service), offset))


def log_file(service: Service) -> Path:
    """Where it writes: the file of its newest start, or where its first one will."""
    newest = Process.objects.filter(node_id=service.node_id, owner=service.owner).order_by("-id").first()
    if newest is not None:
        return trace(newest, newest.log)
    return Path(service.log or gaia_home().processes / f"{service.owner.replace('/', '-')}.log")


def _told(service: Service, read: tuple[str, int, str]) -> dict[str, Any]:
    text, after, unfinished = read
    return {
        "text": mask_values(text, service.secret_values),
        "next_offset": after,
        "unfinished": mask_values(unfinished, service.secret_values),
    }


def secrets_of(owner: str) -> list[str]:
    """What nobody is shown of what processes of an owner write."""
    return [value for service in Service.objects.filter(owner=owner) for value in service.secret_values]
