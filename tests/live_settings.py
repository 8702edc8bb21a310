"""The settings in force, with clocks short enough for tests to wait for."""

from gaia_site.settings import *  # noqa: F403  settings modules are extended this way

GAIA_STREAM_HEARTBEAT_S = 0.2
GAIA_STREAM_RECHECK_S = 0.1
