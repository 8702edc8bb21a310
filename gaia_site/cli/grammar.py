"""How the command line's mistakes are told: what happened, what it means, what to do. Never argparse's own words."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from common.errors import InvalidInput

_MANY = 1_000_000  # a highest number above it is nobody's concern
Verbs = argparse._SubParsersAction
_CHOICE = re.compile(r"argument (?P<where>.+?): (?P<what>.*)", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """A parser that raises InvalidInput where argparse would exit, and that knows what was nearly typed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})

    def parse_args(self, args: Any = None, namespace: Any = None) -> argparse.Namespace:  # type: ignore[override]
        """As argparse's, but words after an option still belong to a list before it: `send NAME --no-enter TEXT`.

        What is left over then is the verb's mistake, which knows its options. Raises: InvalidInput.
        """
        found: argparse.Namespace
        found, extra = self.parse_known_args(args, namespace)
        verb = getattr(found, "parser", self)
        lists = [action.dest for action in verb._actions if not action.option_strings and action.nargs in ("*", "+")]
        if extra and (not lists or any(word.startswith("-") for word in extra)):
            verb.error(f"unrecognized arguments: {' '.join(extra)}")
        if extra:
            setattr(found, lists[-1], [*getattr(found, lists[-1]), *extra])
        return found

    def error(self, message: str) -> NoReturn:
        """Raises: InvalidInput."""
        unknown = re.fullmatch(r"unrecognized arguments: (.+)", message, re.DOTALL)
        missing = re.fullmatch(r"the following arguments are required: (.+)", message)
        if unknown:
            word = unknown[1].split()[0]
            what = f"there is no option {word}" if word.startswith("-") else f"{word!r} is one word too many"
            raise self._mistake(what, _did_you_mean(word, self._options()))
        if missing:
            raise self._mistake(f"{missing[1]} is missing")
        named = _CHOICE.fullmatch(message)
        raise self._mistake(f"{named['where']}: {named['what']}" if named else message)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Called by argparse for arguments with choices. Raises: InvalidInput."""
        if action.choices is None or value in action.choices:
            return
        kind = "verb" if isinstance(action, Verbs) else action.metavar or action.dest
        known = [str(choice) for choice in action.choices]
        raise self._mistake(f"there is no {kind} {value!r}", _did_you_mean(str(value), known, show=kind != "verb"))

    def _options(self) -> list[str]:
        return [option for action in self._actions for option in action.option_strings]

    def _mistake(self, what: str, hint: str = "") -> InvalidInput:
        fix = f"{hint} `{self.prog} --help` shows how it is written.".strip()
        return InvalidInput(what, meaning="Nothing was done.", fix=fix)


def _did_you_mean(word: str, known: Iterable[str], *, show: bool = False) -> str:
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1)
    if close:
        return f"Did you mean {close[0]}?"
    return f"There are: {', '.join(names)}." if show else ""


def number(what: str, lowest: float, highest: float, kind: type[int] | type[float] = int) -> Callable[[str], Any]:
    """A type for arguments that are numbers, both bounds included."""

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from None
        if not lowest <= value <= highest:
            bounds = f"{lowest:g} to {highest:g}" if highest <= _MANY else f"{lowest:g} or more"
            raise argparse.ArgumentTypeError(f"{text} is not {what}: {bounds} are")
        return value

    return parse


STAGES = ("dev", "qa", "staging")
PORT = number("a port", 1, 65535)
SESSION, ENVIRONMENT, SERVICE = "sessions", "environments", "services"  # whose names complete a word: see `completion`


def add_verb(verbs: Verbs[Parser], name: str, run: str, text: str, *, json: bool = True) -> Parser:
    parser = verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(run=run, parser=parser)
    if json:
        parser.add_argument("--json", action="store_true", help="print data for programs")
    return parser


def add_group(verbs: Verbs[Parser], name: str, text: str) -> Verbs[Parser]:
    parser = verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(helps=parser)
    return parser.add_subparsers(title="verbs", metavar="VERB")


def completed_by(action: argparse.Action, source: str) -> None:
    action.completed_by = source  # type: ignore[attr-defined]  # read by `completion`


def add_yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask; without a terminal nobody is asked")
