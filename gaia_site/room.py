"""Is there room on the disk? GAIA writes down what it does before it does it, so on a full one it does nothing new."""

from __future__ import annotations

import shutil

from common.home import gaia_home

_ROOM_BYTES = 1_000_000


def full_disk() -> str:
    """How full the home's disk is, when hardly anything can be written any more; "" while there is room."""
    free = shutil.disk_usage(gaia_home().root).free
    return "" if free >= _ROOM_BYTES else f"the disk of {gaia_home().root} is full: {free // 1024} kB are free"
