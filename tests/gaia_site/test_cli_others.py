"""The command line and sessions that GAIA did not start: seen in their groups, told apart, adopted and let go."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sessions.models import Session
from tests.gaia_site.command_line import CommandLine
from tests.sessions.strangers import Stranger
from tests.waiting import until


@pytest.fixture
def stranger(cli: CommandLine) -> Iterator[Stranger]:
    directory = Path(tempfile.mkdtemp(prefix="gaia-t-"))
    cli.environ["GAIA_SESSIONS_SOCKET_DIRS"] = str(directory)
    server = Stranger(directory / "default")
    yield server
    server.end()
    shutil.rmtree(directory)


def test_seen_adopted_and_let_go(cli: CommandLine, stranger: Stranger) -> None:
    for name in ("dev1_worker", "pr_review1", "my project"):
        stranger.new(name, "/bin/cat", "-u")
    cli("session", "start", "--group", "prr")
    lines = cli("--group-status").lines
    assert all(len(line) <= 80 for line in lines)
    assert sum("PR Review" in line for line in lines) == 4
    marked = [line.split()[2] for line in lines if line.split()[3:4] == ["◇"]]
    assert marked == ["dev1_worker", "pr_review1", "my-project"]
    assert "3 sessions, 3 running: PRR 3" in lines
    assert "3 not GAIA's, marked ◇: it only looks at them (gaia session adopt NAME)" in lines
    assert "2 do not run what they should (gaia session list says why)" in lines
    assert "PRR  3/3  pr_review1 (claude), pr_review2 (claude)" in cli("--multi-env-status").out
    assert "3 sessions" in cli("status").out
    listed = " ".join(cli("session", "list").out.split())
    assert f"not GAIA's, on {stranger.socket} (gaia session adopt NAME): dev1_worker," in listed
    assert "called my project in tmux: my-project" in listed
    assert "ollama should run here, but cat does: dev1_worker" in listed

    assert cli("session", "send", "dev1_worker", "x").mistake(4) == [
        "gaia: session dev1_worker is not GAIA's",
        f"  Somebody else started it, on {stranger.socket}: GAIA looks at it and changes nothing.",
        "  Adopt it first: gaia session adopt dev1_worker.",
    ]
    assert "session pr_review1 already runs" in cli("session", "adopt", "pr_review1").mistake(4)[0]
    said = cli("session", "adopt", "my project", "--socket", "default", "--as", "project", "--group", "existing")
    assert said.lines[0] == "Session project is adopted: GAIA can type into it, and end it when you say so."
    data = cli("session", "adopt", "dev1_worker", "--json").data
    assert (data["origin"], data["group"], data["socket"]) == ("adopted", "dev_workers", str(stranger.socket))
    cli("session", "send", "project", "hello")
    until(lambda: cli("session", "capture", "project", "--socket", str(stranger.socket)).out.count("hello") == 2)
    assert cli("attach", "project", "--json").data["argv"][1:4] == ["-N", "-S", str(stranger.socket)]
    assert "5 sessions" in cli("status").out

    assert cli("session", "release", "project").out == "Session my-project is let go: GAIA only looks at it.\n"
    assert cli("session", "release", "dev1_worker", "--json").data["origin"] == "foreign"
    assert "is not adopted" in cli("session", "release", "pr_review2").mistake(4)[0]
    assert "there is no session 'nobody' of others" in cli("session", "adopt", "nobody").mistake(3)[0]
    assert stranger("list-sessions", "-F", "#{session_name}").split("\n") == ["dev1_worker", "my project", "pr_review1"]


def test_down_leaves_them_alone(cli: CommandLine, stranger: Stranger) -> None:
    stranger.new("one")
    stranger.new("two")
    cli("session", "adopt", "one")
    cli("down", "--all")
    assert stranger("list-sessions", "-F", "#{session_name}").split() == ["one", "two"]
    assert set(Session.objects.live().values_list("name", "origin")) == {("one", "adopted"), ("two", "foreign")}
