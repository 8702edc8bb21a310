"""How much of the code the tests run, in lines and branches: `python -m tests.measuring DIRECTORY` reports it.

Slipcover puts probes into the code of our packages when they are imported, and takes out those that were hit, so that
measured tests take no longer. Whole packages are measured in test processes; in the command lines that tests start, of
which there are a thousand, only what nothing else runs (`STARTED`), and only the first start of each verb: the others
are forks of a process that has imported GAIA (`tests.warm`). So the figure is a lower bound.

Each test process writes a file into the directory that $COVERAGE_FILES names; without it nothing is measured.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from slipcover import FileMatcher, ImportManager, Slipcover, merge_coverage, print_coverage

PACKAGES = (
    "common", "events", "policy", "processes", "projects", "services", "environments", "sessions", "gaia_site",
)  # fmt: skip
VARIABLE = "COVERAGE_FILES"
STARTED = ("gaia_site/cli", "gaia_site/management")
FLOOR = 85.0
"""Percent of lines and branches."""

_ROOT = Path(__file__).resolve().parent.parent
_OMITTED = ["*/migrations/*"]
_measured: Slipcover | None = None


def _paths(packages: Sequence[str]) -> list[str]:
    return [str(_ROOT / package) for package in packages]


def begin(packages: Sequence[str] = PACKAGES) -> None:
    """Measure what is imported of these from now on."""
    global _measured
    if os.environ.get(VARIABLE):
        _measured = Slipcover(branch=True)
        ImportManager(_measured, FileMatcher(sources=_paths(packages), omit=_OMITTED)).__enter__()


def counts(words: Sequence[str | Path]) -> bool:
    """Whether a program that is about to be started is to be measured: the first start of each verb in all processes.

    Args:
        words: its command line.
    """
    directory = os.environ.get(VARIABLE)
    if not directory:
        return False
    verb = sha256("\0".join(map(str, words[:4])).encode()).hexdigest()
    try:
        Path(directory, f"{verb}.started").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def write() -> None:
    """Leave what was measured in this process."""
    if _measured is not None and (found := _measured.get_coverage())["files"]:
        Path(os.environ[VARIABLE], f"{uuid4()}.json").write_text(json.dumps(found))


def report(directory: Path) -> float:
    """Print what no test ran. Returns: the percentage that was run."""
    found = Slipcover(branch=True, source=_paths(PACKAGES), omit=_OMITTED).get_coverage()
    for file in sorted(directory.glob("*.json")):
        merge_coverage(found, json.loads(file.read_text()))
    print_coverage(found, skip_covered=True, missing_width=60)
    return float(found["summary"]["percent_covered"])


if __name__ == "__main__":
    percent = report(Path(sys.argv[1]))
    print(f"Coverage {percent:.1f} %, at least {FLOOR:.0f} % is asked for")
    sys.exit(percent < FLOOR)
