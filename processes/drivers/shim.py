"""Where the exit shim is: the one sh file under which every process of GAIA runs."""

from __future__ import annotations

from functools import cache
from pathlib import Path

TOKEN_VARIABLE = "GAIA_ATTEMPT_TOKEN"  # noqa: S105  (the name of a variable, not a secret)


@cache
def shim_path() -> Path:
    """The absolute path of `gaia-shim.sh`, which is also what gets copied into checkouts."""
    return Path(__file__).resolve().with_name("gaia-shim.sh")
