"""What the daemon tells systemd when a unit runs it: that it is ready, what there is, that its loop still turns.

The protocol is sd_notify(3): datagrams of NAME=value lines to the socket that `NOTIFY_SOCKET` names.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress

_PATIENCE_S = 60.0
_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Announcer:
    """Speaks to systemd; says nothing when the daemon was started by somebody else.

    Args:
        ready: whether what a start is waited for is there; asked until it is.
        status: one line that `systemctl status` shows.
        clock: seconds that only ever grow.
    """

    def __init__(
        self, ready: Callable[[], bool], status: Callable[[], str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        # taken out of the environment: what the daemon starts has nothing to say there
        known = {name: os.environ.pop(name, "") for name in _VARIABLES}
        self._address = known["NOTIFY_SOCKET"]
        self._ready = ready
        self._status = status
        self._clock = clock
        self._begun = clock()
        self._said_ready = False
        self._said = ""

    @property
    def spoken_to(self) -> bool:
        """Whether systemd listens."""
        return bool(self._address)

    def turn(self) -> None:
        """Say what has changed, and that the daemon lives.

        One whose console cannot come up is ready after a minute all the same: systemd could only start it again, and
        what runs would be without a daemon meanwhile.
        """
        lines = ["WATCHDOG=1"]
        if not self._said_ready and (self._ready() or self._clock() - self._begun > _PATIENCE_S):
            lines.append("READY=1")
        status = self._status()
        if status != self._said:
            lines.append(f"STATUS={status}")
        if self._tell("\n".join(lines)):
            self._said, self._said_ready = status, self._said_ready or "READY=1" in lines

    def _tell(self, text: str) -> bool:
        # a name that begins with @ lies in Linux' abstract namespace
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end:
            end.settimeout(1.0)
            end.sendto(text.encode(), address)
            return True
        return False
