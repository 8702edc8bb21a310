"""Plain-text pictures that fit 80 columns; icons and words as in the console. Standard library only."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

WIDTH = 80
ICONS = {
    "running": "●", "starting": "◌", "stopping": "◌", "stopped": "○", "failed": "✗", "exited": "✗", "gone": "✗",
    "ready": "✓", "creating": "◌", "damaged": "✗", "removing": "◌", "succeeded": "✓", "queued": "◌", "cancelled": "○",
    "ok": "✓", "warning": "▲", "unknown": "◌",
    "held": "◌", "unready": "▲", "backoff": "▲", "crash_loop": "✗", "completed": "✓",
}  # fmt: skip
SHIELD = "⛨"
FOREIGN = "◇"  # not GAIA's
_COLOURS = {"●": "32", "✓": "32", "✗": "31", "◌": "33", "○": "90", "▲": "33"}


def colour() -> bool:
    """Whether to colour: on a terminal, unless NO_COLOR is set to something (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def icon(state: str) -> str:
    """A state's icon, coloured on a terminal."""
    sign = ICONS.get(state, "?")
    return f"\x1b[{_COLOURS[sign]}m{sign}\x1b[0m" if colour() and sign in _COLOURS else sign


def age(seconds: int) -> str:
    """A duration in at most four characters: 8s, 12m, 3h, 4d."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{max(0, seconds)}s"


def wrapped(lead: str, text: str, *, indent: int | None = None) -> list[str]:
    """Text after a lead, its further lines below the first one's beginning; a word that is too long stays whole."""
    if not text:
        return [lead.rstrip()]
    below = " " * (len(lead) if indent is None else indent)
    lines, line = [], lead
    for word in text.split():
        start = line in (lead, below)
        if not start and len(line) + 1 + len(word) > WIDTH:
            lines.append(line)
            line, start = below, True
        line += word if start else f" {word}"
    return [*lines, line]


def group_status(groups: list[dict[str, Any]]) -> str:
    """Sessions by group. Every session line, and no other line, carries its group's full name."""
    lines = [session_line(session, group["label"]) for group in groups for session in group["sessions"]]
    sessions = [session for group in groups for session in group["sessions"]]
    if not sessions:
        return "No sessions. Start the fleet: gaia session start"
    managed = [session for session in sessions if not is_foreign(session)]
    counted = [(group["short"], len(group["sessions"]) - group["foreign"]) for group in groups]
    counts = ", ".join(f"{short} {count}" for short, count in counted if count)
    running = sum(session["state"] == "running" for session in managed)
    lines += ["", *wrapped(f"{len(managed)} sessions, {running} running: ", counts)]
    lines += _besides(sessions, managed)
    missing = [name for group in groups for name in group["missing"]]
    if missing:
        lines += wrapped("Not running (gaia session start): ", ", ".join(missing), indent=2)
    return "\n".join(lines)


def _besides(sessions: list[dict[str, Any]], managed: list[dict[str, Any]]) -> list[str]:
    """What else there is to say of them."""
    lines = []
    if others := len(sessions) - len(managed):
        lines += wrapped("", f"{others} not GAIA's, marked {FOREIGN}: it only looks at them (gaia session adopt NAME)")
    shells = sum(wants_agent(session) for session in managed)
    if shells:
        lines += wrapped("", f"{shells} run a shell, for want of their agent's CLI (gaia session list says which)")
    astray = sum(bool(session["reason"]) for session in sessions) - shells
    if astray:
        lines += wrapped("", f"{astray} do not run what they should (gaia session list says why)")
    return lines


def is_foreign(session: dict[str, Any]) -> bool:
    """Whether GAIA only looks at it."""
    return bool(session["origin"] == "foreign")


def wants_agent(session: dict[str, Any]) -> bool:
    """Whether GAIA started a shell there for want of an agent."""
    return bool(session["runs"] == "shell" and "is not installed" in session["reason"])


def session_line(session: dict[str, Any], tail: str) -> str:
    """One session: icon, state, name, a shield or that it is not GAIA's, provider, what runs, age, group or place."""
    mark = FOREIGN if is_foreign(session) else SHIELD if session["protected"] else " "
    runs = "shell" if session["runs"] == "shell" else session["program"] or session["command"] or "agent"
    return (
        f"{icon(session['state'])} {session['state']:<8} {session['name']:<17} {mark} {session['provider']:<7} "
        f"{runs[:10]:<10} {age(session['age_s']):>4}  {tail}"
    )


def session_list(sessions: list[dict[str, Any]]) -> str:
    """Sessions with their places, and below them why some are not as they should be."""
    if not sessions:
        return "No sessions. Start the fleet: gaia session start"
    lines = [session_line(session, session["environment"] or "-") for session in sessions]
    notes: dict[str, list[str]] = {}
    for session in sessions:
        renamed = f"called {session['tmux_name']} in tmux" if session["tmux_name"] != session["name"] else ""
        for note in (session["reason"], session["problem"], renamed, _whose(session)):
            if note:
                notes.setdefault(note, []).append(session["name"])
    if notes:
        lines.append("")
    for note, names in notes.items():
        lines += wrapped("", f"{note}: {', '.join(names)}", indent=2)
    return "\n".join(lines)


def _whose(session: dict[str, Any]) -> str:
    """Of a session that GAIA did not start: where it is, and what that means."""
    if session["origin"] == "gaia":
        return ""
    if is_foreign(session):
        return f"{FOREIGN} not GAIA's, on {session['socket']} (gaia session adopt NAME)"
    return f"adopted, on {session['socket']} (gaia session release NAME lets it go)"


def multi_env_status(status: dict[str, Any]) -> str:
    """Directories with git state, stages with port, state and pid, PR groups, totals."""
    lines = ["Directories"]
    lines += _lines(directory_lines, status["directories"]) or ["  none; make some: gaia env setup"]
    lines += ["", "Stages"]
    lines += _lines(stage_lines, status["environments"]) or ["  none"]
    lines += ["", "PR groups"]
    for group in status["pr_groups"]:
        members = ", ".join(map(_member, group["sessions"])) or "none running"
        count = len(group["sessions"]) - group["foreign"]
        lines += wrapped(f"  {group['short']:<5}{count}/{group['expected']}  ", members)
    return "\n".join([*lines, "", f"Totals: {totals(status['totals'])}"])


def _member(session: dict[str, Any]) -> str:
    whose = f", {FOREIGN}" if is_foreign(session) else ""
    return f"{session['name']} ({session['provider']}{whose})"


def totals(counted: dict[str, int]) -> str:
    """How much there is of everything."""
    kinds = ("environments", "stages", "sessions")
    return ", ".join(f"{counted[kind]} {kind if counted[kind] != 1 else kind[:-1]}" for kind in kinds)


def directory_lines(each: dict[str, Any]) -> list[str]:
    """One environment: state, name, branch, ahead and behind, changed files; below it what is wrong."""
    lines = [f"  {icon(each['state'])} {each['directory']:<24} {git_facts(each['git'])}".rstrip()]
    problem = each["problem"] or (each["git"] or {}).get("error", "")
    return lines + (wrapped("    ", problem) if problem else [])


def git_facts(git: dict[str, Any] | None) -> str:
    """Branch, commits ahead and behind, changed files."""
    if git is None:
        return "git was not asked yet"
    if git["error"]:
        return "git does not answer"
    branch = "detached" if git["detached"] else git["branch"]
    dirty = f"✎{git['dirty']}" if git["dirty"] else "clean"
    doing = f"  {git['in_progress']} in progress" if git["in_progress"] else ""
    return f"{branch:<24} {moved(git):<9} {dirty}{doing}"


def moved(git: dict[str, Any]) -> str:
    """Commits ahead and behind: `↑2 ↓1`."""
    parts = (f"↑{git['ahead']}" if git["ahead"] else "", f"↓{git['behind']}" if git["behind"] else "")
    return " ".join(part for part in parts if part)


def stage_lines(stage: dict[str, Any]) -> list[str]:
    """One stage: state, name, port, pid; below it what is wrong."""
    pid = f"pid {stage['pid']}" if stage["pid"] else ""
    name = f"{stage['environment']} {stage['name']}"
    line = f"  {icon(stage['state'])} {name:<32} {stage['port']:<6} {stage['state']:<9} {pid}".rstrip()
    return [line, *(wrapped("    ", stage["problem"]) if stage["problem"] and not pid else [])]


def _lines(draw: Callable[[dict[str, Any]], list[str]], rows: Iterable[dict[str, Any]]) -> list[str]:
    return [line for row in rows for line in draw(row)]


PICTURES: dict[str, Callable[[Any], str]] = {"group-status": group_status, "multi-env-status": multi_env_status}
