"""Changing parts of a definition: what is named is replaced, the rest stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.errors import InvalidInput

# A short form stands for the field it becomes: what that was before must not be added to it.
_BECOMES = {"health_check": "probes", "auto_restart": "restart"}


def merged(definition: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A definition with changes, to be parsed by `services.spec`.

    Args:
        definition: as it is, with `command` as a list of all its words.
        changes: fields with their new values; None takes a field away.

    Raises: InvalidInput for arguments without the command they belong to.
    """
    if "args" in changes and "command" not in changes:
        raise InvalidInput(
            "args: it goes with a command",
            meaning="Nothing was changed.",
            fix='Write both: {"command": "go", "args": ["run", "./cmd/api"]}.',
        )
    replaced = {*changes, *(_BECOMES[name] for name in _BECOMES.keys() & changes.keys())}
    kept = {name: value for name, value in definition.items() if name not in replaced}
    return kept | {name: value for name, value in changes.items() if value is not None}
