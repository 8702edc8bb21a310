"""The settings in force, with operations that only tests need."""

from gaia_site.settings import *  # noqa: F403  settings modules are extended this way
from gaia_site.settings import GAIA_OPERATIONS as _OPERATIONS

KINDS = {
    f"test.{name}": f"tests.processes.work.{name}"
    for name in ("count", "fail", "break_down", "unreadable", "killed", "interrupted", "wait_for")
}
GAIA_OPERATIONS = {**_OPERATIONS, **KINDS}
