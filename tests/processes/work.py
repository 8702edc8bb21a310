"""Operations for tests: `settings.GAIA_OPERATIONS` names them (`tests.processes.operation_settings`)."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from django.db import transaction

from common.errors import Unavailable
from processes.actions.operations import Progress
from processes.models import Operation


def count(progress: Progress, *, to: int) -> dict[str, Any]:
    """Count, and say so."""
    for number in range(to):
        progress(number, to, f"step {number}")
    progress(to, to, "counted")
    return {"counted": to}


def fail(progress: Progress) -> dict[str, Any]:
    """Fail as foreseen."""
    raise Unavailable("the disk is full", meaning="Nothing was written.", fix="Make room.", path="/dev/full")


def break_down(progress: Progress) -> dict[str, Any]:
    """A defect."""
    raise ZeroDivisionError("nobody thought of that")


def unreadable(progress: Progress) -> dict[str, Any]:
    """A result that no database takes."""
    return {"result": object()}


def killed(progress: Progress) -> dict[str, Any]:
    """kill -9 in the middle."""
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def interrupted(progress: Progress) -> dict[str, Any]:
    """A signal that arrives between the two ends of a transaction, where nothing of Django's cleans up."""
    transaction.atomic().__enter__()
    Operation.objects.update(message="half done")
    raise KeyboardInterrupt


def wait_for(progress: Progress, *, path: str, began: str = "") -> dict[str, Any]:
    """Work until a file is there; the result is what it says."""
    if began:
        with open(began, "a") as file:
            file.write(f"{os.getpid()}\n")
    turn = 0
    while not Path(path).exists():
        turn += 1
        progress(0, 1, f"turn {turn}")
        time.sleep(0.02)
    return {"text": Path(path).read_text()}
