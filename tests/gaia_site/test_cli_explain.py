"""`gaia session explain` of a session that runs, and of a screen on standard input."""

from __future__ import annotations

from pathlib import Path

from tests.gaia_site.command_line import CommandLine
from tests.sessions.screens import HERE, screen
from tests.waiting import until

ASKS = """#!/bin/sh
cat "$0.screen"
read -r answer"""


def test_a_session_that_asks(cli: CommandLine) -> None:
    directory = Path(cli.environ["GAIA_SESSIONS_PATH"])
    directory.mkdir()
    (directory / "claude").write_text(ASKS)
    (directory / "claude").chmod(0o755)
    (directory / "claude.screen").write_text(screen("claude-80x24-shell").rstrip())
    cli("session", "create", "asks", "--provider", "claude")
    until(lambda: "to amend" in cli("session", "explain", "asks").out)
    told = cli("session", "explain", "asks", "--json").data
    assert (told["session"], told["rule"], told["runs"]) == ("asks", "permission", "agent")
    lines = cli("session", "explain", "asks").lines
    assert lines[:3] == [
        "asks: waiting",
        "  source  screen, rule permission, version 1 of claude's",
        "  seen    Do you want to proceed?",
    ]
    assert lines[-1] == "  │  Esc to cancel · Tab to amend · ctrl+e to explain"
    assert "there is no session 'nobody'" in cli("session", "explain", "nobody").mistake(3)[0]


def test_a_screen_on_standard_input_and_in_a_file(cli: CommandLine) -> None:
    words = ("--screen", "-", "--provider", "codex", "--title", "⠼ shop", "--json")
    assert cli("session", "explain", *words, stdin=screen("codex-120x40-streaming")).data == {
        "provider": "codex",
        "state": "working",
        "source": "title",
        "rule": "title",
        "version": 1,
        "seen": "⠼ shop",
    }
    said = cli("session", "explain", "--screen", HERE / "gemini-120x40-trust.txt", "--provider", "gemini")
    assert said.lines[0] == "gemini: dialog"
