"""What an agent in a session does, from several pieces of evidence, each with its rank. Pure: the clock is handed in.

From the strongest: the pane's program has ended or a shell has its place; what the agent itself said (a hook, a
protocol), until its window has moved on; the rules of its provider about title and screen. How long its window has been
quiet decides nothing, but proves that nothing moves. A verdict says what it rests on. None of it is certain enough to
end anything by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from common.text import plain
from sessions.providers import Provider
from sessions.providers.screen import ScreenRules
from sessions.screens import Screen, first_rule, read_screen

State = Literal["working", "waiting", "idle", "dialog", "exited", "unknown", "detecting"]
Source = Literal["process", "protocol", "title", "screen", "none"]

SOURCES: tuple[str, ...] = get_args(Source)
SETTLE_S = 1.5  # what is to be believed of a screen that only rests must have rested for so long
_DEAD = "pane-dead"
_AFTERMATH_S = 2.0  # how long what an agent does may still be drawn after it was told; tmux counts whole seconds
_MOST_TITLE = 300  # characters
_MOST_SEEN = 200


@dataclass(frozen=True, slots=True)
class Told:
    """What the agent itself said that it does, and when, in seconds since the epoch; `by` names the hook or message."""

    state: State
    at: float
    by: str


@dataclass(frozen=True, slots=True)
class Look:
    """One session at one moment.

    Args:
        text: its screen as captured; escape sequences, CR and blanks may be in it.
        title: its pane's title.
        dead: whether its program has ended.
        runs: `agent`, `shell`, `other` as `programs.judge` finds; empty when nobody looked.
        command: what has the foreground, as tmux names it.
        activity: when its window last moved, in seconds since the epoch.
        told: the last thing its agent said.
    """

    text: str = ""
    title: str = ""
    dead: bool = False
    runs: str = ""
    command: str = ""
    activity: float | None = None
    told: Told | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an agent does, what that rests on, and since when, in seconds of the caller's clock.

    `rule` names the rule of the provider's file, of `version`, or the fact; `seen` is the line it found.
    """

    state: State
    source: Source = "none"
    rule: str = ""
    version: int | None = None
    seen: str = ""
    since: float = 0.0

    def age(self, now: float) -> float:
        """Seconds it has held; never negative."""
        return max(0.0, now - self.since)


def rules_for(provider: Provider | None, providers: Mapping[str, Provider]) -> tuple[ScreenRules, ...]:
    """A provider's rules, then those that it says are like them; none for one whose screen says nothing."""
    found: list[ScreenRules] = []
    while provider is not None and provider.screen is not None and provider.screen not in found:
        found.append(provider.screen)
        provider = providers.get(provider.screen.like)
    return tuple(found)


def classify(rules: Sequence[ScreenRules], look: Look) -> Verdict:
    """The verdict of one look alone, without the time that it must have held."""
    return _judge(rules, look)[0]


def _judge(rules: Sequence[ScreenRules], look: Look) -> tuple[Verdict, tuple[str, ...]]:
    """With the part of the screen that would move if the agent did."""
    fact = _of_process(look, bool(rules))
    if fact is not None:
        return fact, ()
    told = look.told
    if told is not None and look.activity is not None and look.activity <= told.at + _AFTERMATH_S:
        return Verdict(told.state, "protocol", told.by), ()
    lines, title = read_screen(look.text), plain(look.title[:_MOST_TITLE]).replace("\n", " ").strip()
    for each in rules:
        rule, seen, screen = first_rule(each, lines, title)
        if rule is not None:
            source: Source = "title" if rule.where == "title" else "screen"
            return Verdict(rule.state, source, rule.name, each.version, seen[:_MOST_SEEN]), screen.still_part
    return Verdict("unknown", version=rules[0].version if rules else None), Screen(lines, None).still_part


def _of_process(look: Look, has_rules: bool) -> Verdict | None:
    if look.dead:
        return Verdict("exited", "process", _DEAD)
    if look.runs == "shell":
        # where a shell is all that should run, it waits for whoever types
        return Verdict("exited" if has_rules else "idle", "process", "shell", seen=look.command)
    if look.runs == "other" and not has_rules:
        return Verdict("working", "process", "program", seen=look.command)
    return None


def at_a_glance(rules: Sequence[ScreenRules], look: Look, now: float) -> Verdict:
    """The verdict of one look, by which an agent rests only if its window has been quiet for `SETTLE_S`.

    Args:
        now: seconds since the epoch.

    Returns: the verdict; what rests does so since the window's last movement.
    """
    verdict = classify(rules, look)
    moved = now if look.activity is None else min(look.activity, now)
    if _must_rest(verdict) and look.activity is not None and now - moved < SETTLE_S:
        verdict = replace(verdict, state="detecting")
    return replace(verdict, since=moved)


def shown(verdict: Verdict) -> dict[str, Any]:
    """A verdict as JSON-ready data."""
    return {
        "state": verdict.state,
        "source": verdict.source,
        "rule": verdict.rule,
        "version": verdict.version,
        "seen": verdict.seen,
    }


class Detector:
    """What one session's agent does over time.

    What happens is believed at once; that nothing happens only when the screen above the composer has not changed for
    `SETTLE_S`: below it a clock may run, in it a person may type. Until then the agent is `detecting`.
    """

    __slots__ = ("_look", "_moved", "_raw", "_rules", "_still", "verdict")

    def __init__(self) -> None:
        self.verdict: Verdict | None = None
        self._look: Look | None = None
        self._rules: Sequence[ScreenRules] = ()
        self._raw = Verdict("unknown")
        self._still: tuple[str, ...] | None = None
        self._moved = 0.0

    def feed(self, look: Look, rules: Sequence[ScreenRules], now: float) -> Verdict:
        """Judge one look more.

        The same look again costs next to nothing, so a caller that knows that a window has not moved hands in the last.

        Args:
            look: the session as it is now.
            rules: of its provider, from `rules_for`; another object when they have changed.
            now: seconds of any clock that does not go back.

        Returns: the verdict in force.
        """
        if look != self._look or rules is not self._rules:
            raw, still = _judge(rules, look)
            if raw.state != self._raw.state or still != self._still:
                self._moved = now
            self._look, self._rules, self._raw, self._still = look, rules, raw, still
        self.verdict = self._in_force(now)
        return self.verdict

    def _in_force(self, now: float) -> Verdict:
        raw, before = self._raw, self.verdict
        rests = _must_rest(raw)
        state = "detecting" if rests and now - self._moved < SETTLE_S else raw.state
        if before is not None and before.state == state:
            return replace(raw, state=state, since=before.since)
        return replace(raw, state=state, since=self._moved if rests else now)


def _must_rest(verdict: Verdict) -> bool:
    """Whether a moment does not prove it: a screen may be half drawn, a shell about to become the agent."""
    proven = verdict.source == "protocol" or (verdict.source, verdict.rule) == ("process", _DEAD)
    return not proven and verdict.state in ("idle", "unknown", "exited")
