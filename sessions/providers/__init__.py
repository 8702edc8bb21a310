"""Providers: whose agent runs in a session, how it is started for a person to talk to, how to tell it from a name, and
what it does from its screen.

They are data, one YAML file each, beside this module; files in a directory of the operator's add to them or replace
them.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from common.errors import InvalidInput
from common.names import check_name
from sessions.providers.screen import Data, ScreenRules
from sessions.yaml_data import read_yaml, validate

SHIPPED = Path(__file__).parent
# The order in which name patterns are tried; others come after, by name, and `system` takes what is left.
_ORDER = ("claude", "codex", "gemini", "ollama")
SYSTEM = "system"
DEFAULT_SHELL = "/bin/sh"

# Said in the pane before the shell starts; the shell then replaces this one.
_SAY_AND_BE = ("/bin/sh", "-c", 'printf "%s\\n\\n" "$1"; exec "$0"')
_PROGRAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")


def _program(value: str) -> str:
    if not _PROGRAM.fullmatch(value):
        raise ValueError(f"{value!r} is not the name of a program; paths are not taken, PATH is searched")
    return value


def _variable(value: str) -> str:
    if not _VARIABLE.fullmatch(value):
        raise ValueError(f"{value!r} is not a name for an environment variable")
    return value


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"{value!r} is not a regular expression: {error}") from None
    return value


def _name(value: str) -> str:
    try:
        return check_name(value, what="provider name")
    except InvalidInput as error:
        raise ValueError(error.what) from None


Program = Annotated[str, AfterValidator(_program)]
Variable = Annotated[str, AfterValidator(_variable)]
Pattern = Annotated[str, AfterValidator(_pattern)]


class Candidate(Data):
    """One way to start the provider's agent.

    `argv` follows the program. `env` is set; `pass_env` names variables handed on from GAIA's own environment.
    """

    program: Program
    argv: tuple[str, ...] = Field(default=(), strict=False)
    env: dict[Variable, str] = {}
    pass_env: tuple[Variable, ...] = Field(default=(), strict=False)
    note: str = ""


class Provider(Data):
    """A provider as its file describes it."""

    version: Literal[1]
    name: Annotated[str, AfterValidator(_name)]
    label: str = Field(min_length=1)
    candidates: tuple[Candidate, ...] = Field(default=(), strict=False)
    install: str = ""  # what the operator would type
    enter_delay_ms: int = Field(default=0, ge=0, le=10_000)  # between a text and the Enter that submits it
    name_patterns: tuple[Pattern, ...] = Field(default=(), strict=False)  # whole names of sessions GAIA did not start
    screen: ScreenRules | None = None  # how one sees what its agent does

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs that would do, best first."""
        return tuple(candidate.program for candidate in self.candidates)

    @property
    def enter_delay(self) -> float:
        """Seconds between a text and the Enter that submits it."""
        return self.enter_delay_ms / 1000

    @property
    def install_hint(self) -> str:
        """What to do to get the agent, as a sentence; empty for a provider that needs none."""
        if not self.candidates:
            return ""
        programs = " or ".join(self.programs)
        return f"Install {programs}: {self.install}" if self.install else f"Install {programs} and put it on PATH."


@dataclass(frozen=True)
class Launch:
    """What to run in a session's pane.

    `runs` is `agent` or `shell`; `program` is the agent's absolute path; `reason` says why a shell runs where an agent
    should.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    runs: Literal["agent", "shell"]
    program: str | None
    reason: str


def resolve(
    provider: Provider, path: str, *, shell: str | None = None, environ: Mapping[str, str] | None = None
) -> Launch:
    """How to start a provider's agent on this machine.

    Args:
        provider: as loaded.
        path: the PATH to look on; entries that are not absolute are ignored.
        shell: program for a session without agent; default `$SHELL`, else /bin/sh.
        environ: where `pass_env` is taken from; default GAIA's own environment.

    Returns: the first candidate that is installed, by its absolute path; else a shell that says why, in its pane, too.
    """
    environ = os.environ if environ is None else environ
    directories = os.pathsep.join(part for part in path.split(os.pathsep) if os.path.isabs(part))
    for candidate in provider.candidates:
        # which() falls back to the process's own PATH when it is given an empty one
        found = shutil.which(candidate.program, path=directories) if directories else None
        if found is not None:
            passed = {name: environ[name] for name in candidate.pass_env if environ.get(name)}
            return Launch((found, *candidate.argv), {**passed, **candidate.env}, "agent", found, "")
    program = _shell(shell, environ)
    if not provider.candidates:
        return Launch((program,), {}, "shell", None, "")
    reason = f"{provider.name} is not installed (looked for: {', '.join(provider.programs)}); a shell runs instead"
    message = f"GAIA: {reason}. {provider.install_hint}"
    return Launch((*_SAY_AND_BE, program, message), {}, "shell", None, reason)


def _shell(wanted: str | None, environ: Mapping[str, str]) -> str:
    for shell in (wanted, environ.get("SHELL")):
        if shell and os.path.isabs(shell) and os.access(shell, os.X_OK):
            return shell
    return DEFAULT_SHELL


def load_providers(extra_dir: Path | None = None) -> dict[str, Provider]:
    """The shipped providers, and those in a directory of the operator's, which win.

    Args:
        extra_dir: directory with `NAME.yaml` files; one that does not exist adds none.

    Returns: by name, in the order in which their name patterns are tried.
    Raises: InvalidInput with file, line and hint.
    """
    found = dict(_shipped())
    if extra_dir is not None and extra_dir.is_dir():
        found |= {provider.name: provider for provider in map(_load, sorted(extra_dir.glob("*.yaml")))}
    _check_likes(found, extra_dir)
    return {name: found[name] for name in sorted(found, key=_rank)}


def _check_likes(found: Mapping[str, Provider], extra_dir: Path | None) -> None:
    for provider in found.values():
        like = provider.screen.like if provider.screen is not None else ""
        if like and like not in found:
            own = (extra_dir or SHIPPED) / f"{provider.name}.yaml"
            source = read_yaml(own if own.exists() else SHIPPED / own.name)
            raise source.error(("screen", "like"), f"there is no provider {like}", f"Providers: {', '.join(found)}.")


@lru_cache(maxsize=1)
def _shipped() -> dict[str, Provider]:
    return {provider.name: provider for provider in map(_load, sorted(SHIPPED.glob("*.yaml")))}


def _load(path: Path) -> Provider:
    source = read_yaml(path)
    provider = validate(source, Provider)
    if provider.name != path.stem:
        raise source.error(
            ("name",), f"the provider {provider.name!r} stands in {path.name}", f"Name the file {provider.name}.yaml."
        )
    return provider


def _rank(name: str) -> tuple[int, str]:
    if name in _ORDER:
        return _ORDER.index(name), name
    return (len(_ORDER) + (name == SYSTEM), name)
