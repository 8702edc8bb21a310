"""What GAIA puts into a checkout: stage databases, logs/, .env.local, the four scripts, .gaia/.

Everything is listed in `.git/info/exclude`. What the repository tracks, what the user made or edited, and whatever
lies behind a symlink out of the checkout is kept as it is and reported; GAIA's copy then goes to `.gaia/`.
"""

from __future__ import annotations

import functools
import hashlib
import re
import shlex
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import Conflict, InvalidInput
from common.files import managed_block
from environments.drivers import gaia_yaml
from environments.drivers.git import checkout
from environments.drivers.launching import TLS_FILES, TLS_PLACE, require_inside
from environments.drivers.partial import cannot_write
from environments.drivers.stage_env import assignments, dotenv_line, read_text, stage_variables
from environments.drivers.writing import UNFINISHED, put, put_if_changed
from processes.drivers.shim import shim_path

SCRIPTS = ("launch.sh", "stop.sh", "status.sh", "sync.sh")
_SHIPPED = Path(__file__).resolve().parent.parent / "scripts"
_STAMP = re.compile(r"^# gaia-script sha256:(?P<digest>[0-9a-f]{64}).*\n", re.MULTILINE)
_STAMP_TEXT = "# gaia-script sha256:{} (edit this file and GAIA leaves it alone)\n"
_SQLITE_MAGIC = b"SQLite format 3\0"


@dataclass(frozen=True)
class Layout:
    """What is to be where in one checkout.

    Args:
        project: the project's name.
        environment: the environment's name, such as `architect-dev1`.
        path: the checkout.
        stages: stage → its port and its database, relative to the checkout (`data/dev/architect.db`).
        https: stages that serve HTTPS.
        authority: directory of the local authority that issues their certificate.
        shared: what the layer says to everything in the checkout, in `.env.local`.
        own: what the layer says to each stage's program, by stage.
    """

    project: str
    environment: str
    path: Path
    stages: Mapping[str, tuple[int, str]]
    https: frozenset[str] = frozenset()
    authority: Path | None = None
    shared: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What `ensure` did; names are relative to the checkout.

    Args:
        created: made for the first time.
        repaired: came back, or was brought up to date.
        kept: not GAIA's to change, each with the reason.
        problems: what keeps a stage from being started.
    """

    created: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        return bool(self.created or self.repaired)


def ensure(path: Path, layout: Layout) -> Report:
    """Bring what GAIA keeps in a checkout into order; changes nothing that is in order.

    Returns: what was created, repaired and kept. Run again, it reports no change and touches no file.
    Raises: Conflict when `.gaia` belongs to the repository; Unavailable or Refused when nothing can be written.
    """
    try:
        return _Furnisher(path, layout).run()
    except OSError as error:
        raise cannot_write(path, error) from error


def env_block(layout: Layout) -> str:
    """What GAIA's part of `.env.local` says."""
    lines = [f"GAIA_PROJECT={layout.project}", f"GAIA_ENVIRONMENT={layout.environment}"]
    for stage, (port, _) in layout.stages.items():
        lines.append(f"{re.sub('[^A-Z0-9]', '_', stage.upper())}_PORT={port}")
    return "\n".join([*lines, *(dotenv_line(name, value) for name, value in layout.shared.items())])


@dataclass
class _Furnisher:
    """One run of `ensure`."""

    path: Path
    layout: Layout
    created: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    excluded: list[str] = field(default_factory=lambda: ["/.gaia/", f"*{UNFINISHED}"])

    def run(self) -> Report:
        self.top = self.path.resolve()
        self.tracked = self._tracked()
        self.first_time = not (self.path / ".gaia/stages").is_dir()
        if not self._is_inside(".gaia/x") or any(name.startswith(".gaia/") for name in self.tracked):
            raise Conflict(
                f"{self.path / '.gaia'} belongs to the repository",
                meaning="GAIA keeps its own files there.",
                fix="Rename it in the repository.",
            )
        # names are chosen before anything is written, so that the list of excludes is there first: a kill in the
        # middle must not leave GAIA's files looking like somebody's work
        scripts = {name: self._script_place(name) for name in SCRIPTS}
        stages = {name: self._stage_places(name, database) for name, (_, database) in self.layout.stages.items()}
        env_file = self._choose(".env.local", ".gaia/env.local")
        self._require_inside(env_file, stages)
        self._put_excludes()
        self._remove_unfinished({self.path / name for name in (*scripts.values(), env_file, *sum(stages.values(), ()))})
        self._put_own_files()
        for name, place in scripts.items():
            self._put(place, _stamped((_SHIPPED / name).read_text(encoding="utf-8")).encode(), 0o755)
        self._put_env_file(env_file)
        self._put_certificate()
        for name, (port, _) in self.layout.stages.items():
            self._put_stage(name, port, *stages[name])
        return Report(tuple(self.created), tuple(self.repaired), tuple(self.kept), tuple(self.problems))

    # -- places

    def _require_inside(self, env_file: str, stages: Mapping[str, tuple[str, str]]) -> None:
        """What is opened or made must not lead out; other files are replaced, and with them the link."""
        opened = [env_file, *(name for places in stages.values() for name in places)]
        opened += [f".gaia/stages/{stage}.lock" for stage in stages]
        require_inside(self.path, ".git/info", ".gaia/stages", *TLS_FILES, *opened)

    def _tracked(self) -> set[str]:
        databases = [database for _, database in self.layout.stages.values()]
        listed = checkout(self.path).run("ls-files", "-z", "--", *SCRIPTS, ".env.local", ".gaia", *databases)
        return set(filter(None, listed.stdout.split("\0")))

    def _is_inside(self, name: str) -> bool:
        """Whether a name can be written: its directories are directories, and none is a link out of the checkout."""
        parent = (self.path / name).parent
        while not parent.exists() and not parent.is_symlink():
            parent = parent.parent
        return parent.is_dir() and parent.resolve().is_relative_to(self.top)

    def _choose(self, name: str, otherwise: str) -> str:
        """The name where GAIA's file goes: the usual one, unless that is not GAIA's to write."""
        if name in self.tracked:
            reason = "is tracked by the repository"
        elif not self._is_inside(name) or (self.path / name).is_symlink() or (self.path / name).is_dir():
            reason = "is a link, a directory, or leads out of the checkout"
        else:
            self.excluded.append(f"/{name}")
            return name
        self.kept.append(f"{name} ({reason}; GAIA's is {otherwise})")
        return otherwise

    def _script_place(self, name: str) -> str:
        """Where a script goes. One that the user wrote or edited stays, and GAIA's lies in .gaia/."""
        with suppress(OSError, UnicodeDecodeError):
            if name not in self.tracked and not (self.path / name).is_symlink():
                text = (self.path / name).read_text(encoding="utf-8")
                if not _is_stamped(text):
                    edited = _STAMP.search(text) is not None
                    reason = "was edited" if edited else "was there before"
                    self.kept.append(f"{name} ({reason}; GAIA's is .gaia/{name})")
                    if edited:
                        self.excluded.append(f"/{name}")
                    return f".gaia/{name}"
        return self._choose(name, f".gaia/{name}")

    def _stage_places(self, stage: str, database: str) -> tuple[str, str]:
        """Names of a stage's database and log."""
        chosen = self._choose(database, f".gaia/data/{stage}/{Path(database).name}")
        if chosen == database:  # with its -wal and -shm
            self.excluded[-1] += "*"
        log = self._choose(f"logs/{stage}.log", f".gaia/logs/{stage}.log")
        if log == f"logs/{stage}.log":
            self.excluded[-1] += "*"
        return chosen, log

    # -- contents

    def _put_excludes(self) -> None:
        file = self.path / ".git/info/exclude"
        file.parent.mkdir(exist_ok=True)
        old = read_text(file)
        new = managed_block(old, "\n".join(sorted(self.excluded)))
        if new != old:
            self._note(".git/info/exclude", ">>> GAIA" in old)
            put(file, new.encode("utf-8", "surrogateescape"), _mode(file, 0o644))

    def _remove_unfinished(self, files: set[Path]) -> None:
        for directory in {file.parent for file in files} | {self.path / ".gaia", self.path / ".gaia/stages"}:
            for left in directory.glob(f".*{UNFINISHED}"):
                left.unlink(missing_ok=True)

    def _put_own_files(self) -> None:
        self._put(".gaia/stage.sh", (_SHIPPED / "stage.sh").read_bytes(), 0o644)
        self._put(".gaia/placeholder.py", (_SHIPPED / "placeholder.py").read_bytes(), 0o644)
        self._put(".gaia/shim", shim_path().read_bytes(), 0o755)

    def _put_env_file(self, name: str) -> None:
        file = self.path / name
        old = read_text(file)
        new = managed_block(old, env_block(self.layout))
        if new != old:
            self._note(name, file.exists())
            put(file, new.encode("utf-8", "surrogateescape"), _mode(file, 0o600))

    def _put_certificate(self) -> None:
        """One for all stages; it stays when none serves HTTPS any more, for `USE_HTTPS=true ./launch.sh`."""
        if self.layout.authority is None or not (self.layout.https or (self.path / TLS_PLACE).is_dir()):
            return
        from environments.drivers.authority import ensure_certificate  # takes a while to import, and few need it

        place = self.path / TLS_PLACE
        existed = place.is_dir()
        for name in ensure_certificate(self.layout.authority, place, self.layout.environment):
            self._note(f"{TLS_PLACE}/{name}", existed)

    def _put_stage(self, stage: str, port: int, database: str, log: str) -> None:
        base = {
            "GAIA_PROJECT": self.layout.project,
            "GAIA_ENVIRONMENT": self.layout.environment,
            "PORT": str(port),
            "DATABASE_PATH": database,
            "LOG_FILE": log,
            **({"USE_HTTPS": "true"} if stage in self.layout.https else {}),
            **self.layout.own.get(stage, {}),
        }
        variables = stage_variables(stage, base, self._command(stage))
        self._put(f".gaia/stages/{stage}.env", assignments(variables).encode(), 0o600)
        lock = self.path / f".gaia/stages/{stage}.lock"
        if not lock.exists():  # it is never replaced: a running stage holds the one that is there
            self._note(f".gaia/stages/{stage}.lock", False)
            lock.touch(mode=0o600)
        (self.path / log).parent.mkdir(parents=True, exist_ok=True)
        self._put_database(database)

    def _command(self, stage: str) -> gaia_yaml.StageCommand:
        try:
            return gaia_yaml.read(self.path, stage)
        except InvalidInput as error:
            message = f"{error.what}. {error.fix}"
            if message not in self.problems:
                self.problems.append(message)
            command = f"printf '%s\\n' {shlex.quote(message)} >&2; exit 78"
            return gaia_yaml.StageCommand(command, gaia_yaml.DEFAULT_HEALTH, "default", message)

    def _put_database(self, name: str) -> None:
        file = self.path / name
        try:
            with open(file, "rb") as existing:
                magic = existing.read(len(_SQLITE_MAGIC))
        except FileNotFoundError:
            magic = b""
        if magic and magic != _SQLITE_MAGIC:
            self.problems.append(f"{name} is not a SQLite database; it was left alone")
        if not magic:
            self._note(name, False)
            put(file, _empty_database(), 0o600)

    def _put(self, name: str, data: bytes, mode: int) -> None:
        file = self.path / name
        existed = file.exists() or file.is_symlink()
        if put_if_changed(file, data, mode):
            self._note(name, existed)

    def _note(self, name: str, existed: bool) -> None:
        (self.created if self.first_time and not existed else self.repaired).append(name)


def _stamped(text: str) -> str:
    """A shipped script with the line by which an edited one is told from an outdated one."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    first, rest = text.split("\n", 1)
    return f"{first}\n{_STAMP_TEXT.format(digest)}{rest}"


def _is_stamped(text: str) -> bool:
    """Whether a script is as some version of GAIA wrote it."""
    stamp = _STAMP.search(text)
    if stamp is None:
        return False
    plain = text[: stamp.start()] + text[stamp.end() :]
    return hashlib.sha256(plain.encode()).hexdigest() == stamp["digest"]


@functools.cache
def _empty_database() -> bytes:
    """An empty SQLite database in WAL mode: the journal mode is part of the file."""
    with tempfile.TemporaryDirectory(prefix="gaia-database-") as directory:
        file = Path(directory) / "empty.db"
        with closing(sqlite3.connect(file)) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("VACUUM")
        return file.read_bytes()


def _mode(file: Path, otherwise: int) -> int:
    try:
        return file.stat().st_mode & 0o777
    except FileNotFoundError:
        return otherwise
