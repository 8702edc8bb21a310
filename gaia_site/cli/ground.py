"""What every verb that needs Django stands on: settings loaded, database migrated, an actor."""

from __future__ import annotations

import hashlib
import io
import os
import sys
from contextlib import suppress
from pathlib import Path

from common import config
from common.errors import Cancelled, Conflict, InvalidInput, Unavailable
from common.files import file_lock, write_atomic
from common.home import gaia_home
from common.text import plain

_BASE = Path(__file__).resolve().parents[2]
_ROOMS = ("events", "policy", "processes", "projects", "services", "environments", "sessions")


def ready(*, console: bool = False) -> None:
    """Load Django and bring the database up to date; from here on the person at the terminal is the actor.

    Args:
        console: load the console's pages, too; that takes as long again as the rest, and no verb shows them.

    Raises: InvalidInput for mistakes in the settings, Unavailable when the home or the database cannot be used.
    """
    load(console=console)
    _require_same_database()
    _migrate()
    from events.actor import act_as, os_user_actor

    act_as(os_user_actor())


def load(*, console: bool = False) -> None:
    """Load Django and leave the database alone: for verbs that work when that is what is broken.

    Raises: InvalidInput for mistakes in the settings, Unavailable when the home cannot be used.
    """
    home = gaia_home()
    try:
        home.ensure()
    except OSError as error:
        raise Unavailable(
            f"GAIA's home {home.root} cannot be used: {error.strerror}",
            fix="Give yourself the right to write there, make room, or set GAIA_HOME to another directory.",
            path=str(home.root),
        ) from error
    problems = config.load().problems
    if problems:
        raise InvalidInput(
            "the settings have mistakes",
            meaning="\n".join(problem.message for problem in problems),
            fix="\n".join(dict.fromkeys(problem.hint for problem in problems)),
        )
    load_django(console)


def load_django(console: bool = False) -> None:
    """Load Django with the settings that are in force; what is wrong with them is not asked."""
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = _settings_module(os.environ.get("DJANGO_SETTINGS_MODULE", ""))
    role = os.environ.get("GAIA_ROLE")
    os.environ["GAIA_ROLE"] = "console" if console else "cli"  # the settings ask for it, now and never again
    try:
        django.setup()
    finally:
        del os.environ["GAIA_ROLE"]
        if role is not None:
            os.environ["GAIA_ROLE"] = role


def _settings_module(wanted: str) -> str:
    """The settings to load: an extension of GAIA's own if one is named, never those of another Django project."""
    package = wanted.partition(".")[0]
    return wanted if package and (_BASE / package).is_dir() else "gaia_site.settings"


def furnished() -> bool:
    """Whether this home has a database: before the first start there is nothing to show, and nothing to make for it."""
    return gaia_home().database.exists() or bool(config.load()["database.url"])


def _require_same_database() -> None:
    """A verb that looked into another database than the running daemon would tell and do the wrong things."""
    from django.conf import settings

    from gaia_site.databases import fingerprint
    from processes.actions.nodes import daemon_runs

    with suppress(FileNotFoundError):
        theirs = (gaia_home().run / "database").read_text(encoding="utf-8").strip()
        if theirs != fingerprint(settings.DATABASES["default"]) and daemon_runs():
            raise Conflict(
                "GAIA runs on another database than this command would use",
                meaning="It was started with another database.url, or with GAIA_DATABASE_URL set differently.",
                fix="Set it as it was then; better, write database.url into config.toml, where every command finds it.",
            )


def _migrate() -> None:
    """Apply migrations when the code's differ from those the stamp names; asking Django costs 100 ms each time."""
    from django.conf import settings
    from django.core.management import call_command
    from django.db import DatabaseError

    home = gaia_home()
    stamp, wanted = home.run / "schema", _schema_digest(str(settings.DATABASES["default"]))
    there = _database_exists(settings.DATABASES["default"])
    if there and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    if not there:
        say("Preparing the database …")
        if any((home.data / "backups").glob("gaia-*.json")):
            say("There are backups of the one that was here: gaia down, then gaia backup restore gaia.")
    with file_lock(home.locks / "migrate.lock", timeout=120, what="the database's schema"):
        try:
            call_command("migrate", verbosity=0, interactive=False, stdout=io.StringIO())
        except DatabaseError as error:
            raise Unavailable(
                f"the database cannot be used: {str(error).strip()}",
                fix="Is its server up, and database.url right? For SQLite: is the disk full, or data/ not yours? "
                "Damaged, it is restored with gaia backup restore gaia.",
            ) from error
    write_atomic(stamp, wanted)


def forget_schema() -> None:
    """Look at the database's tables again with the next verb."""
    with suppress(OSError):
        (gaia_home().run / "schema").unlink()


def _schema_digest(database: str) -> str:
    found = (path for room in _ROOMS for path in (_BASE / room / "migrations").glob("*.py"))
    names = sorted(str(path.relative_to(_BASE)) for path in found)
    lock = (_BASE / "requirements" / "base.lock").read_bytes()
    return hashlib.sha256(lock + "\n".join([*names, database]).encode()).hexdigest()


def _database_exists(database: dict[str, object]) -> bool:
    """A restored or removed home has a stamp and no database, or one that somebody's look has made anew, empty."""
    if not str(database["ENGINE"]).endswith("sqlite3"):
        return True
    path = Path(str(database["NAME"]))
    return path.exists() and path.stat().st_size > 0


def say(text: str) -> None:
    """A line for the person at the terminal; data for programs goes to stdout alone."""
    sys.stderr.write(plain(text) + "\n")
    sys.stderr.flush()


def confirm(question: str, *, yes: bool) -> None:
    """Ask a person at a terminal before something is ended or taken away; a script is taken at its word.

    Args:
        question: what is going to happen, ending in a question mark.
        yes: it was confirmed on the command line.

    Raises: Cancelled when the answer is not yes.
    """
    if yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise Cancelled("nothing was done", fix="Answer y, or say --yes.")


def given(word: str, what: str) -> str:
    """A word of the command line; for a dash the next line of standard input, which neither `ps` nor the shell's
    history sees. A person at a terminal is asked for it.

    Args:
        what: what it is, as in "Address: ".
    """
    if word != "-":
        return word
    if sys.stdin.isatty() and sys.stderr.isatty():
        sys.stderr.write(f"{what}: ")
        sys.stderr.flush()
    return sys.stdin.readline().strip()


def called_from() -> Path:
    """The directory the operator stands in. Raises: InvalidInput when it has been removed."""
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise InvalidInput("the directory you stand in has been removed", fix="Go to another one: cd.") from error
