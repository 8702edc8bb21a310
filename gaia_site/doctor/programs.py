"""What GAIA stands on: Python and its packages, tmux, git, and who commits."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.markers import Marker

from common.errors import GaiaError
from common.run import run
from environments.findings import Finding
from gaia_site.doctor.checks import Check, failed, warning

BASE = Path(__file__).resolve().parents[2]
_LINE = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)(\[[^]]*\])?==(?P<version>[^\s;\\]+)\s*(;(?P<marker>[^\\]*))?")
_OLDEST = (3, 11)
_SHOWN = 4
_GIT_S = 5.0


def check_python() -> Iterator[Finding]:
    """Python is new enough, and has the packages that the lock names in the versions that it names."""
    if sys.version_info[:2] < _OLDEST:
        what = f"Python {sys.version.split()[0]} is older than {'.'.join(map(str, _OLDEST))}"
        yield failed("python", "old", what, "GAIA does not work with it.", "sudo apt-get install python3")
    lock = BASE / "requirements" / "base.lock"
    differing = list(differing_packages(lock.read_text(encoding="utf-8")))
    if differing:
        names = ", ".join(differing[:_SHOWN]) + (f" and {len(differing) - _SHOWN} more" if differing[_SHOWN:] else "")
        pip = shlex.join([sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(lock)])
        what = f"{len(differing)} installed packages are not those of the lock: {names}"
        yield failed("python", "packages", what, "It was tested with the locked ones only.", pip)


def differing_packages(lock: str) -> Iterator[str]:
    """Packages that are missing or have another version than a lock says: `django 5.1 (5.2)`."""
    for line in lock.splitlines():
        found = _LINE.match(line)
        if found is None or (found["marker"] and not Marker(found["marker"].strip()).evaluate()):
            continue
        try:
            there = metadata.version(found["name"])
        except metadata.PackageNotFoundError:
            yield f"{found['name']} is missing"
            continue
        if there != found["version"]:
            yield f"{found['name']} {there} ({found['version']})"


def check_programs() -> Iterator[Finding]:
    """tmux and git are there and new enough."""
    from gaia_site.platform import check_programs as required

    try:
        required()
    except GaiaError as error:
        program = "git" if "git" in error.what.split()[0].lower() else "tmux"
        yield failed("programs", program, error.what, error.meaning, f"sudo apt-get install {program}")


def check_git_identity() -> Iterator[Finding]:
    """git knows who commits: agents' commits fail otherwise."""
    try:
        missing = [key for key in ("user.name", "user.email") if not _git_config(key)]
    except GaiaError:
        return  # there is no git, which is told already
    if missing:
        fixes = {"user.name": 'git config --global user.name "GAIA"'}
        fixes["user.email"] = "git config --global user.email gaia@localhost"
        what = f"git does not know {' and '.join(missing)}"
        meaning = "Commits in environments fail, or get a name that nobody chose."
        yield warning("git", "identity", what, meaning, " && ".join(fixes[key] for key in missing))


def _git_config(key: str) -> str:
    return run(["git", "config", "--get", key], timeout=_GIT_S, cwd="/", check=False).stdout.strip()


CHECKS = (
    Check("python", check_python, well="Python and its packages are those of the lock"),
    Check("programs", check_programs, well="tmux and git are there and new enough"),
    Check("git", check_git_identity, well="git knows who commits"),
)
