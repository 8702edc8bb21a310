"""`gaia panic`: refuse all input to all sessions, until it is lifted."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

from common.errors import InvalidInput
from gaia_site.cli import pictures
from gaia_site.cli.ground import ready

_LIFT = "Once it is safe again: gaia panic --lift"


def panic(arguments: Namespace) -> int:
    """Declare a panic, lift it, or say whether one holds. Returns: the exit code."""
    if (arguments.lift and arguments.status) or (arguments.reason and (arguments.lift or arguments.status)):
        raise InvalidInput("these together are not clear", fix="gaia panic REASON, --lift, or --status.")
    ready()
    if arguments.lift:
        return _lift(arguments)
    return _status(arguments) if arguments.status else _declare(arguments)


def _declare(arguments: Namespace) -> int:
    from policy import panic

    holds, first = panic.declare(" ".join(arguments.reason))
    told = panic.describe(holds)
    if arguments.json:
        print(json.dumps({**told, "first": first}))
    elif first:
        print("Panic: nobody can type into any session. Agents go on, and their screens stay.")
        print(f"  Look at them:  gaia watch, gaia session capture NAME\n  {_LIFT}")
    else:
        print("\n".join([f"A panic holds already: it is {told['by']}'s.", *lines(told)]))
    return 0


def _lift(arguments: Namespace) -> int:
    from policy import panic

    lifted = panic.lift()
    if arguments.json:
        print(json.dumps(panic.describe(lifted)))
    elif lifted is None:
        print("No panic holds.")
    else:
        print(f"The panic of {lifted.declared_by} is lifted: sessions take input again.")
        print("  A terminal that was attached then shows on; to type in it, detach and attach again.")
    return 0


def _status(arguments: Namespace) -> int:
    from policy import panic

    told = panic.describe(panic.standing())
    if arguments.json:
        print(json.dumps(told))
    else:
        print("\n".join(lines(told)) if told["panic"] else "No panic holds.")
    return 1 if told["panic"] else 0


def lines(told: dict[str, Any]) -> list[str]:
    """A panic that holds, for people: who, since when, why, and how it ends."""
    since = f"Panic by {told['by']} at {told['at'][:19].replace('T', ' ')}: nobody can type into any session."
    why = pictures.wrapped("  Why: ", told["reason"]) if told["reason"] else []
    return [*pictures.wrapped(f"{pictures.ICONS['failed']} ", since), *why, f"  {_LIFT}"]
