"""How a process ended that is not our child, asked of the kernel: the daemon's predecessor started it.

A pidfd tells once the process has been reaped by whoever is its parent now (`PIDFD_INFO_EXIT`, Linux 6.15); until then
its zombie tells, to its own user and to root. Both answer with a wait status, signals included.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

from processes.drivers.liveness import Identity, boot_id

# struct pidfd_info of include/uapi/linux/pidfd.h, its first version, 64 bytes: u64 mask, u64 cgroupid, then u32 pid,
# tgid, ppid and eight user and group ids, then s32 exit_code. The request is _IOWR(0xFF, 11, struct pidfd_info).
_INFO = struct.Struct("=QQ11Ii")
_PIDFD_GET_INFO = (3 << 30) | (_INFO.size << 16) | (0xFF << 8) | 11
_PIDFD_INFO_EXIT = 1 << 3
_STATUS_FIELD = 49  # of /proc/PID/stat after the name: the 52nd of proc(5), "exit_code"
_START_FIELD = 19


def exit_of(identity: Identity, pidfd: int | None = None) -> int | None:
    """The exit code of a process that has ended, negative for a signal; None when the kernel does not tell (any more).

    Args:
        identity: the process.
        pidfd: a descriptor of it that was opened while it was in the process table.
    """
    status = _of_reaped(pidfd)
    if status is None:
        status = _of_zombie(identity)
    if status is None:  # it may have been reaped between the two questions
        status = _of_reaped(pidfd)
    return None if status is None else os.waitstatus_to_exitcode(status)


def _of_reaped(pidfd: int | None) -> int | None:
    if pidfd is None:
        return None
    answer = bytearray(_INFO.size)
    struct.pack_into("=Q", answer, 0, _PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, answer)
    except OSError:  # a kernel that does not know the question
        return None
    mask, *_, status = _INFO.unpack(answer)
    return int(status) if mask & _PIDFD_INFO_EXIT else None


def _of_zombie(identity: Identity) -> int | None:
    if identity.boot_id != boot_id():
        return None
    try:
        text = Path(f"/proc/{identity.pid}/stat").read_bytes()
    except OSError:
        return None
    fields = text[text.rfind(b")") + 2 :].split()
    readable = os.geteuid() == 0 or _owner(identity.pid) == os.geteuid()  # to others the kernel shows 0
    if len(fields) <= _STATUS_FIELD or not readable or fields[0] != b"Z":
        return None
    return int(fields[_STATUS_FIELD]) if int(fields[_START_FIELD]) == identity.start_ticks else None


def _owner(pid: int) -> int | None:
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None
