"""A captured screen, read by its structure: where its composer is, what stands above and below it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from common.text import plain
from sessions.providers.screen import Composer, LineText, ScreenRule, ScreenRules, compiled

_MOST_LINES = 300  # of a capture with scrollback the lowest: more than any screen has
_MOST_COLUMNS = 1000
_MOST_CHARACTERS = 400_000
_FRAME = " │┃║|"


class Screen:
    """The lines of a capture, without escape sequences and trailing blanks, as one provider's composer divides them."""

    def __init__(self, lines: list[str], composer: Composer | None) -> None:
        self.lines = lines
        self._composer = composer

    @cached_property
    def last(self) -> tuple[str, ...]:
        """The lowest line that is not empty, and that line again as what is wrapped from the one above."""
        return (self.lines[-1], _joined(*self.lines[-2:])) if len(self.lines) > 1 else tuple(self.lines)

    @cached_property
    def composer(self) -> tuple[int, int] | None:
        """Index of the composer's first line (its fence included) and of the first line below it; None without one."""
        shape = self._composer
        if shape is None:
            return None
        for index in range(len(self.lines) - 1, -1, -1):
            if _has(self.lines[index], shape.prompt):
                found = self._composer_at(index, shape)
                if found is not None:
                    return found
        return None

    def _composer_at(self, index: int, shape: Composer) -> tuple[int, int] | None:
        first = self._fence_above(index, shape)
        if first is None:
            return None
        below = index + 1
        if shape.end is not None:
            ends = (at for at in range(index + 1, len(self.lines)) if _has(self.lines[at], shape.end))
            end = next(ends, None)
            if end is None:
                return None
            below = end + 1
        if shape.rest is not None and not all(_has(line, shape.rest) for line in self.lines[below:]):
            return None
        return first, below

    def _fence_above(self, index: int, shape: Composer) -> int | None:
        if shape.fence is None:
            while index and shape.over is not None and _has(self.lines[index - 1], shape.over):
                index -= 1
            return index
        near = range(index - 1, max(-1, index - 1 - shape.gap), -1)
        return next((at for at in near if _has(self.lines[at], shape.fence)), None)

    def place(self, rule: ScreenRule) -> list[str]:
        """The lines a rule looks at, empty ones left out."""
        lines = self._around(rule.where, rule.lines)
        if rule.start is not None:
            begins = (at for at in range(len(lines) - 1, -1, -1) if _has(lines[at], rule.start))
            lines = lines[next(begins, 0) :]
        return lines

    def _around(self, where: str, count: int) -> list[str]:
        if where == "bottom":
            return _filled(self.lines)[-count:]
        if self.composer is None:
            return []
        first, below = self.composer
        return _filled(self.lines[below:])[:count] if where == "below" else _filled(self.lines[:first])[-count:]

    @property
    def still_part(self) -> tuple[str, ...]:
        """What does not change while the agent rests: all above the composer."""
        return tuple(self.lines if self.composer is None else self.lines[: self.composer[0]])


def read_screen(text: str) -> list[str]:
    """The lines of a capture: colours, control characters, CR and trailing blanks taken out."""
    lines = text[-_MOST_CHARACTERS:].rstrip().split("\n")[-_MOST_LINES:]
    cleaned = [plain(line[: 4 * _MOST_COLUMNS])[:_MOST_COLUMNS].replace("\u00a0", " ").rstrip() for line in lines]
    while cleaned and not cleaned[-1]:
        cleaned.pop()
    return cleaned


def first_rule(rules: ScreenRules, lines: list[str], title: str) -> tuple[ScreenRule | None, str, Screen]:
    """The first rule that holds, and what it saw; None when none does.

    Args:
        lines: from `read_screen`.
        title: the pane's, without control characters.
    """
    screen = Screen(lines, rules.composer)
    for rule in rules.rules:
        seen = _holds(rule, screen, title)
        if seen is not None:
            return rule, seen, screen
    return None, "", screen


def _holds(rule: ScreenRule, screen: Screen, title: str) -> str | None:
    """What the rule saw if it holds, else None."""
    if rule.composer is not None and rule.composer != (screen.composer is not None):
        return None
    seen = "" if rule.last is None else _first(screen.last, rule.last)
    if seen is None:
        return None
    if rule.pattern or rule.unless:
        lines = [title] if rule.where == "title" else screen.place(rule)
        if rule.wrapped:
            lines = [*lines, *map(_joined, lines, lines[1:]), *map(str.__add__, lines, lines[1:])]
        if any(_first(lines, each) is not None for each in rule.unless):
            return None
        found = [_first(lines, each) for each in rule.pattern]
        if None in found:
            return None
        seen = next((line for line in found if line), seen)
    return seen.strip(_FRAME)


def _joined(upper: str, lower: str) -> str:
    return f"{upper.rstrip(_FRAME)} {lower.lstrip(_FRAME)}"


def _first(lines: Iterable[str], pattern: LineText) -> str | None:
    return next((line for line in lines if _has(line, pattern)), None)


def _has(line: str, pattern: LineText) -> bool:
    return compiled(pattern).pattern.search(line, 0, compiled(pattern).longest) is not None


def _filled(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if line]
