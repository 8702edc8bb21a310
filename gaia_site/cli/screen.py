"""The whole picture on one screen, for `gaia watch`: a row per environment, a few lines per group."""

from __future__ import annotations

import time
from typing import Any

from gaia_site.cli.pictures import FOREIGN, SHIELD, icon, is_foreign, moved, totals

_STAGES = ("dev", "qa", "staging")


def draw(status: dict[str, Any], *, width: int, height: int) -> list[str]:
    """Lines that fit the terminal; when there are more, the last one says so.

    Args:
        status: as `/api/multi-env/status` gives it.
        width: columns. height: rows.
    """
    lines = [f"GAIA  {time.strftime('%H:%M:%S')}  {totals(status['totals'])}  (Ctrl-C ends)", ""]
    lines += _environments(status)
    for group in status["groups"]:
        if group["sessions"] or group["expected"]:
            count = max(group["expected"], len(group["sessions"]) - group["foreign"])
            lines += ["", f"{group['label']}  {group['running']}/{count} running"]
            lines += _columns([_session(one) for one in group["sessions"]], width)
    if len(lines) > height:
        hidden = len(lines) - height + 1
        lines = [*lines[: height - 1], f"… {hidden} more lines: make the window higher"]
    return [_cut(line, width) for line in lines]


def _environments(status: dict[str, Any]) -> list[str]:
    stages: dict[str, dict[str, Any]] = {}
    for stage in status["environments"]:
        stages.setdefault(stage["environment"], {})[stage["name"]] = stage
    lines = [f"  {'Environment':<20} {'Branch':<18} {'Moved':<7} {'Files':<6} dev     qa      staging"]
    for each in status["directories"]:
        git = each["git"] or {"error": "", "branch": "", "ahead": 0, "behind": 0, "dirty": 0}
        dirty = f"✎{git['dirty']}" if git["dirty"] else ""
        facts = "git does not answer" if git["error"] else git["branch"]
        cells = [stages.get(each["directory"], {}).get(name) for name in _STAGES]
        shown = " ".join(f"{icon(stage['state'])} {stage['port']:<5}" if stage else "       " for stage in cells)
        lines.append(f"{icon(each['state'])} {each['directory']:<20} {facts:<18} {moved(git):<7} {dirty:<6} {shown}")
    return lines if status["directories"] else ["  No environments. Make some: gaia env setup"]


def _session(one: dict[str, Any]) -> tuple[str, int]:
    """Its text, and how many columns that takes: colours take none."""
    mark = FOREIGN if is_foreign(one) else SHIELD if one["protected"] else ""
    name = f"{one['name']} {mark}".rstrip()
    return f"{icon(one['state'])} {name}", len(name) + 2


def _columns(cells: list[tuple[str, int]], width: int) -> list[str]:
    """Cells side by side, as many as fit."""
    if not cells:
        return []
    broad = max(length for _, length in cells) + 2
    many = max(1, (width - 2) // broad)
    rows = [cells[start : start + many] for start in range(0, len(cells), many)]
    return ["  " + "".join(text + " " * (broad - length) for text, length in row).rstrip() for row in rows]


def _cut(line: str, width: int) -> str:
    """The line without what does not fit; colour codes take no room."""
    shown, inside, taken = [], False, 0
    for sign in line:
        inside = inside or sign == "\x1b"
        if not inside:
            taken += 1
            if taken > width:
                break
        shown.append(sign)
        inside = inside and sign != "m"
    return "".join(shown)
