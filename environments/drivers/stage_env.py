"""The variables of a stage: how they are written down and read, the same for the daemon and for the scripts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from environments.drivers.gaia_yaml import StageCommand

_YES = {"1", "true", "yes", "on"}
_DOTENV_LINE = re.compile(r"(?:export )?(?P<key>[A-Za-z_][A-Za-z0-9_]*)=(?P<value>.*)")


def stage_variables(stage: str, base: Mapping[str, str], command: StageCommand) -> dict[str, str]:
    """Everything a stage's command gets, apart from `.env.local`.

    Args:
        base: what GAIA decides: names, PORT, DATABASE_PATH, LOG_FILE.
        command: what the project says; GAIA's own variables win over its.
    """
    return {
        **command.env,
        **base,
        "STAGE": stage,
        "APP_ENV": stage,
        "HEALTH_PATH": command.health_path,
        "COMMAND": command.command,
    }


def says_yes(value: str) -> bool:
    """Whether the value of a variable such as USE_HTTPS means yes, as the scripts understand it."""
    return value.strip().lower() in _YES


def assignments(variables: Mapping[str, str]) -> str:
    """The variables as a file that a shell can read with `.`."""
    lines = [f"{key}={shlex.quote(value)}" for key, value in variables.items()]
    return "\n".join(["# Written by GAIA from gaia.yaml; changes here are lost.", *lines, ""])


def read_assignments(file: Path) -> dict[str, str]:
    """What `assignments` wrote. Raises: OSError; ValueError for a file that somebody damaged."""
    words = shlex.split(file.read_text(encoding="utf-8"), comments=True)
    return dict(word.split("=", 1) for word in words if "=" in word)


def dotenv_line(name: str, value: str) -> str:
    """One variable as `read_dotenv` reads it; a value that begins and ends with quotes keeps them."""
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return f'{name}="{value}"' if quoted or value != value.strip() else f"{name}={value}"


def read_dotenv(file: Path) -> dict[str, str]:
    """KEY=VALUE lines as data, exactly as `launch.sh` reads them; nothing from a file that cannot be read."""
    try:
        return parse_dotenv(file.read_bytes().decode("utf-8", "replace"))
    except OSError:
        return {}


def parse_dotenv(text: str) -> dict[str, str]:
    """As `read_dotenv`, of a text."""
    found: dict[str, str] = {}
    for line in text.replace("\0", "").split("\n"):
        match = _DOTENV_LINE.fullmatch(line.removesuffix("\r"))
        if match and match["key"] != "IFS":
            value = match["value"]
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
            found[match["key"]] = value[1:-1] if quoted else value
    return found


def read_text(file: Path) -> str:
    """A file's text with undecodable bytes kept as surrogates; empty when there is none."""
    try:
        return file.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return ""
