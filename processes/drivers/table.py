"""The machine's process table: /proc where there is one, psutil elsewhere (macOS), with the same answers."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from common.run import CommandError, run

_FIELDS = 22  # of /proc/PID/stat after the name, as far as we read them
_START = 19  # of them: the start time
_DEAD_STATES = (b"Z", b"X", b"x")
_READ = 1 << 16
_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Row:
    """What the table says of one process. `start_ticks` only has to be compared, never computed with."""

    pid: int
    parent: int
    group: int
    session: int
    start_ticks: int
    dead: bool


@dataclass(frozen=True)
class Use:
    """What one process has used.

    Args:
        row: its entry.
        cpu_s: seconds of CPU, its own and those of children it has waited for.
        memory: bytes in memory now, pages that it shares with others included.
    """

    row: Row
    cpu_s: float
    memory: int


class Table(Protocol):
    """What liveness is told from, and what processes use."""

    def boot_id(self) -> str:
        """A name for this boot of the machine."""

    def row(self, pid: int) -> Row | None:
        """The entry of a process, zombies included; None when there is none."""

    def pids(self) -> Iterator[int]:
        """Every pid; some may be gone by the time they are looked at."""

    def entries(self) -> Iterator[tuple[int, int]]:
        """Every pid with a number that the next process with that pid has not; 0 where there is none to be had."""

    def newest_pid(self) -> int | None:
        """The pid that was given to a process or thread last; None where the system does not say."""

    def now_ticks(self) -> int:
        """The time that a process started now would have as its start."""

    def environment(self, pid: int) -> bytes | None:
        """The environment a program was started with, NUL-separated; None when it cannot be read."""

    def command_line(self, pid: int) -> bytes:
        """Its arguments, NUL-separated; empty when they cannot be read."""

    def use(self, pid: int) -> Use | None:
        """Its entry and what it uses; None when there is none."""

    def own_memory(self, pid: int) -> int | None:
        """Bytes in memory, of shared pages its part only; None when that cannot be read."""

    def shared_memory(self, pid: int) -> int | None:
        """Bytes in memory that are mapped from files or shared on purpose; None when that cannot be read."""

    def open_files(self, pid: int) -> int | None:
        """How many descriptors it has open; None when that cannot be read."""

    def age(self, start_ticks: int) -> float:
        """Seconds since a process was started; where the system allows, whatever the wall clock does."""


class ProcTable:
    """Linux."""

    def boot_id(self) -> str:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()

    def row(self, pid: int) -> Row | None:
        # The name in parentheses may itself contain spaces and parentheses: fields count from the last one.
        fields = self._fields(pid)
        return None if fields is None else self._row(pid, fields)

    def _fields(self, pid: int) -> list[bytes] | None:
        text = _read(pid, "stat") or b""
        fields = text[text.rfind(b")") + 2 :].split()
        return fields if len(fields) >= _FIELDS else None

    def _row(self, pid: int, fields: list[bytes]) -> Row:
        return Row(
            pid=pid,
            parent=int(fields[1]),
            group=int(fields[2]),
            session=int(fields[3]),
            start_ticks=int(fields[_START]),
            # A process whose main thread has ended shows as a zombie while its other threads go on.
            dead=fields[0] in _DEAD_STATES and int(fields[17]) <= 1,
        )

    def pids(self) -> Iterator[int]:
        return (int(name) for name in os.listdir("/proc") if name.isdigit())

    def entries(self) -> Iterator[tuple[int, int]]:
        with os.scandir("/proc") as found:
            return iter([(int(entry.name), entry.inode()) for entry in found if entry.name.isdigit()])

    def newest_pid(self) -> int | None:
        try:
            fd = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return int(os.read(fd, 128).split()[-1])  # the fifth field of proc(5)
        except (OSError, ValueError, IndexError):
            return None
        finally:
            os.close(fd)

    def now_ticks(self) -> int:
        return int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS_PER_S)

    def environment(self, pid: int) -> bytes | None:
        return _read(pid, "environ")

    def command_line(self, pid: int) -> bytes:
        return _read(pid, "cmdline") or b""

    def use(self, pid: int) -> Use | None:
        fields = self._fields(pid)
        if fields is None:
            return None
        # utime, stime, cutime, cstime and rss of proc(5)
        ticks = sum(map(int, fields[11:15]))
        return Use(self._row(pid, fields), ticks / _TICKS_PER_S, int(fields[21]) * _PAGE_SIZE)

    def own_memory(self, pid: int) -> int | None:
        for line in (_read(pid, "smaps_rollup") or b"").splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
        return None

    def shared_memory(self, pid: int) -> int | None:
        fields = (_read(pid, "statm") or b"").split()
        return int(fields[2]) * _PAGE_SIZE if len(fields) > 2 else None

    def open_files(self, pid: int) -> int | None:
        try:
            return len(os.listdir(f"/proc/{pid}/fd"))
        except OSError:
            return None

    def age(self, start_ticks: int) -> float:
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - start_ticks / _TICKS_PER_S)


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

    def entries(self) -> Iterator[tuple[int, int]]:
        return ((pid, 0) for pid in psutil.pids())

    def newest_pid(self) -> int | None:
        return None

    def now_ticks(self) -> int:
        return round(time.time() * 100)

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

    def use(self, pid: int) -> Use | None:
        row = self.row(pid)
        try:
            process = psutil.Process(pid)
            times, memory = process.cpu_times(), process.memory_info()
        except (psutil.Error, OSError):
            return None
        return None if row is None else Use(row, sum(times[:4]), memory.rss)

    def own_memory(self, pid: int) -> int | None:
        return None

    def shared_memory(self, pid: int) -> int | None:
        return None

    def open_files(self, pid: int) -> int | None:
        try:
            return int(psutil.Process(pid).num_fds())
        except (psutil.Error, OSError):
            return None

    def age(self, start_ticks: int) -> float:
        return max(0.0, time.time() - start_ticks / 100)


def _read(pid: int, name: str) -> bytes | None:
    """All of it, by bare system calls: a pass over the table is hundreds of these, and `open` costs thrice as much."""
    try:
        fd = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # ended meanwhile, or of another user
        return None
    try:
        data = os.read(fd, _READ)
        if name == "stat":  # which comes in one piece
            return data
        parts = [data]
        while parts[-1]:
            parts.append(os.read(fd, _READ))
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
