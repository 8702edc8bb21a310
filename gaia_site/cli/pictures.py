"""Plain-text pictures that fit 80 columns; icons and words as in the console. Standard library only."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

ICONS = {
    "running": "●", "starting": "◌", "stopping": "◌", "stopped": "○", "failed": "✗", "exited": "✗", "gone": "✗",
    "ready": "✓", "creating": "◌", "damaged": "✗", "removing": "◌", "succeeded": "✓", "queued": "◌", "cancelled": "○",
}  # fmt: skip
_COLOURS = {"●": "32", "✓": "32", "✗": "31", "◌": "33", "○": "90"}
_STAGES = ("dev", "qa", "staging")


def colour() -> bool:
    """Whether to colour: on a terminal, unless NO_COLOR is set."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


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


def group_status(groups: list[dict[str, Any]]) -> str:
    """Sessions by group. Every session line, and no other line, carries its group's full name."""
    lines: list[str] = []
    for group in groups:
        for session in group["sessions"]:
            lines.append(session_line(session, group["label"]))
    total = sum(len(group["sessions"]) for group in groups)
    running = sum(group["running"] for group in groups)
    if not lines:
        return "No sessions. Start the fleet: gaia session start"
    shells = sum(session["runs"] == "shell" and session["provider"] != "system" for group in groups for session in group["sessions"])
    counts = "  ".join(f"{group['short']} {len(group['sessions'])}" for group in groups if group["sessions"])
    lines += ["", f"{total} sessions, {running} running: {counts}"]
    if shells:
        lines.append(f"{shells} run a shell because their agent's CLI is not installed (gaia session list says which)")
    return "\n".join(lines)


def session_line(session: dict[str, Any], label: str) -> str:
    """One session: icon, state, name, provider, what runs, shield, age, group."""
    shield = "⛨" if session["protected"] else " "
    runs = "shell" if session["runs"] == "shell" else session["command"] or "agent"
    return (
        f"{icon(session['state'])} {session['state']:<8} {session['name']:<17} {shield} {session['provider']:<7} "
        f"{runs[:10]:<10} {age(session['age_s']):>4}  {label}"
    )


def multi_env_status(status: dict[str, Any]) -> str:
    """Directories with git state, stages with port, state and pid, PR groups, totals."""
    lines = ["Directories"]
    lines += [directory_line(each) for each in status["directories"]] or ["  none; make some: gaia env setup"]
    lines += ["", "Stages"]
    lines += [stage_line(each) for each in status["environments"]] or ["  none"]
    lines += ["", "PR groups"]
    for group in status["pr_groups"]:
        members = ", ".join(f"{one['name']} ({one['provider']})" for one in group["sessions"]) or "none running"
        lines.append(f"  {group['short']:<5}{len(group['sessions'])}/{group['expected']}  {members}")
    totals = status["totals"]
    lines += ["", f"Totals: {totals['environments']} environments, {totals['stages']} stages, {totals['sessions']} sessions"]
    return "\n".join(lines)


def directory_line(each: dict[str, Any]) -> str:
    """One environment: state, name, branch, ahead and behind, changed files."""
    git = each["git"] or {}
    if git.get("error"):
        facts = f"git: {git['error']}"
    elif git:
        branch = "detached" if git["detached"] else git["branch"]
        moved = " ".join(part for part in (f"↑{git['ahead']}" if git["ahead"] else "", f"↓{git['behind']}" if git["behind"] else "") if part)
        dirty = f"✎{git['dirty']}" if git["dirty"] else "clean"
        facts = f"{branch:<24} {moved:<9} {dirty}" + (f"  {git['in_progress']} in progress" if git["in_progress"] else "")
    else:
        facts = "git not asked yet"
    return f"  {icon(each['state'])} {each['directory']:<24} {facts}" + (f"  {each['problem']}" if each["problem"] else "")


def stage_line(stage: dict[str, Any]) -> str:
    """One stage: state, name, port, pid."""
    pid = f"pid {stage['pid']}" if stage["pid"] else ""
    tail = pid or stage["problem"]
    return f"  {icon(stage['state'])} {stage['environment'] + ' ' + stage['name']:<32} {stage['port']:<6} {stage['state']:<9} {tail}".rstrip()


PICTURES: dict[str, Callable[[Any], str]] = {"group-status": group_status, "multi-env-status": multi_env_status}
