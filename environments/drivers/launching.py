"""How a stage is launched, and where it leaves its traces, whether the daemon or `launch.sh` launches it.

Agents work in the checkout: they can edit what GAIA wrote there, and put symlinks in the place of files and
directories. What leads out of the checkout is neither read nor written.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from common.containment import stays_inside
from common.errors import Conflict, NotFound
from environments.drivers import gaia_yaml
from environments.drivers.stage_env import assignments, read_assignments, read_dotenv, says_yes, stage_variables
from environments.drivers.writing import put_if_changed


@dataclass(frozen=True)
class StagePaths:
    """Where a stage leaves its traces, whether the daemon or `launch.sh` started it."""

    log: Path
    lock: Path
    journal: Path


@dataclass(frozen=True)
class StageStart:
    """Everything needed to start a stage, the same for the daemon and for `launch.sh`."""

    argv: tuple[str, ...]
    cwd: Path
    env: dict[str, str]
    log: Path
    lock: Path
    journal: Path
    port: int
    health_path: str
    https: bool = False
    shown: frozenset[str] = frozenset()
    """Variables that anybody may see: those that GAIA sets, not what `.env.local` or a server's address says."""


LAYER_VARIABLES = ("GAIA_LAYER", "DATABASE_ENGINE", "DATABASE_URL")
"""What an environment's layer says to its stages' programs."""
TLS_PLACE = ".gaia/tls"
"""Where a checkout keeps its certificate."""
TLS_FILES = tuple(f"{TLS_PLACE}/{name}" for name in ("cert.pem", "key.pem", "ca.pem"))
"""The certificate, its key, and the certificate of the authority that issued it."""


def stage_paths(path: Path, stage: str) -> StagePaths:
    """Where to look for a stage's traces; reads one small file and never fails."""
    env = f".gaia/stages/{stage}.env"
    logs = [f"logs/{stage}.log", f".gaia/stages/{stage}.log"]
    if stays_inside(path, env):
        with suppress(OSError, ValueError, KeyError):
            logs.insert(0, read_assignments(path / env)["LOG_FILE"])
    return StagePaths(
        log=_first_inside(path, *logs),
        # the second is never made: a stage whose own leads out was not launched
        lock=_first_inside(path, f".gaia/stages/{stage}.lock", f".gaia-{stage}.lock"),
        journal=_first_inside(path, f".gaia/stages/{stage}.journal", f".gaia-{stage}.journal"),
    )


def _first_inside(path: Path, *names: str) -> Path:
    """The first of these names of a checkout that does not lead out of it; the null device when all do."""
    return next((path / name for name in names if stays_inside(path, name)), Path(os.devnull))


def stage_start(path: Path, stage: str) -> StageStart:
    """How a stage is started now; a changed `gaia.yaml` is taken over first.

    Raises: NotFound when the checkout has no such stage; Conflict when a file of it leads out of the checkout;
    InvalidInput for a bad gaia.yaml.
    """
    names = [f".gaia/stages/{stage}.{kind}" for kind in ("env", "lock", "journal")]
    file = path / names[0]
    require_inside(path, *names)
    try:
        known = read_assignments(file)
        base = {key: known[key] for key in ("GAIA_PROJECT", "GAIA_ENVIRONMENT", "PORT", "DATABASE_PATH", "LOG_FILE")}
        base |= {key: known[key] for key in ("USE_HTTPS", *LAYER_VARIABLES) if key in known}
        port = int(base["PORT"])
    except (OSError, KeyError, ValueError) as error:
        raise _no_stage(path, stage, file) from error
    require_inside(path, base["DATABASE_PATH"])
    paths = stage_paths(path, stage)
    base["LOG_FILE"] = str(paths.log.relative_to(path)) if paths.log.is_relative_to(path) else str(paths.log)
    variables = stage_variables(stage, base, gaia_yaml.read(path, stage))
    with suppress(OSError):  # a full disk must not keep a stage from starting
        put_if_changed(file, assignments(variables).encode())
    env = {**read_dotenv(path / ".env.local"), **read_dotenv(path / ".gaia/env.local"), **variables}
    env["DATABASE_PATH"] = str(path / variables["DATABASE_PATH"])
    https = says_yes(env.get("USE_HTTPS", ""))
    if https:
        env |= _tls_variables(path)
    return StageStart(
        argv=("/bin/sh", "-c", variables["COMMAND"]),
        cwd=path,
        env=env,
        log=paths.log,
        lock=paths.lock,
        journal=paths.journal,
        port=port,
        health_path=variables["HEALTH_PATH"],
        https=https,
        shown=frozenset(variables) - {"DATABASE_URL"},
    )


def _no_stage(path: Path, stage: str, file: Path) -> NotFound:
    return NotFound(f"{path.name} has no stage {stage!r}", fix="Repair it: gaia env setup", path=str(file))


def _tls_variables(path: Path) -> dict[str, str]:
    """Where the program finds what it serves HTTPS with. Raises: Conflict when that leads out of the checkout."""
    require_inside(path, *TLS_FILES)
    certificate, key, _ = TLS_FILES
    return {"TLS_CERT": str(path / certificate), "TLS_KEY": str(path / key)}


def asks_for_https(path: Path) -> bool:
    """Whether the user's own part of `.env.local` says that the stages of a checkout serve HTTPS."""
    own = {**read_dotenv(path / ".env.local"), **read_dotenv(path / ".gaia/env.local")}
    return says_yes(own.get("USE_HTTPS", ""))


@contextmanager
def kept_from_starting(path: Path, stage: str, *, what: str, fix: str) -> Iterator[None]:
    """Hold a stage's own lock, so that neither daemon nor script starts it meanwhile.

    Args:
        what, fix: for the error when it runs.

    Raises: Conflict when it runs, or its files lead out of the checkout; NotFound when they are gone.
    """
    name = f".gaia/stages/{stage}.lock"
    require_inside(path, name)
    if not (path / name).parent.is_dir():
        raise _no_stage(path, stage, path / name)
    with open(path / name, "ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(what, meaning="Nothing was changed.", fix=fix) from None
        yield


def require_inside(path: Path, *names: str) -> None:
    """Raise Conflict when one of these names of a checkout leads out of it."""
    for name in names:
        if not stays_inside(path, name):
            raise Conflict(
                f"{name} of {path.name} leads out of the checkout",
                meaning="GAIA and the stages write only into the environment, so nothing was done.",
                fix="Remove the symlink or the changed line, then repair it: gaia env setup.",
                path=str(path / name),
            )
