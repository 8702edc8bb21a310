"""`gaia` alone, and `gaia --version`."""

from __future__ import annotations

import platform
import tomllib
from pathlib import Path

SHORT = """\
GAIA runs fleets of coding agents on real repositories.

  start         gaia up --demo          a sample project, to look around
                gaia up PATH-OR-URL     your repository, five times, and a fleet
                gaia down               stop it; sessions go on
  look          gaia status             is it up, is anything wrong
                gaia --group-status     sessions by group
                gaia --multi-env-status directories, stages, totals
                gaia watch              all of it, live
  environments  gaia env list           also setup, launch, stop, clean, restore
  sessions      gaia attach NAME        your terminal on it
                gaia session list       also start, stop, create, send, capture
  services      gaia service list       also register, start, stop, logs
  more          gaia --help             every verb; gaia VERB --help says more"""


def version() -> str:
    """The version, as pyproject.toml has it, with the Python that runs it."""
    path = Path(__file__).resolve().parents[2] / "pyproject.toml"
    number = tomllib.loads(path.read_text(encoding="utf-8"))["project"]["version"]
    return f"gaia {number} (Python {platform.python_version()})"
