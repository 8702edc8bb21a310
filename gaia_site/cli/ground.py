"""What every verb that needs Django stands on: settings loaded, database migrated, an actor."""

from __future__ import annotations

import hashlib
import io
import os
import sys
from pathlib import Path

from common import config
from common.errors import InvalidInput, Unavailable
from common.files import file_lock, write_atomic
from common.home import gaia_home

_ROOMS = ("events", "policy", "processes", "projects", "environments", "sessions")


def ready() -> None:
    """Load Django and bring the database up to date; from here on the person at the terminal is the actor.

    Raises: InvalidInput for mistakes in the settings, Unavailable when the home or the database cannot be used.
    """
    problems = config.load().problems
    if problems:
        raise InvalidInput(
            "the settings have mistakes",
            meaning="\n".join(problem.message for problem in problems),
            fix=" ".join(problem.hint for problem in problems),
        )
    home = gaia_home()
    try:
        home.ensure()
    except OSError as error:
        raise Unavailable(
            f"GAIA's home {home.root} cannot be used: {error.strerror}",
            fix="Give yourself the right to write there, make room, or set GAIA_HOME to another directory.",
            path=str(home.root),
        ) from error
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gaia_site.settings")
    import django

    django.setup()
    _migrate()
    from events.actor import act_as, os_user_actor

    act_as(os_user_actor())


def _migrate() -> None:
    """Apply migrations when the code's differ from those the stamp names; asking Django costs 100 ms each time."""
    from django.conf import settings
    from django.core.management import call_command
    from django.db import DatabaseError

    home = gaia_home()
    stamp, wanted = home.run / "schema", _schema_digest(str(settings.DATABASES["default"]))
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted and _database_exists(settings.DATABASES["default"]):
        return
    with file_lock(home.locks / "migrate.lock", timeout=120, what="the database's schema"):
        try:
            call_command("migrate", verbosity=0, interactive=False, stdout=io.StringIO())
        except DatabaseError as error:
            raise Unavailable(
                f"the database cannot be used: {str(error).strip()}",
                fix="Is its server up, and database.url right? For SQLite: is the disk full, or data/ not yours?",
            ) from error
    write_atomic(stamp, wanted)


def _schema_digest(database: str) -> str:
    base = Path(__file__).resolve().parent.parent.parent
    names = sorted(str(path.relative_to(base)) for room in _ROOMS for path in (base / room / "migrations").glob("*.py"))
    lock = (base / "requirements" / "base.lock").read_bytes()
    return hashlib.sha256(lock + "\n".join([*names, database]).encode()).hexdigest()


def _database_exists(database: dict[str, object]) -> bool:
    """A restored or removed home has a stamp and no database."""
    return not str(database["ENGINE"]).endswith("sqlite3") or Path(str(database["NAME"])).exists()


def say(text: str) -> None:
    """A line for the person at the terminal; data for programs goes to stdout alone."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def called_from() -> Path:
    """The directory the operator stands in."""
    return Path(os.environ.get("GAIA_CALLED_FROM") or Path.cwd())

