"""`gaia notify` and `gaia schedule`, as a person and as a script calls them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.events.receivers import web_receiver
from tests.gaia_site.command_line import CommandLine


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[CommandLine]:
    home = tmp_path / "home"
    line = CommandLine(tmp_path, GAIA_HOME=str(home))
    yield line
    line.end()


def test_destinations(cli: CommandLine) -> None:
    assert "Add a destination: gaia notify add" in cli("notify", "list").out
    with web_receiver() as receiver:
        made = cli("notify", "add", "ops", receiver.url, "--events", "*.failed", "--sign", "--json")
        assert made.data["address"] == receiver.url.replace("/hook", "/…")
        assert len(made.data["secret"]) == 32
        assert cli("notify", "test", "ops").lines[0].startswith("ops took the test in ")
        assert receiver.got[0].headers["X-Gaia-Event"] == "notification.test"
        receiver.answer = lambda number: (500, "full")
        refused = cli("notify", "test", "ops", "--json")
        assert (refused.code, refused.data["problem"]) == (6, "127.0.0.1 answered 500: full")
        assert "127.0.0.1 answered 500: full" in cli("notify", "test", "ops").mistake(6)[0]
    changed = cli("notify", "set", "ops", "--level", "error", "--secret", "-", "--json", stdin="0123456789abcdef\n")
    assert (changed.data["level"], changed.data["events"], changed.data["signed"]) == ("error", "*.failed", True)
    cli("notify", "set", "ops").mistake(2)
    assert cli("notify", "off", "ops").out == "ops is told of nothing any more.\n"
    assert cli("notify", "on", "ops", "--json").data["enabled"] is True
    listed = cli("notify", "list")
    assert "*.failed from level error on" in listed.out
    assert cli("notify", "list", "--json").data[0]["name"] == "ops"
    assert cli("notify", "log", "--failed", "--destination", "ops", "--json").data == []
    assert cli("notify", "retry", "ops", "--json").data == {"retried": 0}
    assert cli("notify", "remove", "ops", "--yes").out == "ops was removed.\n"
    read = cli("notify", "add", "ops", "-", "--secret", "-", "--json", stdin="https://x.org/T0\n0123456789abcdef\n")
    assert (read.data["address"], read.data["signed"]) == ("https://x.org/…", True)
    read = cli("notify", "set", "ops", "--address", "-", "--json", stdin="https://y.org/T1\n")
    assert read.data["address"] == "https://y.org/…"
    assert cli("notify", "remove", "ops", "--yes").out == "ops was removed.\n"
    assert "there is no destination 'ops'" in cli("notify", "test", "ops").mistake(3)[0]
    assert "cloud machines" in cli("notify", "add", "ops", "http://169.254.169.254/").mistake(2)[0]


def test_schedules(cli: CommandLine) -> None:
    assert "gaia up makes those" in cli("schedule", "list").out
    assert "no schedule 'purge-trash'" in cli("schedule", "run", "purge-trash").mistake(3)[0]
    done = cli("manage", "shell", "-c", _MAKE)
    assert done.code == 0, done
    listed = cli("schedule", "list")
    assert "Deletes what has been in the trash" in listed.out
    preview = cli("schedule", "set", "purge-trash", "daily", "at", "04:30", "--dry-run")
    assert preview.out.count(" 04:30\n") == 3
    assert cli("schedule", "set", "purge-trash", "daily at 04:30", "--json").data["when"] == "daily at 04:30"
    cli("schedule", "set", "purge-trash", "soon").mistake(2)
    assert cli("schedule", "off", "purge-trash").out == "purge-trash is off.\n"
    assert cli("schedule", "on", "purge-trash", "--json").data["enabled"] is True
    run = cli("schedule", "run", "purge-trash")
    assert (run.out, run.code) == ("purge-trash runs as soon as a worker is free.\n", 0)
    assert run.err.startswith("GAIA is down"), "and nothing of the queue itself"
    cli("schedule", "run", "purge-trash").mistake(4)
    one = next(each for each in cli("schedule", "list", "--json").data if each["name"] == "purge-trash")
    assert one["state"] == "queued"


_MAKE = """
from events.actor import acting_as
from gaia_site.schedules import ensure_schedules
with acting_as("cli:tester"):
    ensure_schedules()
"""
