"""Work for the job queue."""

from __future__ import annotations

import time
from pathlib import Path


def take_a_while(place: str) -> None:
    """Long enough to be stopped in the middle."""
    Path(place, "began").touch()
    time.sleep(1)
    Path(place, "finished").touch()
