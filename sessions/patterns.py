"""Telling group and provider of a session from its name, for sessions that GAIA did not start."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from sessions.fleet import OTHER, Fleet, load_fleet
from sessions.providers import SYSTEM, Provider, load_providers

_NAME_LIMIT = 200  # characters looked at; names of other people's sessions can be anything


class Detected(NamedTuple):
    """The key of a group, and the name of a provider."""

    group: str
    provider: str


def detect(name: str, *, fleet: Fleet | None = None, providers: Mapping[str, Provider] | None = None) -> Detected:
    """Group and provider of a session: those of the fleet's session of that name, else by pattern, else other, system.

    Args:
        name: the session's name as tmux has it.
        fleet: default the shipped fleet.
        providers: default the shipped providers; the first whose pattern matches is taken.
    """
    fleet = load_fleet() if fleet is None else fleet
    providers = load_providers() if providers is None else providers
    known = fleet.session(name)
    if known is not None:
        return Detected(known.group, known.provider)
    if len(name) > _NAME_LIMIT:
        return Detected(OTHER, SYSTEM)
    group = next((group.key for group in fleet.groups if _matches(group.patterns, name)), OTHER)
    provider = next((found.name for found in providers.values() if _matches(found.name_patterns, name)), SYSTEM)
    return Detected(group, provider)


def _matches(patterns: tuple[str, ...], name: str) -> bool:
    return any(_compiled(pattern).fullmatch(name) for pattern in patterns)


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
