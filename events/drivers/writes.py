"""Being told by the kernel that a file was written to (inotify, Linux), so that nobody has to ask all the time."""

from __future__ import annotations

import ctypes
import functools
import os
import select
import struct
from contextlib import suppress
from pathlib import Path

# of <sys/inotify.h>
_MODIFY, _ATTRIB, _DELETE_SELF, _MOVE_SELF = 0x2, 0x4, 0x400, 0x800
_IGNORED = 0x8000
_ANOTHER = _ATTRIB | _DELETE_SELF | _MOVE_SELF | _IGNORED  # the name may stand for another file from now on
_EVENT = struct.Struct("iIII")
_BUFFER = 1 << 16


class WriteWatch:
    """Watches one file.

    Args:
        path: it has to be there.

    Raises: OSError where that cannot be done.
    """

    def __init__(self, path: Path) -> None:
        libc = _libc()
        self._fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        wanted = _MODIFY | _ATTRIB | _DELETE_SELF | _MOVE_SELF
        if libc.inotify_add_watch(self._fd, os.fsencode(path), wanted) < 0:
            error = ctypes.get_errno()
            self.close()
            raise OSError(error, os.strerror(error), str(path))
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def wait(self, timeout: float) -> bool:
        """Block until something was written or the time-out (seconds), which may be 0; whether something was."""
        return bool(self._poll.poll(max(0.0, timeout) * 1000))

    def clear(self) -> bool:
        """Forget what was written until now. False when another file may have come in this one's place."""
        same = True
        with suppress(BlockingIOError):
            while events := os.read(self._fd, _BUFFER):
                same = same and not any(mask & _ANOTHER for mask in _masks(events))
        return same

    def close(self) -> None:
        """Watch no more."""
        os.close(self._fd)


def _masks(events: bytes) -> list[int]:
    masks, at = [], 0
    while at < len(events):
        _, mask, _, length = _EVENT.unpack_from(events, at)
        masks.append(mask)
        at += _EVENT.size + length
    return masks


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "inotify_init1"):
        raise OSError("this system has no inotify")
    return libc
