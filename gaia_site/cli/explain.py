"""`gaia session explain`: what an agent does; of a saved screen without Django, database and daemon."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from typing import Any

from common.errors import InvalidInput
from common.home import gaia_home
from common.text import decodable, plain
from gaia_site.cli.ground import called_from

_MOST_BYTES = 4_000_000  # the lowest of a capture; no screen has more


def explain(arguments: Namespace) -> int:
    """Tell what an agent does, and what that is concluded from. Returns: the exit code."""
    told = _of_session(arguments) if arguments.screen is None else _of_screen(arguments)
    print(json.dumps(told) if arguments.json else _picture(told))
    return 0


def _of_session(arguments: Namespace) -> dict[str, Any]:
    if not arguments.name:
        raise InvalidInput("no session is named", fix="gaia session explain NAME, or --screen FILE --provider NAME.")
    if arguments.provider or arguments.title:
        raise InvalidInput(
            "--provider and --title belong to --screen", fix="Of a session GAIA knows both: leave them out."
        )
    from gaia_site.cli.ground import ready
    from gaia_site.cli.session import socket_given

    ready()
    from sessions.actions import control
    from sessions.explain import explain as explained

    return explained(control.find(arguments.name, socket=socket_given(arguments)))


def _of_screen(arguments: Namespace) -> dict[str, Any]:
    if arguments.name:
        raise InvalidInput("a session and a saved screen together are not clear", fix="Name one of them.")
    from sessions.detection import Look, classify, rules_for, shown
    from sessions.providers import load_providers

    known = load_providers(gaia_home().root / "providers")
    provider = known.get(arguments.provider)
    if provider is None:
        raise InvalidInput(
            f"there is no provider {arguments.provider!r}" if arguments.provider else "no provider is named",
            meaning="How a screen is read depends on whose agent it shows.",
            fix=f"--provider {' | '.join(known)}",
        )
    look = Look(text=_read(arguments.screen), title=decodable(arguments.title))
    return {"provider": provider.name, **shown(classify(rules_for(provider, known), look))}


def _read(name: str) -> str:
    """The end of a capture, whatever its bytes."""
    if name == "-":
        return sys.stdin.buffer.read()[-_MOST_BYTES:].decode(errors="replace")
    path = called_from() / os.path.expanduser(name)
    try:
        with path.open("rb") as file:
            if file.seekable():
                file.seek(max(0, file.seek(0, os.SEEK_END) - _MOST_BYTES))
            return file.read(_MOST_BYTES).decode(errors="replace")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidInput(
            f"the screen {decodable(name)} cannot be read: {reason}",
            fix="Save one with: gaia session capture NAME > FILE",
        ) from error


def _picture(told: dict[str, Any]) -> str:
    rule = f"rule {told['rule']}" if told["rule"] else "no rule held"
    of = f", version {told['version']} of {told['provider']}'s" if told["version"] else ""
    lines = [f"{told.get('session') or told['provider']}: {told['state']}", f"  source  {told['source']}, {rule}{of}"]
    if told["seen"]:
        lines.append(f"  seen    {told['seen']}")
    if "session" in told:
        lines.append(f"  quiet   {told['age_s']:g} s")
        lines.append(f"  runs    {told['runs']} ({told['command']})")
        lines.append(f"  title   {told['title']}")
        lines += ["", *(f"  │ {line}" for line in told["screen"])]
    return "\n".join(map(plain, lines))
