"""Running a command as another account of this machine, where GAIA is root: setpriv(1) of util-linux does it.

The shim stays root, so that it can note the end; setpriv takes the place of the command, changes user and groups, and
then runs it in the same process.
"""

from __future__ import annotations

import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path

from common.errors import InvalidInput, Refused, Unavailable


@dataclass(frozen=True)
class Account:
    """Whom to run as.

    Args:
        prefix: goes before the command; empty when it runs as ourselves.
        uid: owner of what it writes.
        env: what a login as that account has.
    """

    prefix: tuple[str, ...]
    uid: int
    env: dict[str, str]


def account(name: str) -> Account:
    """How to run a command as that account.

    Raises: InvalidInput when there is no such account, Refused when we are not root and it is not ourselves,
        Unavailable when setpriv is missing.
    """
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        raise InvalidInput(
            f"there is no account {name!r} on this machine", fix="Make it (adduser), or name another.", user=name
        ) from None
    env = {"HOME": entry.pw_dir, "USER": name, "LOGNAME": name, "SHELL": entry.pw_shell or "/bin/sh"}
    if entry.pw_uid == os.geteuid():
        return Account((), entry.pw_uid, env)
    if os.geteuid() != 0:
        raise Refused(
            f"GAIA runs as {_own_name()} and cannot run anything as {name}",
            meaning="Only root may change accounts.",
            fix=f"Run GAIA as root, or as {name}, or leave the account out.",
            user=name,
        )
    prefix = (_setpriv(), f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--init-groups", "--")
    return Account(prefix, entry.pw_uid, env)


def _setpriv() -> str:
    found = shutil.which("setpriv") or next((path for path in _PLACES if os.access(path, os.X_OK)), None)
    if found is None or Path(found).resolve().name == "busybox":  # which has only a part of it
        raise Unavailable(
            "setpriv is not installed, so nothing can be run as another account",
            fix="Install util-linux (apt install util-linux).",
        )
    return found


_PLACES = ("/usr/bin/setpriv", "/bin/setpriv")


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"
