"""What a process may use: as people write it, as its row keeps it, and by what each limit is kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

from common.durations import format_duration, parse_duration
from common.errors import InvalidInput

MEGABYTE = 1 << 20
WARN_AT = 0.8
"""The part of a limit at which somebody is warned."""

_FEWEST_FILES = 16  # a program needs some to be loaded at all
_MOST = 1 << 40


@dataclass(frozen=True)
class Limits:
    """None: no limit.

    Args:
        memory_mb: of all its processes together, in MB of 1,048,576 bytes.
        cpu_percent: of one core, so that 200 is two of them.
        run_time_s: seconds it may run.
        quiet_s: seconds it may write nothing to its log.
        open_files: descriptors each of its processes may have open.
    """

    memory_mb: int | None = None
    cpu_percent: float | None = None
    run_time_s: float | None = None
    quiet_s: float | None = None
    open_files: int | None = None

    @classmethod
    def parse(cls, given: Mapping[str, Any] | Limits | None) -> Limits:
        """Limits as a definition, a request or a row has them. Times may be written like "30s" or "2h".

        Raises: InvalidInput that names the limit and says what to write.
        """
        if given is None or isinstance(given, Limits):
            return given or cls()
        if not isinstance(given, Mapping):
            raise InvalidInput("limits are written by name", fix=f"Write them like {_EXAMPLE}.")
        unknown = sorted(set(given) - {field.name for field in fields(cls)})
        if unknown:
            known = ", ".join(field.name for field in fields(cls))
            raise InvalidInput(f"there is no limit {unknown[0]!r}", fix=f"The limits are {known}.", field=unknown[0])
        read: dict[str, Any] = {name: _READERS[name](name, value) for name, value in given.items() if value is not None}
        return cls(**read)

    def as_dict(self) -> dict[str, float | int]:
        """Those that are set, as a row keeps them."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}

    def __bool__(self) -> bool:
        return bool(self.as_dict())


_EXAMPLE = '{"memory_mb": 512, "cpu_percent": 50, "run_time_s": "1h"}'

WORDS = {
    "memory_mb": "memory",
    "cpu_percent": "CPU",
    "run_time_s": "run time",
    "quiet_s": "time without output",
    "open_files": "open files",
}
"""What people call each limit."""

KEPT_BY = {
    "memory_mb": "sampling",
    "cpu_percent": "renice",
    "run_time_s": "clock",
    "quiet_s": "log",
    "open_files": "rlimit",
}
"""What keeps each limit where no cgroup does."""

_CONTROLLERS = {"memory_mb": "memory", "cpu_percent": "cpu"}
_DOES = {
    "memory_mb": "uses {} of memory",
    "cpu_percent": "uses {}",
    "run_time_s": "has run for {}",
    "quiet_s": "has written nothing for {}",
    "open_files": "has {} open",
}


def kept_by(limits: Limits, controllers: Collection[str] = ()) -> dict[str, str]:
    """By what each of these limits is kept: `cgroup`, `rlimit`, `sampling`, `renice`, `clock` or `log`.

    Args:
        controllers: those of the cgroup it runs in.
    """
    return {name: "cgroup" if _CONTROLLERS.get(name) in controllers else KEPT_BY[name] for name in limits.as_dict()}


def does(name: str, used: float) -> str:
    """What a process does with what a limit is about, for people: `uses 512 MB of memory`, `has run for 2 h`."""
    return _DOES[name].format(figure(name, used))


def figure(name: str, value: float) -> str:
    """A limit, or what was measured against it, for people: `512 MB`, `80 % of a core`, `2 h`, `64 files`."""
    if name == "memory_mb":
        return f"{value:.0f} MB" if value >= 10 else f"{value:.1f} MB"
    if name == "cpu_percent":
        return f"{value:.0f} % of a core"
    if name == "open_files":
        return f"{value:.0f} files"
    if value < 10:
        return f"{value:.1f} s"
    return f"{value:.0f} s" if value < 300 else format_duration(value)


def _whole(name: str, value: Any, least: int) -> int:
    try:
        number = int(value) if not isinstance(value, bool | float) or value == int(value) else None
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or isinstance(value, bool) or not least <= number <= _MOST:
        raise InvalidInput(f"{name} is a whole number from {least} on, not {value!r}", fix=_fix(name), field=name)
    return number


def _memory(name: str, value: Any) -> int:
    return _whole(name, value, 1)


def _files(name: str, value: Any) -> int:
    return _whole(name, value, _FEWEST_FILES)


def _percent(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if isinstance(value, bool) or not 0 < number <= 100_000:  # NaN is neither
        raise InvalidInput(f"{name} is a percentage of one core above 0, not {value!r}", fix=_fix(name), field=name)
    return number


def _seconds(name: str, value: Any) -> float:
    try:
        seconds = parse_duration(value) if isinstance(value, str | int | float) else 0.0
    except InvalidInput as error:
        raise InvalidInput(f"{name}: {error.what}", fix=error.fix or _fix(name), field=name) from None
    if not 0 < seconds <= _MOST:
        raise InvalidInput(f"{name} is a time above 0, not {value!r}", fix=_fix(name), field=name)
    return seconds


def _fix(name: str) -> str:
    return f"Write it like {_EXAMPLES[name]}, or leave it out for no limit."


_EXAMPLES = {
    "memory_mb": "512",
    "cpu_percent": "50, or 200 for two cores",
    "run_time_s": '3600 or "1h"',
    "quiet_s": '300 or "5m"',
    "open_files": "1024",
}
_READERS = {
    "memory_mb": _memory,
    "cpu_percent": _percent,
    "run_time_s": _seconds,
    "quiet_s": _seconds,
    "open_files": _files,
}
