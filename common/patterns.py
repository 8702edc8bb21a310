"""Regular expressions that people write for lines of a log, and that cannot keep the daemon busy.

Python's `re` tries again and again where loops meet, and nothing can interrupt it. So what can explode is refused when
it is written, and the more loops a pattern has, the fewer characters of a line it gets to see: the work has an end.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from re import _constants as codes  # type: ignore[attr-defined]  # the parser that agrees with what is compiled
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from common.errors import InvalidInput

_MOST_STEPS = 1_000_000_000  # of the kind that takes about a nanosecond
_LONGEST_LINE = 4000
_SHORTEST_LINE = 100  # a pattern that could be trusted with less than this is refused
_LOOPS = (codes.MAX_REPEAT, codes.MIN_REPEAT)
_REFERENCES = (codes.GROUPREF, codes.GROUPREF_EXISTS)
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class LinePattern:
    """A pattern and how many characters of a line it is tried on."""

    pattern: re.Pattern[str]
    longest: int

    def is_in(self, line: str) -> bool:
        """Whether the line has it; colours of a terminal do not count."""
        plain = _COLOUR.sub("", line) if "\x1b" in line else line
        return self.pattern.search(plain, 0, self.longest) is not None


@dataclass(frozen=True)
class _Cost:
    """Ways to match at one place: `factor` × (length of the line) ^ `loops`."""

    factor: float = 1.0
    loops: int = 0

    def times(self, other: _Cost) -> _Cost:
        return _Cost(self.factor * other.factor, self.loops + other.loops)

    def often(self, count: int) -> _Cost:
        try:
            return _Cost(self.factor**count, self.loops * count)
        except OverflowError:
            return _Cost(math.inf, self.loops * count)


def compile_pattern(text: str) -> LinePattern:
    """A pattern to search lines with.

    Raises: InvalidInput for what is no regular expression, and for one that may take very long: a loop within a loop
        such as `(a+)*`, alternatives within a loop such as `(a|b)*`, references to groups, many loops.
    """
    try:
        pattern = re.compile(text)
        cost = _cost(parser.parse(text), text)
    except (re.error, RecursionError, OverflowError) as error:
        raise InvalidInput(f"{text!r} is no regular expression: {error}") from None
    steps = _MOST_STEPS * math.factorial(min(cost.loops, 20)) / cost.factor
    longest = min(_LONGEST_LINE, int(steps ** (1 / (cost.loops + 1))))
    if longest < _SHORTEST_LINE:
        raise _too_slow(text, "has too many loops", "Leave .* and the like out where you can.")
    return LinePattern(pattern, longest)


def _cost(tree: Any, text: str) -> _Cost:
    cost = _Cost()
    for code, argument in tree:
        if code in _REFERENCES:
            raise _too_slow(text, "refers back to a group", "Write out what is meant.")
        if code in _LOOPS:
            least, most, body = argument
            cost = cost.times(_of_loop(least, most, body, text))
        elif code is codes.BRANCH:
            branches = [_cost(branch, text) for branch in argument[1]]
            total = sum(each.factor for each in branches)
            cost = cost.times(_Cost(total, max(each.loops for each in branches)))
        else:
            for part in _parts(argument):
                cost = cost.times(_cost(part, text))
    return cost


def _of_loop(least: int, most: int, body: Any, text: str) -> _Cost:
    inner = _cost(body, text)
    if most <= 1:  # ? is a choice, not a loop
        return _Cost(inner.factor + 1, inner.loops)
    if least == most:
        return inner.often(most)
    if inner != _Cost():
        fix = "Write a loop over single characters, such as [a-z ]+."
        raise _too_slow(text, "has a loop or a choice within a loop", fix)
    return _Cost(1.0, 1) if most > _SHORTEST_LINE else _Cost(float(most - least + 1))


def _parts(argument: Any) -> list[Any]:
    """The patterns within a node of the tree."""
    if isinstance(argument, parser.SubPattern):
        return [argument]
    if isinstance(argument, tuple | list):
        return [part for each in argument for part in _parts(each)]
    return []


def _too_slow(text: str, why: str, fix: str) -> InvalidInput:
    return InvalidInput(
        f"the pattern {text!r} {why}", meaning="On some lines it would keep the machine busy for very long.", fix=fix
    )
