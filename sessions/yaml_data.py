"""Reading the room's YAML files: safe, without aliases, and every mistake with file and line.

A file describes itself as a pydantic model; what the model refuses is traced back to the line it stands on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from common.errors import InvalidInput

_SIZE_LIMIT = 1_000_000  # bytes; these files are written by people
_DEPTH_LIMIT = 20
_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
# libyaml is ten times faster; the fallback reads the same language
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Model = TypeVar("Model", bound=BaseModel)
Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Source:
    """What a file says, and on which line it says it."""

    path: Path
    data: Any
    lines: dict[Place, int]

    def line(self, *place: str | int) -> int:
        """The line of a value, or of what surrounds it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def error(self, place: Place, what: str, hint: str) -> InvalidInput:
        """The error for a mistake at a place, named as `FILE:LINE: what`."""
        line = self.line(*place)
        return InvalidInput(
            f"{self.path}:{line}: {what}",
            meaning="The file was not loaded; nothing of it is in force.",
            fix=hint,
            path=str(self.path),
            line=line,
        )


def read_yaml(path: Path) -> Source:
    """Read one YAML document.

    Raises: InvalidInput with file and line when it is missing, unreadable, no YAML, uses aliases or repeats a key.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be read: {error.strerror}", fix="Check the path and its permissions."
        ) from error
    if len(text) > _SIZE_LIMIT:
        raise InvalidInput(f"{path} is larger than {_SIZE_LIMIT} bytes", fix="This is not such a file.")
    lines: dict[Place, int] = {}
    try:
        _check_events(path, text)
        node = yaml.compose(text, Loader=_LOADER)
        data = None if node is None else _value(node, (), lines)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise _not_yaml(path, mark.line + 1 if mark is not None else 1, problem) from error
    return Source(path, data, lines)


def validate(source: Source, model: type[Model]) -> Model:
    """The file as its model.

    Raises: InvalidInput for the first mistake, with file, line and hint.
    """
    if not isinstance(source.data, dict):
        raise source.error((), "the file must hold keys and values", f"Start with {next(iter(model.model_fields))}: …")
    try:
        return model.model_validate(source.data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = first["loc"]
        what, hint = _explain(first["type"], first["msg"], place)
        raise source.error(place, what, hint) from error


def _explain(kind: str, message: str, place: Place) -> tuple[str, str]:
    where = ".".join(map(str, place)) or "the file"
    if kind == "extra_forbidden":
        return f"there is no key {where}", "Check its spelling; the shipped file shows every key."
    if kind == "missing":
        return f"{where} is missing", f"Add {place[-1] if place else 'it'}."
    text = message.removeprefix("Value error, ")
    return f"{where}: {text[:1].lower()}{text[1:]}", "The shipped file shows how it is written."


def _check_events(path: Path, text: bytes) -> None:
    """Refuse aliases, of which a few lines can grow to gigabytes, and nesting that would exhaust the stack."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        alias = isinstance(event, yaml.AliasEvent)
        if alias or depth > _DEPTH_LIMIT:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise _not_yaml(path, line, "an alias (*name) is not allowed" if alias else "nested too deeply")


def _value(node: yaml.Node, place: Place, lines: dict[Place, int]) -> Any:
    lines[place] = node.start_mark.line + 1
    if isinstance(node, yaml.CollectionNode) and node.tag not in _COLLECTIONS:
        raise yaml.constructor.ConstructorError(None, None, f"the tag {node.tag} is not allowed", node.start_mark)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, place, lines)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*place, index), lines) for index, item in enumerate(node.value)]
    return yaml.constructor.SafeConstructor().construct_object(node, deep=True)


def _mapping(node: yaml.MappingNode, place: Place, lines: dict[Place, int]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = key_node.value
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
            raise yaml.constructor.ConstructorError(None, None, "a key must be a plain word", key_node.start_mark)
        if key in result:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} stands here twice", key_node.start_mark
            )
        result[key] = _value(value_node, (*place, key), lines)
        lines[(*place, key)] = key_node.start_mark.line + 1
    return result


def _not_yaml(path: Path, line: int, problem: str) -> InvalidInput:
    return InvalidInput(
        f"{path}:{line}: {problem}",
        meaning="The file was not loaded; nothing of it is in force.",
        fix="Mend the line; aliases and repeated keys are not accepted.",
        path=str(path),
        line=line,
    )
