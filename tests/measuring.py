"""How much of the code the tests run, in lines and branches: `python -m tests.measuring DIRECTORY` reports it.

Slipcover puts probes into the code of our packages when they are imported, and takes out those that were hit, so that
measured tests take no longer. Only test processes count. What they start (command lines, daemons, consoles) does
not, so the figure is a lower bound.

Each test process writes a file into the directory that $COVERAGE_FILES names; without it nothing is measured.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from slipcover import FileMatcher, ImportManager, Slipcover, merge_coverage, print_coverage

PACKAGES = (
    "common", "events", "policy", "processes", "projects", "services", "environments", "sessions", "gaia_site",
)  # fmt: skip
FLOOR = 85.0
"""Percent of lines and branches."""

_ROOT = Path(__file__).resolve().parent.parent
_SOURCES = [str(_ROOT / package) for package in PACKAGES]
_OMITTED = ["*/migrations/*"]
_DIRECTORY = os.environ.get("COVERAGE_FILES")
_measured: Slipcover | None = None


def begin() -> None:
    """Measure what is imported from now on."""
    global _measured
    if _DIRECTORY:
        _measured = Slipcover(branch=True)
        ImportManager(_measured, FileMatcher(sources=_SOURCES, omit=_OMITTED)).__enter__()


def write() -> None:
    """Leave what was measured in this process."""
    if _measured is not None and _DIRECTORY:
        (Path(_DIRECTORY) / f"{os.getpid()}.json").write_text(json.dumps(_measured.get_coverage()))


def report(directory: Path) -> float:
    """Print what no test ran. Returns: the percentage that was run."""
    found = Slipcover(branch=True, source=_SOURCES, omit=_OMITTED).get_coverage()
    for file in sorted(directory.glob("*.json")):
        merge_coverage(found, json.loads(file.read_text()))
    print_coverage(found, skip_covered=True, missing_width=60)
    return float(found["summary"]["percent_covered"])


if __name__ == "__main__":
    percent = report(Path(sys.argv[1]))
    print(f"Coverage {percent:.1f} %, at least {FLOOR:.0f} % is asked for")
    sys.exit(percent < FLOOR)
