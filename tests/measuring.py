"""Which of the processes that tests start count for coverage: command lines and installations.

A start that is measured takes a tenth of a second longer, and what other processes run is run by tests, too.
"""

from __future__ import annotations

import os

ENVIRON: dict[str, str] = {}
"""Variables that make a Python process measure itself; empty when nothing is measured."""


def take() -> None:
    """Keep coverage's variables from those who inherit this process's environment."""
    for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
        ENVIRON[name] = os.environ.pop(name)
