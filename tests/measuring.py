"""What counts for coverage: tests, and the command lines and installations they start, but for those of a list.

A measured start takes a tenth of a second longer, a measured test up to twice its time. `unmeasured.txt` names those
that take long and run what others run, too: the figure is what the others reach, and no less than all of them do. A
line there is a file or one of its functions; a new test is measured until somebody names it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from coverage import Coverage

ENVIRON: dict[str, str] = {}
"""Variables that make a Python process measure itself; empty when nothing is measured."""

_UNMEASURED = frozenset(
    line for line in Path(__file__).with_name("unmeasured.txt").read_text().splitlines() if not line.startswith("#")
)


def take() -> None:
    """Keep coverage's variables from those who inherit this process's environment."""
    for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
        ENVIRON[name] = os.environ.pop(name)


def is_measured(nodeid: str) -> bool:
    """Whether a test counts; its id is as pytest writes it."""
    function = nodeid.removeprefix("tests/").partition("[")[0]
    return _UNMEASURED.isdisjoint((function, function.partition("::")[0]))


@contextmanager
def unmeasured() -> Iterator[None]:
    """What runs in here, and what is started, does not count."""
    running = Coverage.current()
    kept = dict(ENVIRON)
    ENVIRON.clear()
    if running is not None:
        running.stop()
    try:
        yield
    finally:
        if running is not None:
            running.start()
        take()
        ENVIRON.update(kept)
