"""`gaia env monitor`: how environments are, looked at now."""

from __future__ import annotations

import json
import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

from gaia_site.cli import pictures

NEEDS_ATTENTION = 8
"""Exit code when nothing worse than warnings was found."""
_CODES = {"ok": 0, "warning": NEEDS_ATTENTION}  # all else is 1: something is not well, or nobody knows
_SHOW_AFTER_S = 1.0
_ENTER = "\x1b[?1049h\x1b[?25l"  # a screen of its own, without the cursor
_LEAVE = "\x1b[?25h\x1b[?1049l"


def monitor(arguments: Namespace) -> int:
    """Look at environments, or at all, and say how they are.

    Returns: 0 when all are healthy, 8 when some need attention, 1 when one is unhealthy or could not be looked at.
    """
    if not arguments.watch:
        return _print(arguments, _look(arguments))
    return _watch(arguments)


def _print(arguments: Namespace, found: dict[str, Any]) -> int:
    print(json.dumps(found) if arguments.json else "\n".join(lines(found)), flush=True)
    return _CODES.get(found["verdict"], 1)


def _look(arguments: Namespace) -> dict[str, Any]:
    from gaia_site.cli.show import look_now

    look_now()
    from environments.actions import health, stages
    from environments.health_overview import describe, overall

    chosen = [stages.find_environment(name, arguments.project) for name in dict.fromkeys(arguments.names)]
    if not chosen:
        chosen = [each for each in health.live() if arguments.project in {None, each.project.name}]
    rows = health.monitor(chosen, tell=_progress())
    described = [describe(row.environment, row) for row in rows]
    busy = sorted({each.directory for each in chosen} - {each["environment"] for each in described})
    return {**overall(described), "environments": described, "not_looked_at": busy}


def _progress() -> Callable[[int, int], None]:
    """A line on a terminal's standard error, when it takes longer than a moment."""
    begun, shown = time.monotonic(), sys.stderr.isatty()

    def tell(done: int, total: int) -> None:
        if shown and time.monotonic() - begun > _SHOW_AFTER_S:
            end = "\r\x1b[K" if done == total else ""
            sys.stderr.write(end or f"\r\x1b[KLooking … {done} of {total} checks done")
            sys.stderr.flush()

    return tell


def lines(found: dict[str, Any]) -> list[str]:
    """The picture: environments, below each what is wrong, what that means and what mends it; the verdict last."""
    drawn = [line for one in found["environments"] for line in _environment(one)]
    drawn += [f"  {name} is being worked on and was not looked at" for name in found["not_looked_at"]]
    sign = f"{pictures.icon(found['verdict'])} {found['word']}: "
    return [*drawn, *([""] if drawn else []), *pictures.wrapped(sign, found["reason"], indent=2)]


def _environment(one: dict[str, Any]) -> Iterator[str]:
    yield f"{pictures.icon(one['verdict'])} {one['environment']:<28} {one['word'].lower()}"
    for each in one["findings"]:
        yield from finding_lines(each)
    for each in one["notes"]:
        yield from _wrapped("    · ", each["what"])


def finding_lines(each: dict[str, Any], *, indent: str = "    ") -> Iterator[str]:
    """What was found, what that means and what mends it."""
    yield from _wrapped(f"{indent}{pictures.icon(each['verdict'])} ", each["what"])
    yield from _wrapped(f"{indent}  ", each["meaning"])
    if each["fix"]:
        yield f"{indent}  {each['fix']}"  # never broken: it is to be copied


def _wrapped(lead: str, text: str) -> list[str]:
    """Its lead may be coloured, which takes no room."""
    if not text:
        return []
    indent = len(lead) - (9 if "\x1b" in lead else 0)
    return pictures.wrapped(lead, text, indent=max(indent, 0))


def _watch(arguments: Namespace) -> int:
    """Look again and again until Ctrl-C; not on a terminal, a picture or a line of data each time."""
    live = sys.stdout.isatty() and not arguments.json
    code = 0
    sys.stdout.write(_ENTER if live else "")
    try:
        while True:
            found = _look(arguments)
            code = _CODES.get(found["verdict"], 1)
            if live:
                _draw(found)
            else:
                _print(arguments, found)
            time.sleep(arguments.interval)
    except KeyboardInterrupt:
        return code
    finally:
        sys.stdout.write(_LEAVE if live else "")
        sys.stdout.flush()


def _draw(found: dict[str, Any]) -> None:
    height = shutil.get_terminal_size().lines
    drawn = [f"GAIA  {time.strftime('%H:%M:%S')}  health  (Ctrl-C ends)", "", *lines(found)]
    if len(drawn) > height:
        drawn = [*drawn[: height - 1], f"… {len(drawn) - height + 1} more lines: make the window higher"]
    sys.stdout.write("\x1b[H" + "\r\n".join(f"{line}\x1b[K" for line in drawn) + "\x1b[J")
    sys.stdout.flush()
