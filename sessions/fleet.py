"""The fleet: which sessions there should be, in which groups, as a file that people edit."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from common.errors import InvalidInput
from common.names import check_name
from sessions.providers import Pattern, load_providers
from sessions.yaml_data import Place, Source, read_yaml, validate

DEFAULT_FLEET = Path(__file__).parent / "fleets" / "default.yaml"
OTHER = "other"


def _name(value: str) -> str:
    try:
        return check_name(value)
    except InvalidInput as error:
        raise ValueError(f"{error.what}. {error.fix}") from None


def _key(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", value):
        raise ValueError(f"{value!r} is not a key: small letters, digits and '_'")
    return value


def _shown(value: str) -> str:
    if not value.isprintable() or value != value.strip() or not value:
        raise ValueError(f"{value!r} is not text on one line")
    return value


Name = Annotated[str, AfterValidator(_name)]
Key = Annotated[str, AfterValidator(_key)]
Shown = Annotated[str, AfterValidator(_shown)]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FleetGroup(_Data):
    """Sessions that belong together: a key for programs, a label and a short form for people."""

    key: Key
    label: Shown
    short: Shown
    patterns: tuple[Pattern, ...] = Field(default=(), strict=False)  # whole names of sessions GAIA did not start


class FleetSession(_Data):
    """One session that should run. Protected ones are never given tasks."""

    name: Name
    group: Key
    provider: Name
    role: Shown = "worker"
    protected: bool = False
    environment: Name | None = None


class Fleet(_Data):
    """The whole fleet, in the order of its file."""

    version: Literal[1] = 1
    groups: tuple[FleetGroup, ...] = Field(strict=False)
    sessions: tuple[FleetSession, ...] = Field(strict=False)

    def group(self, key: str) -> FleetGroup:
        """The group with this key.

        Raises: KeyError.
        """
        for group in self.groups:
            if group.key == key:
                return group
        raise KeyError(key)

    def has_group(self, key: str) -> bool:
        return any(group.key == key for group in self.groups)

    def session(self, name: str) -> FleetSession | None:
        """The session with this name, or None."""
        return next((session for session in self.sessions if session.name == name), None)

    def in_group(self, key: str) -> tuple[FleetSession, ...]:
        """The sessions of a group."""
        return tuple(session for session in self.sessions if session.group == key)


def load_fleet(path: Path | None = None, *, providers: Collection[str] | None = None) -> Fleet:
    """Read a fleet file.

    Args:
        path: the file; default the shipped fleet of 26.
        providers: the names that sessions may use; default the shipped providers.

    Raises: InvalidInput with file, line and hint: for wrong keys or names, anything twice, unknown groups or
        providers, and labels that would make one group's lines look like another's.
    """
    if path is None and providers is None:
        return _shipped()
    return _load(path or DEFAULT_FLEET, load_providers() if providers is None else providers)


@lru_cache(maxsize=1)
def _shipped() -> Fleet:
    return _load(DEFAULT_FLEET, load_providers())


def _load(path: Path, providers: Collection[str]) -> Fleet:
    source = read_yaml(path)
    fleet = validate(source, Fleet)
    _check_groups(source, fleet)
    _check_sessions(source, fleet, providers)
    return fleet


def _check_groups(source: Source, fleet: Fleet) -> None:
    _refuse_repeats(source, "groups", "key", [group.key for group in fleet.groups])
    _refuse_repeats(source, "groups", "label", [group.label for group in fleet.groups])
    _refuse_repeats(source, "groups", "short", [group.short for group in fleet.groups])
    for index, group in enumerate(fleet.groups):
        for other in fleet.groups:
            if other is not group and other.label in group.label:
                raise source.error(
                    ("groups", index, "label"),
                    f"the label {group.label!r} contains the label {other.label!r}",
                    "Choose labels of which none contains another: people count a group's lines by its label.",
                )
    if not fleet.has_group(OTHER):
        raise source.error(
            ("groups",), f"there is no group {OTHER!r}", f"Add one with key: {OTHER}; strangers go there."
        )


def _check_sessions(source: Source, fleet: Fleet, providers: Collection[str]) -> None:
    _refuse_repeats(source, "sessions", "name", [session.name for session in fleet.sessions])
    keys = [group.key for group in fleet.groups]
    for index, session in enumerate(fleet.sessions):
        place: Place = ("sessions", index)
        if session.group not in keys:
            raise source.error((*place, "group"), f"there is no group {session.group!r}", _choose(session.group, keys))
        if session.provider not in providers:
            hint = _choose(session.provider, providers)
            raise source.error((*place, "provider"), f"there is no provider {session.provider!r}", hint)
        for group in fleet.groups:
            if group.label in session.role:
                raise source.error(
                    (*place, "role"),
                    f"the role of {session.name} contains the label {group.label!r}",
                    "Use one plain word.",
                )


def _refuse_repeats(source: Source, part: str, field: str, values: list[str]) -> None:
    seen: dict[str, int] = {}
    for index, value in enumerate(values):
        if value in seen:
            first = source.line(part, seen[value], field)
            raise source.error(
                (part, index, field), f"{field} {value!r} stands twice, first on line {first}", "Rename one of the two."
            )
        seen[value] = index


def _choose(wrong: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(wrong, names, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Use one of {', '.join(names)}."
