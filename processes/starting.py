"""What a row says is to be started, as the driver wants it."""

from __future__ import annotations

import os
from pathlib import Path

from processes.drivers import cgroup
from processes.drivers.account import account
from processes.drivers.spawn import Spec
from processes.limits import Limits
from processes.models import Process
from processes.states import EnvironmentBase

_LOGIN_VARIABLES = ("HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "TZ", "TMPDIR", "TERM", "SSH_AUTH_SOCK")


def spec_of(process: Process) -> Spec:
    """How to start it; its cgroup is made. Raises: what `account` raises."""
    limits = Limits.parse(process.limits)
    return Spec(
        argv=tuple(process.argv),
        cwd=Path(process.cwd),
        env=environment_of(process),
        log=Path(process.log),
        lock=Path(process.lock),
        journal=Path(process.journal),
        token=process.token,
        user=process.user,
        open_files=limits.open_files,
        cgroup=cgroup.made_for(process.token, limits),
    )


def environment_of(process: Process) -> dict[str, str]:
    """The complete environment a process starts with."""
    if process.env_base == EnvironmentBase.GAIA:
        base = dict(os.environ)
    else:
        base = {name: value for name, value in os.environ.items() if name in _LOGIN_VARIABLES or name.startswith("LC_")}
    if process.user:
        base |= account(process.user).env
    return base | {str(name): str(value) for name, value in process.env.items()}
