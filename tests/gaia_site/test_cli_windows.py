"""`gaia session windows`, `open`, `split`, `close`, `resize`, and `gaia panic`, as text and as data."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from sessions.actions import control, windows
from sessions.models import Session
from tests.gaia_site.command_line import CommandLine
from tests.waiting import until


@pytest.fixture
def mine(cli: CommandLine) -> Session:
    cli("session", "create", "mine")
    return control.find("mine")


def test_windows(cli: CommandLine, mine: Session) -> None:
    opened = cli("session", "open", "mine", "--name", "logs", "--command", "/bin/cat -u", "--json").data
    assert set(opened) == {"window", "pane"}
    said = cli("session", "split", "mine", "--window", "1", "--beside", "--percent", "30", "--command", "cat")
    assert re.fullmatch(r"Pane %\d+ in window @\d+ of mine is open\.\n", said.out)
    lines = cli("session", "windows", "mine").lines
    assert len(lines) == 5
    assert re.fullmatch(r"window 0 \(@\d+\) \S+: 200x50, shown", lines[0])
    assert lines[1].endswith("the session's own")
    assert re.fullmatch(r"window 1 \(@\d+\) logs: 200x50", lines[2])
    cli("session", "send", "mine", "--window", "1", "--pane", "0", "over", "here")
    cli("session", "send", "mine", "--window", "1", "--key", "Enter")
    until(lambda: "over here\nover here" in windows.capture(mine, "1", "0")["text"])
    assert "over here\nover here" in cli("session", "capture", "mine", "--window", "1").out
    page = cli("session", "capture", "mine", "--pane", opened["pane"], "--before", "1", "--lines", "1", "--json").data
    assert (page["text"], page["first"], page["before"]) == ("over here", 0, None)
    assert cli("session", "resize", "mine", "--window", "1", "--width", "120", "--height", "30").code == 0
    [_, data] = cli("session", "windows", "mine", "--json").data
    assert (data["width"], len(data["panes"])) == (120, 2)
    assert cli("session", "close", "mine", "--window", "1", "--pane", "1").out == "Pane 1 of mine is closed.\n"
    assert cli("session", "close", "mine", "--window", "1").out == "Window 1 of mine is closed.\n"
    assert "gaia session destroy mine" in cli("session", "close", "mine", "--window", "0").mistake(4)[2]
    assert "no window and no pane is named" in cli("session", "close", "mine").mistake(2)[0]
    assert "no window 1" in cli("session", "split", "mine", "--window", "1").mistake(3)[0]
    assert "--before" in cli("session", "capture", "mine", "--before", "3").mistake(2)[0]
    assert "--command" in cli("session", "open", "mine", "--command", "'").mistake(2)[0]


@pytest.fixture
def _calm(transactional_db: None) -> Iterator[None]:
    yield
    from policy.models import Panic

    Panic.objects.all().delete()


@pytest.mark.usefixtures("_calm")
def test_panic(cli: CommandLine, mine: Session) -> None:
    said = cli("panic", "--status")
    assert (said.code, said.out) == (0, "No panic holds.\n")
    said = cli("panic", "an", "agent", "deletes", "things")
    assert said.lines[0].startswith("Panic: nobody can type into any session.")
    again = cli("panic", "--json").data
    assert (again["first"], again["reason"]) == (False, "an agent deletes things")
    assert cli("panic", "me, too").lines[0].startswith("A panic holds already: it is cli:")
    assert cli("panic", "--status").code == 1
    status = cli("status", "--json").data["panic"]
    assert (status["panic"], status["reason"]) == (True, "an agent deletes things")
    assert "Why: an agent deletes things" in cli("status").out
    for words in (("session", "send", "mine", "x"), ("attach", "mine", "--json"), ("tmux", "send-keys", "x")):
        told = cli(*words).mistake(5)
        assert "has declared a panic" in told[0]
        assert told[-1] == "  Once it is safe again: gaia panic --lift."
    assert "mine" in cli("tmux", "ls").out
    assert "-r" in cli("attach", "mine", "--read-only", "--json").data["argv"]
    assert cli("panic", "--lift").lines[0].endswith("is lifted: sessions take input again.")
    assert cli("panic", "--lift").out == "No panic holds.\n"
    assert cli("session", "send", "mine", "x").code == 0
    assert cli("panic", "--lift", "--status").mistake(2)
    assert cli("panic", "x", "--lift").mistake(2)
