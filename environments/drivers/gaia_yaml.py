"""`gaia.yaml`: how a project's stages are started, said by the project itself.

command: python manage.py runserver 127.0.0.1:$PORT   # gets $PORT, $DATABASE_PATH, $STAGE, $APP_ENV
health: /health                                       # answers 200 when the stage is up
env: {LOG_LEVEL: info}
publish: true    # what is pushed to the hub goes on to the source
stages:
  qa: {command: gunicorn app -b 127.0.0.1:$PORT, env: {LOG_LEVEL: warning}}
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml

from common.errors import InvalidInput

NAMES = ("gaia.yaml", "gaia.yml")
MAX_BYTES = 64 * 1024
MAX_DEPTH = 10
DEFAULT_COMMAND = "exec python3 .gaia/placeholder.py"
DEFAULT_HEALTH = "/health"
_STAGE_KEYS = ("command", "health", "env")
_TOP_KEYS = (*_STAGE_KEYS, "stages", "publish")
_SWITCH = {"true": True, "false": False}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEALTH = re.compile(r"/[!-~]*")
_RESERVED = (
    "PORT", "DATABASE_PATH", "STAGE", "APP_ENV", "HEALTH_PATH", "COMMAND", "USE_HTTPS", "TLS_CERT", "TLS_KEY",
)  # fmt: skip
_OPENING = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
_EXAMPLE = "For example: command: python manage.py runserver 127.0.0.1:$PORT"


@dataclass(frozen=True)
class StageCommand:
    """How one stage is started.

    Args:
        command: a line for `sh -c`, run in the checkout with PORT, DATABASE_PATH, STAGE and APP_ENV set.
        health_path: answers 200 over HTTP when the stage is up.
        source: where it comes from.
        message: what to tell people about it.
        env: further variables.
    """

    command: str
    health_path: str
    source: Literal["gaia.yaml", "default"]
    message: str
    env: Mapping[str, str] = field(default_factory=dict)


def read(path: Path, stage: str = "dev") -> StageCommand:
    """Read how a stage is started from the `gaia.yaml` in a checkout.

    Args:
        path: the checkout.
        stage: its section under `stages:` overrides what the top says.

    Returns: the command; GAIA's placeholder server when there is no file.
    Raises: InvalidInput with file, line and what to write instead.
    """
    file = next((path / name for name in NAMES if (path / name).is_file()), None)
    if file is None:
        return _placeholder("There is no gaia.yaml", "Add a gaia.yaml with its start command.")
    return _Reader(file).read(stage)


def read_publish(text: str, *, name: str) -> bool:
    """Whether a `gaia.yaml` says `publish: true`; nothing else of it is looked at closely.

    Args:
        text: of the file.
        name: what it is called in errors.

    Raises: InvalidInput with file, line and what to write instead.
    """
    return _Reader(Path(name), text, meaning="So it does not say whether to publish.").publish()


def _placeholder(why: str, what_to_do: str) -> StageCommand:
    told = f"{why}, so GAIA's placeholder server runs in place of the project. {what_to_do} {_EXAMPLE}"
    return StageCommand(DEFAULT_COMMAND, DEFAULT_HEALTH, "default", told)


class _Reader:
    """Walks the YAML nodes, which know their lines; values are never turned into Python objects."""

    def __init__(
        self, file: Path, text: str | None = None, *, meaning: str = "Stages cannot be started until it says how."
    ) -> None:
        self._file = file
        self._given = text
        self._meaning = meaning

    def publish(self) -> bool:
        return self._publish(self._mapping(self._compose(), "the file", _TOP_KEYS))

    def read(self, stage: str) -> StageCommand:
        top = self._mapping(self._compose(), "the file", _TOP_KEYS)
        self._publish(top)
        if top.keys() <= {"publish"}:
            return _placeholder(f"{self._file.name} says no command", "Add the project's start command to it.")
        sections = self._mapping(top["stages"], "stages", None) if "stages" in top else {}
        # every section is checked, whichever stage is asked for: a mistake should show at once
        own = {name: self._stage(node, f"stages.{name}") for name, node in sections.items()}
        general = self._stage_values(top)
        chosen = own.get(stage, {})
        command = chosen.get("command") or general.get("command")
        if not isinstance(command, str):
            raise self._error(None, f"says no command for stage {stage}", _EXAMPLE)
        health = chosen.get("health") or general.get("health") or DEFAULT_HEALTH
        env = {**_variables(general), **_variables(chosen)}
        return StageCommand(command, str(health), "gaia.yaml", f"from {self._file.name}", env)

    def _compose(self) -> yaml.Node:
        try:
            size = self._file.stat().st_size if self._given is None else len(self._given)
            if size > MAX_BYTES:
                raise self._error(
                    None, f"is larger than {MAX_BYTES // 1024} KiB", "Keep only the start commands in it."
                )
            text = self._file.read_text(encoding="utf-8") if self._given is None else self._given
            self._check_tokens(text)
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            problem = error.problem or "cannot be read"
            raise self._error(error.problem_mark, f"is not valid YAML: {problem}", _EXAMPLE) from error
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise self._error(None, f"is not valid YAML: {error}", _EXAMPLE) from error
        except OSError as error:
            raise self._error(
                None, f"cannot be read: {error.strerror}", "Give your user the right to read it."
            ) from error
        if node is None:
            raise self._error(None, "is empty", _EXAMPLE)
        return node

    def _check_tokens(self, text: str) -> None:
        """Before anything is built: aliases can blow a small file up, deep nesting takes the parser minutes."""
        depth = 0
        for token in yaml.scan(text):
            depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
            if isinstance(token, yaml.AliasToken):
                raise self._error(token.start_mark, "uses an alias (*)", "Write the value out.")
            if depth > MAX_DEPTH:
                raise self._error(token.start_mark, f"is nested deeper than {MAX_DEPTH} levels", _EXAMPLE)

    def _mapping(self, node: yaml.Node, what: str, allowed: tuple[str, ...] | None) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            raise self._error(node.start_mark, f"{what} has to be a list of `key: value` lines", _EXAMPLE)
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._error(key.start_mark, f"a key of {what} is not a word", _EXAMPLE)
            if allowed is not None and key.value not in allowed:
                near = difflib.get_close_matches(key.value, allowed, n=1)
                hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(allowed)}."
                raise self._error(key.start_mark, f"{what} has an unknown key {key.value!r}", hint)
            if key.value in found:
                raise self._error(key.start_mark, f"{what} has {key.value!r} twice", "Keep one of them.")
            found[key.value] = value
        return found

    def _publish(self, top: Mapping[str, yaml.Node]) -> bool:
        node = top.get("publish")
        if node is None:
            return False
        known = isinstance(node, yaml.ScalarNode) and not node.style  # in quotes it is text
        if not known or node.value.lower() not in _SWITCH:
            raise self._error(node.start_mark, "publish is neither true nor false", "For example: publish: true")
        return _SWITCH[node.value.lower()]

    def _stage(self, node: yaml.Node, what: str) -> dict[str, str | dict[str, str]]:
        return self._stage_values(self._mapping(node, what, _STAGE_KEYS))

    def _stage_values(self, nodes: Mapping[str, yaml.Node]) -> dict[str, str | dict[str, str]]:
        values: dict[str, str | dict[str, str]] = {}
        if "command" in nodes:
            values["command"] = self._text(nodes["command"], "command", _EXAMPLE)
        if "health" in nodes:
            health = self._text(nodes["health"], "health", "For example: health: /health")
            if not _HEALTH.fullmatch(health):
                raise self._error(
                    nodes["health"].start_mark,
                    "health has to be a path that starts with /",
                    "For example: health: /health",
                )
            values["health"] = health
        if "env" in nodes:
            values["env"] = self._env(nodes["env"])
        return values

    def _env(self, node: yaml.Node) -> dict[str, str]:
        variables = {}
        for name, value in self._mapping(node, "env", None).items():
            if not _VARIABLE.fullmatch(name):
                raise self._error(value.start_mark, f"{name!r} is no name for a variable", "Use letters, digits and _.")
            if name in _RESERVED or name.startswith("GAIA_"):
                raise self._error(value.start_mark, f"{name} is set by GAIA", "Remove it here.")
            variables[name] = self._text(value, f"env.{name}", "Write it in quotes.", may_be_empty=True)
        return variables

    def _text(self, node: yaml.Node, what: str, hint: str, *, may_be_empty: bool = False) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node.start_mark, f"{what} has to be text", hint)
        text = str(node.value)
        if "\0" in text or not (text.strip() or may_be_empty):
            raise self._error(node.start_mark, f"{what} is empty", hint)
        return text

    def _error(self, mark: yaml.Mark | None, problem: str, hint: str) -> InvalidInput:
        line = "" if mark is None else f":{mark.line + 1}"
        return InvalidInput(
            f"{self._file.name}{line}: {problem}" if line else f"{self._file.name} {problem}",
            meaning=self._meaning,
            fix=hint,
            path=str(self._file),
            line=None if mark is None else mark.line + 1,
        )


def _variables(values: Mapping[str, str | dict[str, str]]) -> dict[str, str]:
    env = values.get("env")
    return env if isinstance(env, dict) else {}
