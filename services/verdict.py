"""What the probes of a service say together. Probing makes it, the supervisor acts on it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Health:
    """The verdict on one start of a service (a `processes.Process`).

    None means that it was not asked yet, as after a restart of the daemon: then everything stays as it is.

    Args:
        startup: all start-up probes have passed once; True when there are none.
        ready: all readiness probes pass; True when there are none. Never True before `startup` is.
        live: False once a liveness probe has failed so often in a row that the service is to be restarted.
        probe: name of the probe that says no.
        answer: what that one got.
    """

    startup: bool | None = None
    ready: bool | None = None
    live: bool | None = None
    probe: str = ""
    answer: str = ""


UNKNOWN = Health()
NO_PROBES = Health(startup=True, ready=True, live=True)
