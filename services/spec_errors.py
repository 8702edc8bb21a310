"""What is wrong with a definition, in sentences: which field, and what to write."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from common.errors import InvalidInput

_Path = tuple[int | str, ...]
_SHORT_FORMS = ("args", "health_check", "auto_restart")
_WANTED = {
    "string_type": "write text",
    "int_type": "write a whole number",
    "int_parsing": "write a whole number",
    "int_from_float": "write a whole number",
    "list_type": "write a list",
    "dict_type": "write an object",
    "bool_type": "write true or false",
    "model_type": "write an object",
    "path_type": "write a path",
    "missing": "it is missing",
    "too_short": "it is empty",
    "string_too_long": "it is too long",
    "string_pattern_mismatch": "it has characters that cannot be",
}


def said(
    error: ValidationError, name: Any, model: type[BaseModel], *, renamed: Mapping[_Path, _Path] | None = None
) -> InvalidInput:
    """The error for people.

    Args:
        name: of the service, as far as it was given.
        model: what was read, whose fields are proposed for a misspelt one.
        renamed: beginnings of paths that people wrote in another place.
    """
    found = list(dict.fromkeys(_sentences(error, model, renamed or {})))
    subject = f"the definition of {name}" if isinstance(name, str) and name else "the definition of the service"
    what = f"{subject} is wrong: {found[0]}" if len(found) == 1 else f"{subject} has {len(found)} mistakes"
    return InvalidInput(
        what,
        meaning="" if len(found) == 1 else "; ".join(found) + ".",
        fix="docs/services.md has every field of a service.",
        mistakes=found,
    )


def _sentences(error: ValidationError, model: type[BaseModel], renamed: Mapping[_Path, _Path]) -> Iterator[str]:
    for each in error.errors(include_url=False):
        begin, rest = each["loc"][:2], each["loc"][2:]
        where = _path((*renamed.get(begin, begin), *rest))
        text = _text(each, model)
        yield f"{where}: {text}" if where else text


def _path(location: _Path) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def _text(error: ErrorDetails, model: type[BaseModel]) -> str:
    kind, given = error["type"], error.get("input")
    if kind == "value_error":
        return str(error["ctx"]["error"]).removesuffix(".")
    if kind == "extra_forbidden":
        return _unknown(error, model)
    if kind in {"enum", "literal_error"}:
        return f"{_shown(given)} is none of {error['ctx'].get('expected', '')}"
    if kind in {"greater_than_equal", "less_than_equal", "greater_than", "less_than"}:
        return f"{_shown(given)} is out of range: {error['msg'].removeprefix('Input ')}"
    wanted = _WANTED.get(kind, error["msg"])
    if "secrets" in error["loc"]:
        return wanted
    return wanted if kind in {"missing", "too_short"} else f"{wanted}, not {_shown(given)}"


def _unknown(error: ErrorDetails, model: type[BaseModel]) -> str:
    name = str(error["loc"][-1])
    known = [*model.model_fields, *_SHORT_FORMS] if len(error["loc"]) == 1 else []
    close = difflib.get_close_matches(name, known, 1)
    return "there is no such field" + (f"; did you mean {close[0]}?" if close else "")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
