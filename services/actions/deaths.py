"""What is known of a death: the last lines of the log, memory, what a probe said."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.utils import timezone

from common.redaction import mask_values
from common.text import plain
from processes.actions.logs import read_on
from processes.actions.samples import memory_of_late
from processes.actions.traces import trace
from processes.models import Process
from services.ends import End
from services.models import Service

_LINES = 20
_BYTES = 65_536  # as much as one look reads
_LONGEST_LINE = 500


@dataclass(frozen=True)
class Death:
    """What was seen when a process had ended, before that was written down."""

    lines: list[str] = field(default_factory=list)
    memory: int | None = None
    probe: str = ""

    def told(self, end: End) -> dict[str, Any]:
        """All of it with how it ended, as data of the event and of the service's row."""
        return {
            "at": timezone.now().isoformat(),
            "cause": end.cause,
            "code": end.code,
            "signal": end.signal,
            "text": end.how,
            "lived_s": round(end.lived_s, 3),
            "lines": self.lines,
            "memory": self.memory,
            "probe": self.probe,
        }


def look_back(service: Service, process: Process) -> Death:
    """The last lines its start has written, and how much memory it used of late."""
    began = process.started_at
    return Death(
        lines=last_lines(service, process),
        memory=memory_of_late(process.node_id, process.owner, began) if began is not None else None,
        probe=service.problem if service.problem.startswith("its liveness probe") else "",
    )


def last_lines(service: Service, process: Process) -> list[str]:
    """The end of what a start has written, without the secrets of its service and what a terminal would obey."""
    path = trace(process, process.log)
    try:
        begin = max(process.log_offset, path.stat().st_size - _BYTES)
        text, _ = read_on(path, begin)
    except OSError:
        return []
    if begin > process.log_offset:  # in the middle of a line, and perhaps of a secret
        text = text.partition("\n")[2]
    lines = [plain(line)[:_LONGEST_LINE] for line in mask_values(text, service.secret_values).split("\n")]
    return [line for line in lines if line.strip()][-_LINES:]
