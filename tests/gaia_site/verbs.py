"""Every verb of the command line, from its grammar."""

from __future__ import annotations

import argparse
from functools import cache

from gaia_site.cli.arguments import build_parser

Verbs = dict[tuple[str, ...], list[argparse.Action]]


@cache
def every_verb() -> Verbs:
    """Verb paths such as `("env", "setup")`, with what may follow each."""
    found: Verbs = {}
    _collect(build_parser(), (), found)
    return found


def _collect(parser: argparse.ArgumentParser, path: tuple[str, ...], found: Verbs) -> None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                _collect(child, (*path, name), found)
            return
    found[path] = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
