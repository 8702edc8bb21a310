"""The fleet and the providers in force: files of the operator's, else the shipped ones.

They are asked for with every request, so what a file said is kept until it changes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from django.conf import settings

from common.errors import InvalidInput
from sessions.detection import rules_for
from sessions.drivers.tmux_sockets import default_directories
from sessions.fleet import Fleet, load_fleet
from sessions.providers import Provider, load_providers
from sessions.providers.screen import ScreenRules

_Mark = tuple[tuple[str, int, int], ...]  # name, time of change in nanoseconds, size
_last_good: dict[Path, Fleet] = {}
_last_good_providers: dict[Path, dict[str, Provider]] = {}
_rules: tuple[Mapping[str, Provider], Mapping[str, tuple[ScreenRules, ...]]] = ({}, {})


def providers() -> dict[str, Provider]:
    """The shipped providers, and those in `providers/*.yaml` in the home, which win.

    Raises: InvalidInput with file and line.
    """
    directory = _own_providers()
    found = _last_good_providers[directory] = _providers(directory, _marks(directory))
    return found


def shown_providers() -> dict[str, Provider]:
    """The providers for showing: while one of the operator's files has a mistake, as they were before."""
    try:
        return providers()
    except InvalidInput:
        return _last_good_providers.get(_own_providers()) or load_providers()


def screen_rules() -> Mapping[str, tuple[ScreenRules, ...]]:
    """By provider, how one sees what its agent does; the same object until a file changes."""
    global _rules
    known = shown_providers()
    if _rules[0] is not known:
        _rules = (known, {name: rules_for(provider, known) for name, provider in known.items()})
    return _rules[1]


def current_fleet() -> Fleet:
    """The configured fleet file, else `fleet.yaml` in the home, else the shipped fleet.

    Raises: InvalidInput with file and line: for verbs that start or stop what it lists.
    """
    path = fleet_file()
    known = providers()
    if path is None:
        return load_fleet()
    fleet = _fleet(path, _marks(path), tuple(known))
    _last_good[path] = fleet
    return fleet


def fleet() -> Fleet:
    """The fleet for showing: while its file has a mistake, as it was before, else the shipped one."""
    try:
        return current_fleet()
    except InvalidInput:
        return _last_good.get(fleet_file() or Path(), load_fleet())


def fleet_problem() -> str:
    """What is wrong with the fleet file or the providers; empty when nothing is."""
    try:
        current_fleet()
    except InvalidInput as error:
        return error.what
    return ""


def socket_directories() -> list[Path]:
    """Where tmux servers that are not GAIA's are looked for."""
    return _paths("sessions.socket_dirs") or default_directories(os.environ)


def more_sockets() -> list[Path]:
    """Sockets of such servers that lie elsewhere."""
    return _paths("sessions.sockets")


def _paths(key: str) -> list[Path]:
    return [Path(part).expanduser() for part in settings.GAIA[key].split(os.pathsep) if part]


def _own_providers() -> Path:
    return Path(settings.GAIA.home.root / "providers")


def fleet_file() -> Path | None:
    """The operator's fleet file; None when there is none."""
    configured = settings.GAIA["sessions.fleet"]
    if configured:
        return Path(configured).expanduser()
    own: Path = settings.GAIA.home.root / "fleet.yaml"
    return own if own.exists() else None


@lru_cache(maxsize=4)
def _fleet(path: Path, marks: _Mark, known: tuple[str, ...]) -> Fleet:
    return load_fleet(path, providers=known)


@lru_cache(maxsize=4)
def _providers(directory: Path, marks: _Mark) -> dict[str, Provider]:
    return load_providers(directory)


def _marks(path: Path) -> _Mark:
    """What changes when a file, or one of a directory's files, does."""
    try:
        found = list(os.scandir(path)) if path.is_dir() else [path]
        stats = [(str(each), os.stat(each)) for each in found]
    except OSError:
        return ()
    return tuple(sorted((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats))
