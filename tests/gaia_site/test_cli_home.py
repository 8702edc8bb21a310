"""The command line where home, settings or database cannot be used: it says so, and makes what is missing."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.gaia_site.command_line import ROOT, CommandLine


@pytest.mark.parametrize("words", [["session", "list"], ["up", "--detach"], ["env", "list", "--json"]])
def test_a_home_below_a_file(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    home = tmp_path / "file" / "home"
    lines = CommandLine(tmp_path, GAIA_HOME=str(home))(*words).mistake(6)
    assert lines[0] == f"gaia: GAIA's home {home} cannot be used: Not a directory"
    assert "set GAIA_HOME" in lines[-1]


def test_a_home_where_nothing_can_be_made(tmp_path: Path) -> None:
    lines = CommandLine(tmp_path, GAIA_HOME="/proc/gaia")("session", "list").mistake(6)
    assert "/proc/gaia cannot be used" in lines[0]


def test_the_home_of_somebody_there_is_not(tmp_path: Path) -> None:
    lines = CommandLine(tmp_path, GAIA_HOME="~nosuchperson/x")("status").mistake(2)
    assert "cannot be found" in lines[0]


def test_mistakes_in_the_settings_stop_every_verb_and_are_all_told(cli: CommandLine, home: object) -> None:
    said = cli("session", "list", GAIA_SERVER_PORT="nonsense", GAIA_JOBS_WROKERS="2")
    lines = said.mistake(2)
    assert lines[0] == "gaia: the settings have mistakes"
    assert "  GAIA_SERVER_PORT: expected a whole number, got 'nonsense'" in lines
    assert "  Did you mean GAIA_JOBS_WORKERS?" in lines


@pytest.mark.parametrize(
    ("url", "code", "says"),
    [
        ("mysql://me:secret@host/gaia", 2, "is not the URL of a database GAIA can use"),
        ("postgresql://me:secret@host:port/gaia", 2, "is not a URL"),
        ("postgresql://me:secret@127.0.0.1:1/gaia", 6, "the database cannot be used"),
        ("postgresql://me:secret@127.0.0.1:1/gaia?nonsense=1", 6, "the database cannot be used"),
        ("sqlite:////proc/gaia/db.sqlite3", 6, "the database cannot be used"),
    ],
)
def test_a_database_that_cannot_be_used(bare: CommandLine, url: str, code: int, says: str) -> None:
    said = bare("session", "list", GAIA_DATABASE_URL=url)
    said.mistake(code)
    assert says in said.err
    assert "secret" not in said.err


@pytest.fixture(scope="module")
def used_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a database of its own that has been used."""
    place = tmp_path_factory.mktemp("used")
    assert CommandLine(place, GAIA_HOME=str(place / "home"), GAIA_DATABASE_URL="")("token", "x").code == 0
    return place / "home"


@pytest.fixture
def used(used_home: Path, tmp_path: Path) -> CommandLine:
    shutil.copytree(used_home, tmp_path / "home")
    line = CommandLine(tmp_path, GAIA_HOME=str(tmp_path / "home"), GAIA_DATABASE_URL="")
    assert line("operation", "list").code == 0
    return line


def test_a_database_that_is_none_any_more(used: CommandLine, tmp_path: Path) -> None:
    for path in (tmp_path / "home" / "data").glob("gaia.sqlite3*"):
        path.write_text("rubbish " * 1000)
    lines = used("operation", "list").mistake(6)
    assert lines[0].startswith("gaia: GAIA's own database is damaged")
    assert "gaia backup restore gaia" in lines[-1]


def test_a_database_that_lost_its_tables_gets_them_again(used: CommandLine, tmp_path: Path) -> None:
    for path in (tmp_path / "home" / "data").glob("gaia.sqlite3*"):
        path.unlink()
    with sqlite3.connect(tmp_path / "home" / "data" / "gaia.sqlite3") as other:
        other.execute("CREATE TABLE something_else (x)")
    lines = used("operation", "list").mistake(6)
    assert lines[0] == "gaia: the database has lost its tables"
    assert used("operation", "list").out == "No operations yet.\n"


def test_a_database_that_was_removed_or_emptied_is_made_anew(used: CommandLine, tmp_path: Path) -> None:
    for path in (tmp_path / "home" / "data").glob("gaia.sqlite3*"):
        path.unlink()
    (tmp_path / "home" / "data" / "gaia.sqlite3").touch()
    assert used("operation", "list").out == "No operations yet.\n"


def test_another_projects_settings_are_none_of_ours(cli: CommandLine) -> None:
    environ = {"DJANGO_SETTINGS_MODULE": "shop.settings", "PYTHONPATH": "/nowhere"}
    assert cli("operation", "list", **environ).out == "No operations yet.\n"
    assert "no issues" in cli("manage", "check", **environ).out


def test_two_first_starts_at_once(tmp_path: Path, bare: CommandLine) -> None:
    both = [bare.start("session", "list"), bare.start("session", "list")]
    answers = [process.communicate(timeout=90) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers


# Pipes and terminals


def test_a_full_disk_is_no_traceback(bare: CommandLine) -> None:
    done = subprocess.run(
        ["bash", "-c", f'"{ROOT}/gaia" --help >/dev/full'], capture_output=True, text=True, timeout=60,
        env={**os.environ, **bare.environ},
    )  # fmt: skip
    assert done.returncode == 6
    assert done.stderr.splitlines() == [
        "gaia: No space left on device",
        "  It was not finished; nothing is left half-written.",
        "  Make room and run it again.",
    ]
