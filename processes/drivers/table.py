"""The machine's process table: /proc where there is one, psutil elsewhere (macOS), with the same answers."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from common.run import CommandError, run

_FIELDS = 20  # of /proc/PID/stat after the name, as far as we read them
_DEAD_STATES = (b"Z", b"X", b"x")
_PAGE = 1 << 16


@dataclass(frozen=True)
class Row:
    """What the table says of one process. `start_ticks` only has to be compared, never computed with."""

    pid: int
    parent: int
    group: int
    session: int
    start_ticks: int
    dead: bool


class Table(Protocol):
    """What liveness is told from."""

    def boot_id(self) -> str:
        """A name for this boot of the machine."""

    def row(self, pid: int) -> Row | None:
        """The entry of a process, zombies included; None when there is none."""

    def pids(self) -> Iterator[int]:
        """Every pid; some may be gone by the time they are looked at."""

    def environment(self, pid: int) -> bytes | None:
        """The environment a program was started with, NUL-separated; None when it cannot be read."""

    def command_line(self, pid: int) -> bytes:
        """Its arguments, NUL-separated; empty when they cannot be read."""


class ProcTable:
    """Linux."""

    def boot_id(self) -> str:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()

    def row(self, pid: int) -> Row | None:
        # The name in parentheses may itself contain spaces and parentheses: fields count from the last one.
        text = _read(pid, "stat") or b""
        fields = text[text.rfind(b")") + 2 :].split()
        if len(fields) < _FIELDS:
            return None
        return Row(
            pid=pid,
            parent=int(fields[1]),
            group=int(fields[2]),
            session=int(fields[3]),
            start_ticks=int(fields[19]),
            # A process whose main thread has ended shows as a zombie while its other threads go on.
            dead=fields[0] in _DEAD_STATES and int(fields[17]) <= 1,
        )

    def pids(self) -> Iterator[int]:
        return (int(name) for name in os.listdir("/proc") if name.isdigit())

    def environment(self, pid: int) -> bytes | None:
        return _read(pid, "environ")

    def command_line(self, pid: int) -> bytes:
        return _read(pid, "cmdline") or b""


class PsutilTable:
    """Any system that psutil knows. Start times are in hundredths of a second since the epoch."""

    def boot_id(self) -> str:
        with suppress(CommandError):  # a system without it
            return run(["sysctl", "-n", "kern.bootsessionuuid"], timeout=10).stdout.strip()
        return str(int(psutil.boot_time()))

    def row(self, pid: int) -> Row | None:
        try:
            process = psutil.Process(pid)
            return Row(
                pid=pid,
                parent=process.ppid(),
                group=os.getpgid(pid),
                session=os.getsid(pid),
                start_ticks=round(process.create_time() * 100),
                dead=process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD),
            )
        except (psutil.Error, OSError):
            return None

    def pids(self) -> Iterator[int]:
        return iter(psutil.pids())

    def environment(self, pid: int) -> bytes | None:
        try:
            environment = psutil.Process(pid).environ()
        except (psutil.Error, OSError):
            return None
        return os.fsencode("".join(f"{name}={value}\0" for name, value in environment.items()))

    def command_line(self, pid: int) -> bytes:
        try:
            return os.fsencode("".join(f"{word}\0" for word in psutil.Process(pid).cmdline()))
        except (psutil.Error, OSError):
            return b""


def _read(pid: int, name: str) -> bytes | None:
    """All of it, by bare system calls: a pass over the table is hundreds of these, and `open` costs thrice as much."""
    try:
        fd = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # ended meanwhile, or of another user
        return None
    try:
        data = os.read(fd, _PAGE)
        if len(data) < _PAGE and name == "stat":  # which comes in one piece
            return data
        parts = [data]
        while parts[-1]:
            parts.append(os.read(fd, _PAGE))
        return b"".join(parts)
    except OSError:
        return None
    finally:
        os.close(fd)


def variable_of(pid: int, name: str) -> str | None:
    """A variable of the environment a program was started with; empty when it had none of that name.

    Returns: None when its environment cannot be read.
    """
    environment = table().environment(pid)
    if environment is None:
        return None
    prefix = os.fsencode(f"{name}=")
    found = [entry[len(prefix) :] for entry in environment.split(b"\0") if entry.startswith(prefix)]
    return os.fsdecode(found[-1]) if found else ""


@functools.cache
def table() -> Table:
    """The table of this machine."""
    return ProcTable() if Path("/proc/self/stat").exists() else PsutilTable()
