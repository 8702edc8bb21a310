"""The home: who may read it, room on its disk, the clock, and what was left behind."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from django.conf import settings

from common.home import gaia_home
from environments.findings import Finding, size_told
from gaia_site.doctor.checks import Check, Needs, failed, warning

_MB = 1024 * 1024
_SKEW = timedelta(minutes=1)
_SECRETS = ("run/cli.json", "data/secret_key", "config.toml", "ca/ca-key.pem")


def check_home() -> Iterator[Finding]:
    """It is there, this user's, and closed to others; so are the files in it that hold secrets."""
    root = gaia_home().root
    if not root.exists():
        return  # the first start makes it
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        meaning = "Nothing can be written down, so nothing comes up."
        fix = f"sudo chown -R $(id -u) {_quoted(root)} && chmod -R u+rwX {_quoted(root)}"
        yield failed("home", "barred", f"{root} cannot be read and written", meaning, fix)
        return
    facts = root.stat()
    if facts.st_mode & 0o077:
        what = f"{root} is open to other users (mode {facts.st_mode & 0o777:o})"
        yield failed("home", "open", what, "They can read what agents write, and tokens.", f"chmod 700 {_quoted(root)}")
    for name in _SECRETS:
        yield from _check_secret(root / name)


def _check_secret(file: Path) -> Iterator[Finding]:
    try:
        mode = file.stat().st_mode & 0o777
    except FileNotFoundError:
        return
    if mode & 0o077:
        what = f"{file} can be read by others (mode {mode:o})"
        meaning = "It holds a secret: whoever copied it may act as you."
        yield failed("home", "secret-open", what, meaning, f"chmod 600 {_quoted(file)}", file.name)


def check_disk() -> Iterator[Finding]:
    """There is room on the home's disk, and there are inodes."""
    root = next(parent for parent in (gaia_home().root, *gaia_home().root.parents) if parent.exists())
    free = shutil.disk_usage(root).free
    limits = settings.GAIA["health.disk_warning_mb"] * _MB, settings.GAIA["health.disk_failed_mb"] * _MB
    if free < max(limits):
        tell = failed if free < limits[1] else warning
        what = f"only {size_told(free)} are free on the file system of {root}"
        fix = f"du -xh --max-depth=2 {_quoted(root)} | sort -h | tail"
        yield tell("disk", "space", what, "Databases, commits and logs cannot be written when it is full.", fix)
    facts = os.statvfs(root)
    if facts.f_files and facts.f_favail < facts.f_files // 100:
        what = f"only {facts.f_favail} more files can be made on the file system of {root}"
        fix = f"du -x --inodes --max-depth=2 {_quoted(root)} | sort -n | tail"
        yield warning("disk", "inodes", what, "Checkouts have many files.", fix)


def check_clock() -> Iterator[Finding]:
    """The clock was not set back behind what has been written down."""
    from django.utils import timezone

    from events.models import Event

    newest = Event.objects.order_by("-id").values_list("at", flat=True).first()
    ahead = newest - timezone.now() if newest else timedelta()
    if ahead > _SKEW:
        what = f"the newest event is {int(ahead.total_seconds())} s in the future"
        meaning = (
            "The clock was set back, or differs between nodes: schedules and ages are wrong until it has caught up."
        )
        yield warning("clock", "skew", what, meaning, "sudo timedatectl set-ntp true")
    if time.time() < _BUILT:
        yield failed("clock", "past", "the clock is years behind", "Certificates and tokens are not valid yet.",
                     "sudo timedatectl set-ntp true")  # fmt: skip


_BUILT = 1_700_000_000  # when there was no GAIA yet


def check_leftovers() -> Iterator[Finding]:
    """Nothing was left behind by what was killed."""
    from gaia_site import cleaning

    for left in cleaning.leftovers():
        yield warning("leftovers", left.kind, left.what, left.meaning, "gaia up --clean --detach", left.about)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


CHECKS = (
    Check("home", check_home, well="the home is yours alone"),
    Check("disk", check_disk, well="there is room on the disk"),
    Check("clock", check_clock, needs=Needs.DATABASE, well="the clock goes on"),
    Check("leftovers", check_leftovers, needs=Needs.DATABASE, well="nothing was left behind"),
)
