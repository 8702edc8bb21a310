"""A verb never looks into another database than the daemon that runs: it says so, and how to come to the same one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.conf import settings

from common.files import file_lock
from common.home import Home, gaia_home
from gaia_site.databases import fingerprint, sqlite_settings
from tests.gaia_site.command_line import CommandLine
from tests.installation import Gaia

WORDS = (("env", "list"), ("session", "list"), ("up", "--detach"), ("down",))


def daemons_database(home: Home, database: dict[str, object]) -> None:
    (home.run / "database").write_text(fingerprint(database))


def test_a_daemon_on_another_database(gaia: Gaia, cli: CommandLine, tmp_path: Path) -> None:
    """The real one, which notes down its database by itself."""
    gaia.up()
    other = tmp_path / "other.sqlite3"

    for words in WORDS:
        lines = cli(*words, GAIA_DATABASE_URL=f"sqlite://{other}").mistake(4)
        assert lines[0] == "gaia: GAIA runs on another database than this command would use"
        assert "GAIA_DATABASE_URL" in lines[1]
        assert "write database.url into config.toml" in lines[2]

    assert not other.exists(), "nothing was made there"
    assert cli("env", "list").code == 0
    assert len(gaia.daemons()) == 1


def test_the_same_database_said_in_another_way(home: Home, cli: CommandLine) -> None:
    daemons_database(home, settings.DATABASES["default"])
    with file_lock(home.run / "node.lock"):
        assert cli("env", "list").code == 0


def test_a_program_is_told_as_data(home: Home, cli: CommandLine, tmp_path: Path) -> None:
    daemons_database(home, sqlite_settings(str(tmp_path / "theirs.sqlite3")))
    with file_lock(home.run / "node.lock"):
        said = cli("env", "list", "--json")
    assert (said.code, json.loads(said.out)["error"]["code"]) == (4, "conflict")


def test_what_a_daemon_that_ended_has_noted_is_in_nobodys_way(home: Home, cli: CommandLine, tmp_path: Path) -> None:
    daemons_database(home, sqlite_settings(str(tmp_path / "theirs.sqlite3")))
    assert cli("env", "list").code == 0


@pytest.mark.parametrize("part", ["NAME", "HOST", "PORT", "USER", "ENGINE"])
def test_what_makes_it_another_database(part: str) -> None:
    one = {"ENGINE": "django.db.backends.postgresql", "NAME": "a", "HOST": "b", "PORT": "1", "USER": "c"}
    assert fingerprint({**one, part: "other"}) != fingerprint(one)


def test_the_note_tells_no_secret() -> None:
    one = {"ENGINE": "django.db.backends.postgresql", "NAME": "a", "PASSWORD": "hunter2", "OPTIONS": {"x": "y"}}
    assert fingerprint(one) == fingerprint({**one, "PASSWORD": "other", "OPTIONS": {}})
    assert "hunter2" not in fingerprint(one)
    assert len(fingerprint(one)) == 64
    assert gaia_home().run.stat().st_mode & 0o077 == 0
