"""Definitions of services as the command line takes them: a JSON file, standard input, or options."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import InvalidInput, NotFound
from gaia_site.cli.ground import called_from

if TYPE_CHECKING:
    from services.spec import ServiceSpec


def spec_of(arguments: Namespace) -> ServiceSpec:
    """The definition in a file, or made of options. Raises: InvalidInput."""
    from services.spec import parse_spec

    if arguments.name is None:
        if len(arguments.file) != 1:
            raise InvalidInput(
                "it was not said what to register",
                meaning="Nothing was done.",
                fix="Name a JSON file, - for standard input, or say --name NAME -- COMMAND.",
            )
        return parse_spec(read_json(arguments.file[0]))
    if not arguments.file:
        raise InvalidInput("there is no command", fix=f"Say it behind --: --name {arguments.name} -- COMMAND.")
    given: dict[str, Any] = {
        "name": arguments.name,
        "command": arguments.file,
        "cwd": str(called_from() / Path(arguments.cwd).expanduser()),
        "env": _variables(arguments.env, "--env"),
        "secrets": _secrets(arguments.secret),
        "depends_on": arguments.depends_on,
        **({"port": arguments.port} if arguments.port else {}),
        **({"restart": arguments.restart} if arguments.restart else {}),
        **({"limits": {"memory": arguments.memory}} if arguments.memory else {}),
    }
    if arguments.health:
        given["health_check"] = _health_check(arguments.health)
    return parse_spec(given)


def _health_check(text: str) -> dict[str, str]:
    """`http://…` or `/path` asks by HTTP; `tcp`, or `HOST:PORT`, connects."""
    if text.startswith(("http://", "https://", "/")):
        return {"type": "http", "endpoint": text}
    return {"type": "tcp"} if text == "tcp" else {"type": "tcp", "endpoint": text}


def _variables(pairs: Iterable[str], option: str) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InvalidInput(f"{option} {name!r} has no value", fix=f"Write it like {option} NAME=VALUE.")
        found[name] = value
    return found


def _secrets(names: Iterable[str]) -> dict[str, str]:
    """Read one line of standard input each: on a command line every user of the machine could see them."""
    found = {}
    for name in names:
        if "=" in name:
            raise InvalidInput(
                "a secret's value does not belong on a command line",
                meaning="Every user of this machine could see it there, and the shell's history keeps it.",
                fix=f"Say --secret {name.partition('=')[0]}, and its value on standard input.",
            )
        if sys.stdin.isatty():
            import getpass

            found[name] = getpass.getpass(f"{name}: ")
        else:
            found[name] = sys.stdin.readline().rstrip("\n")
        if not found[name]:
            raise InvalidInput(f"there is no value for {name}", fix="One line of standard input for each --secret.")
    return found


def read_json(file: str) -> Any:
    """JSON in a file, or on standard input for `-`. Raises: NotFound, InvalidInput with line and column."""
    from services.console.forms import load

    if file == "-":
        return load(sys.stdin.read())
    path = called_from() / Path(file).expanduser()
    try:
        return load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}", fix="Name a JSON file, or - for standard input.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}", fix="Name a text file with JSON.") from error
