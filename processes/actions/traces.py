"""The files a process leaves traces in: log, lock, exit journal.

Those of a stage lie in its checkout, where agents work, who can put a symlink in the place of one, or of a directory
above it. Nobody is followed out of there.
"""

from __future__ import annotations

import os
from pathlib import Path

from common.containment import stays_inside
from common.errors import Conflict
from common.home import gaia_home
from processes.models import Process


def trace(process: Process, file: str) -> Path:
    """One of its files, to be read; the null device when it has come to lead out of the directory it works in."""
    return Path(os.devnull) if _leads_out(process, file) else Path(file)


def check_traces(process: Process) -> None:
    """Raise Conflict when one of its files, which are about to be written, leads out of the directory it works in."""
    for file in (process.log, process.lock, process.journal):
        if _leads_out(process, file):
            raise Conflict(
                f"{file} leads out of {process.cwd}",
                meaning="What runs there writes only there, so it was not started.",
                fix="Remove that symlink and start it again.",
                path=file,
            )


def _leads_out(process: Process, file: str) -> bool:
    directory = Path(process.cwd)
    if Path(file).is_relative_to(gaia_home().processes):  # the operator's own, who may have put it on another disk
        return False
    return Path(file).is_relative_to(directory) and not stays_inside(directory, file)
