"""`gaia passwd`, `gaia token`, `gaia config`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from common.home import gaia_home
from events.models import Event
from policy.models import Token, User
from tests.endpoints import client_of
from tests.gaia_site.command_line import CommandLine

GOOD = "correct horse battery"


@pytest.fixture
def person(transactional_db: None) -> User:
    return User.objects.create_superuser("operator")


def test_a_password_from_standard_input(cli: CommandLine, person: User) -> None:
    assert cli("passwd", stdin=f"{GOOD}\n").out == "Password of operator changed.\n"
    person.refresh_from_db()
    assert person.check_password(GOOD)
    assert cli("passwd", "operator", "--json", stdin=f"{GOOD}2\n").data == {"username": "operator", "password": None}
    told = Event.objects.filter(kind="user.password_changed")
    assert [event.actor[:4] for event in told] == ["cli:", "cli:"]
    assert GOOD not in repr(list(Event.objects.values()))


def test_a_random_one_is_shown_once(cli: CommandLine, person: User) -> None:
    password = cli("passwd", "--random", "--json").data["password"]
    person.refresh_from_db()
    assert person.check_password(password)
    assert cli("passwd", "--random").out.startswith("New password of operator: ")


def test_a_password_typed_twice(cli: CommandLine, person: User) -> None:
    for again, code in ((GOOD, 0), ("something else", 2)):
        terminal = cli.on_a_terminal("passwd")
        terminal.until("New password: ")
        terminal.type(f"{GOOD}\n")
        terminal.until("Again: ")
        terminal.type(f"{again}\n")
        assert terminal.end() == code
        assert GOOD not in terminal.shown
    assert "the two passwords differ" in terminal.shown
    terminal = cli.on_a_terminal("passwd")
    terminal.until("New password: ")
    terminal.type("\x04")
    assert terminal.end() == 7


@pytest.mark.parametrize(
    ("words", "typed", "code", "says"),
    [
        (["passwd"], "\n", 2, "an empty password was given"),
        (["passwd"], "", 2, "an empty password was given"),
        (["passwd"], "password\n", 2, "the password is too weak"),
        (["passwd", "nobody"], f"{GOOD}\n", 3, "there is no account 'nobody'"),
        (["token", "x" * 101], "", 2, "cannot be a token's name"),
        (["token", " "], "", 2, "cannot be a token's name"),
        (["token", "unknown", "--revoke"], "", 3, "there is no token called 'unknown'"),
    ],
)
def test_what_cannot_be_done(
    cli: CommandLine, person: User, words: list[str], typed: str, code: int, says: str
) -> None:
    assert says in cli(*words, stdin=typed).mistake(code)[0]


def test_tokens(cli: CommandLine, db: None) -> None:
    text = cli("token", "ci").lines[0]
    assert client_of(text).get("/api/multi-env/health").status_code == 200
    assert text not in repr(list(Token.objects.values()))
    reader = cli("token", "ci", "--read-only", "--days", "2", "--json").data
    assert (reader["name"], reader["scopes"], reader["days"]) == ("ci", ["read"], 2)
    assert client_of(reader["token"]).get("/api/multi-env/health").status_code == 200
    assert client_of(reader["token"]).post("/api/orchestration/sessions/stop/", {}).status_code == 403
    expiry = Token.objects.order_by("-created")[0].expiry
    assert timedelta(days=1) < expiry - timezone.now() <= timedelta(days=2)
    assert cli("token", "ci", "--revoke", "--json").data == {"revoked": 2}
    assert client_of(text).get("/api/multi-env/health").status_code == 401
    assert APIClient().get("/api/multi-env/health").status_code == 401


def test_settings_in_force(cli: CommandLine, tmp_path: Path) -> None:
    (gaia_home().config_file).write_text('[server]\ntime_zone = "Europe/Berlin"\n')
    said = cli("config", GAIA_SERVER_PORT="9000", GAIA_DATABASE_URL="postgresql://me:secret@host/db")
    assert said.code == 0
    shown = {line.split()[0]: line.split()[1:] for line in said.lines}
    assert shown["server.port"] == ["9000", "GAIA_SERVER_PORT"]
    assert shown["server.time_zone"] == ["Europe/Berlin", "config.toml"]
    assert shown["database.url"] == ["postgresql://me:***@host/db", "GAIA_DATABASE_URL"]
    assert shown["environments.count"] == ["5", "default"]


def test_settings_that_are_wrong(cli: CommandLine) -> None:
    said = cli("config", "--json", GAIA_SERVER_PORT="x")
    assert said.code == 1
    assert said.data["settings"]["server.port"] == {"value": "8080", "origin": "default"}
    assert said.data["problems"][0]["key"] == "server.port"
    assert "GAIA_SERVER_PORT: expected a whole number" in said.err
