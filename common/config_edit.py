"""Changing one setting in `config.toml`, and nothing else of it: comments, order and blank lines stay."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from common import config
from common.errors import InvalidInput, NotFound, Unavailable
from common.files import write_atomic
from common.home import Home

_HEADER = re.compile(r"\s*\[\s*(?P<name>[A-Za-z0-9_-]+)\s*\]\s*(#.*)?")
_LINE = r"\s*{name}\s*="
_DOTTED = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)?")


def set_value(home: Home, dotted: str, text: str) -> Any:
    """Write one setting; the home's settings are read again afterwards, so that no mistake is left behind.

    Args:
        dotted: such as `server.port`.
        text: its value as one types it.

    Returns: the value in force. Raises: NotFound for no setting; InvalidInput for a value that it cannot have, or for
    a file that cannot be read.
    """
    key = next((key for key in config.KEYS if key.dotted == dotted), None)
    if key is None:
        raise NotFound(f"there is no setting {dotted}", fix="gaia config shows them all.")
    try:
        value = key.parse(text)
    except InvalidInput as error:
        error.fix = error.fix or f"{key.doc} Default: {key.default!r}."
        raise
    written = text.strip() if isinstance(value, str | float) and not isinstance(value, bool) else value
    _write(home.config_file, _without(_read(home.config_file), dotted, put=f"{key.name} = {json.dumps(written)}"))
    return value


def unset(home: Home, dotted: str) -> bool:
    """Take one setting out of the file, known or not, so that its default is in force. Returns: whether it was there.

    Raises: InvalidInput for a name that cannot be one.
    """
    if not _DOTTED.fullmatch(dotted):
        raise InvalidInput(f"{dotted!r} is no name of a setting", fix="Write it like server.port.")
    before = _read(home.config_file)
    after = _without(before, dotted)
    if after != before:
        _write(home.config_file, after)
    return after != before


def _read(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"{file} cannot be read: {error}", fix="Mend or move the file.") from error


def _without(lines: list[str], dotted: str, *, put: str = "") -> list[str]:
    """The lines without that setting; `put` takes its place, or goes to the end of its section."""
    section, _, name = dotted.rpartition(".")
    pattern = re.compile(_LINE.format(name=re.escape(name)))
    found, kept, place, end = "", list[str](), None, None
    for line in lines:
        header = _HEADER.fullmatch(line)
        if header:
            found = header["name"]
        elif found == section and pattern.match(line):
            place = len(kept) if place is None else place
            continue
        kept.append(line)
        if found == section and section and line.strip():
            end = len(kept)
    if not put:
        return kept
    at = end if place is None else place
    if at is None:
        return [*kept, *([""] if kept else []), f"[{section}]", put]
    return [*kept[:at], put, *kept[at:]]


def _write(file: Path, lines: list[str]) -> None:
    text = "\n".join([*lines, ""]) if lines else ""
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(
            f"{file} cannot be changed: {error}",
            meaning="It has another mistake, so it was left as it is.",
            fix="gaia doctor --verify shows where.",
        ) from error
    mode = file.stat().st_mode & 0o777 if file.exists() else 0o600
    write_atomic(file, text, mode=mode)
