"""`gaia doctor`: what is not as it should be, what that means, and the command that mends it."""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

from gaia_site.cli import pictures
from gaia_site.cli.health import finding_lines

_SHOW_AFTER_S = 0.5


def doctor(arguments: Namespace) -> int:
    """Look at everything. Returns: 0 when nothing has failed, 1 when something has."""
    early = _before_django()
    _load()
    from gaia_site.doctor.checks import Depth
    from gaia_site.doctor.examination import examine

    depth = _depth(arguments, Depth)
    report = examine(depth, tell=_progress())
    if depth != Depth.PORTS:
        _add(report, early)
    print(json.dumps(report) if arguments.json else "\n".join(lines(report)), flush=True)
    return 1 if report["verdict"] == "failed" else 0


def _depth(arguments: Namespace, depths: Any) -> Any:
    for name in ("ports", "verify", "comprehensive", "production_ready"):
        if getattr(arguments, name):
            return depths(name.replace("_", "-"))
    return depths.USUAL


def _before_django() -> list[dict[str, Any]]:
    """What loading Django would mend by itself: the home is closed to others whenever it is used."""
    from gaia_site.doctor.home import check_home

    return [each.as_dict() for each in check_home() if each.fault in {"open", "barred"}]


def _load() -> None:
    """Django, whatever is wrong: mistakes in the settings and a database that does not answer are findings here.

    Raises: Unavailable when the home cannot be used, because then nothing can be looked at.
    """
    from common.errors import InvalidInput
    from gaia_site.cli import ground

    try:
        ground.load()
    except InvalidInput:  # mistakes in the settings: their defaults are in force
        ground.load_django()
    from events.actor import act_as, os_user_actor

    act_as(os_user_actor())


def _add(report: dict[str, Any], early: list[dict[str, Any]]) -> None:
    known = {each["key"] for each in report["findings"]}
    new = [each for each in early if each["key"] not in known]
    if new:
        report["findings"] = [*new, *report["findings"]]
        report["counts"]["failed"] += len(new)
        report["verdict"], report["word"] = "failed", "Unhealthy"


def _progress() -> Callable[[int, int, str], None]:
    """A line on a terminal's standard error, when it takes longer than a moment."""
    begun, shown = time.monotonic(), sys.stderr.isatty()

    def tell(done: int, total: int, name: str) -> None:
        if shown and time.monotonic() - begun > _SHOW_AFTER_S:
            sys.stderr.write("\r\x1b[K" if done + 1 == total else f"\r\x1b[KLooking at {name} ({done} of {total}) …")
            sys.stderr.flush()

    return tell


def lines(report: dict[str, Any]) -> Iterator[str]:
    """The picture: what was found, worst first, then what is well, the verdict last."""
    for each in report["findings"]:
        yield from finding_lines(each, indent="")
        yield ""
    for each in report["notes"]:
        text = each["what"] + (f". {each['meaning']}" if each["meaning"] else "")
        yield from pictures.wrapped("· ", text)
    if report["findings"]:
        yield f"{pictures.icon('ok')} {len(report['well'])} checks found nothing."
    else:
        for text in report["well"]:
            yield f"{pictures.icon('ok')} {text}"
    yield ""
    yield f"{pictures.icon(report['verdict'])} {_verdict(report)}"


def _verdict(report: dict[str, Any]) -> str:
    names = {"failed": ("failure", "failures"), "warning": ("warning", "warnings"), "unknown": ("unknown", "unknown")}
    parts = [
        f"{count} {names[name][0] if count == 1 else names[name][1]}"
        for name, count in report["counts"].items()
        if count
    ]
    return f"{', '.join(reversed(parts))}. Each fix can be pasted as it is." if parts else "All is well."
