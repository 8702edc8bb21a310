"""`gaia session …`, `gaia attach`, `gaia tmux`: what they print, as text and as data, and their exit codes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sessions.actions import control
from sessions.models import Session
from sessions.states import SessionState
from tests.gaia_site.command_line import CommandLine
from tests.waiting import until


@pytest.fixture
def agents(cli: CommandLine) -> Path:
    directory = Path(cli.environ["GAIA_SESSIONS_PATH"])
    directory.mkdir()
    return directory


def install(directory: Path, name: str) -> None:
    (directory / name).write_text('#!/bin/sh\nwhile read -r line; do echo "got: $line"; done\n')
    (directory / name).chmod(0o755)


def shown(name: str) -> str:
    return control.capture(control.find(name))


def test_start_and_stop(cli: CommandLine, agents: Path) -> None:
    install(agents, "claude")
    said = cli("session", "start")
    assert said.code == 0
    assert said.lines[0] == "26 sessions started, 0 already ran: 26 in all."
    assert "codex is not installed" in said.out
    assert "claude is not installed" not in said.out
    assert "environment dev1 is not set up" in said.out
    assert all(len(line) <= 80 for line in said.lines)
    assert cli("session", "start").lines == ["26 sessions already run, none was started."]
    data = cli("session", "start", "--json").data
    assert (data["started"], len(data["already"])) == ([], 26)
    assert cli("session", "stop", "--group", "PR Review", "--json").data["stopped"] == [
        "pr_review1",
        "pr_review2",
        "pr_review3",
    ]
    assert cli("session", "stop", "architect", "--only", "foundation, inspector").out == "3 sessions ended.\n"
    assert cli("session", "stop").out == "20 sessions ended.\n"  # no terminal, nobody is asked
    assert cli("session", "stop").out == "0 sessions ended.\n"


def test_on_a_terminal_it_asks_before_it_ends_a_group(cli: CommandLine) -> None:
    for answer, code, left in (("n", 7, 3), ("", 7, 3), ("y", 0, 0), ("YES", 0, 0)):
        cli("session", "start", "--group", "prr")  # those that do not run
        terminal = cli.on_a_terminal("session", "stop", "--group", "prr")
        terminal.until("End the 3 sessions of group prr and what runs in them? [y/N]")
        terminal.type(f"{answer}\n")
        assert terminal.end() == code
        assert Session.objects.live().count() == left


def test_who_names_them_or_says_yes_is_not_asked(cli: CommandLine) -> None:
    cli("session", "start", "--group", "prr")
    for words in (("pr_review1",), ("--yes",), ()):  # the last time there is nothing to end
        terminal = cli.on_a_terminal("session", "stop", "--group", "prr", *words)
        assert terminal.end() == 0
        assert "[y/N]" not in terminal.shown


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["start", "--group", "nowhere"], 3, "the fleet has no group 'nowhere'"),
        (["start", "nobody"], 3, "the fleet has no session nobody"),
        (["start", "--project", "nowhere"], 3, "there is no project"),
        (["stop", "nobody"], 3, "the fleet has no session nobody"),
        (["destroy", "nobody"], 3, "there is no session 'nobody'"),
        (["send", "nobody", "x"], 3, "there is no session 'nobody'"),
        (["capture", "nobody"], 3, "there is no session 'nobody'"),
        (["create", "two words"], 2, "'two words' is not a valid session name"),
        (["create", "../up"], 2, "'../up' is not a valid session name"),
        (["create", "a:b"], 2, "'a:b' is not a valid session name"),
        (["create", "a.b"], 2, "'a.b' is not a valid session name"),
        (["create", "fine", "--provider", "nobody"], 3, "there is no provider 'nobody'"),
        (["create", "fine", "--group", "nowhere"], 3, "there is no group 'nowhere'"),
        (["create", "fine", "--cwd", "not/there"], 2, "not/there is not a directory"),
        (["create", "fine", "--environment", "dev9"], 3, "there is no environment 'dev9'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done(cli: CommandLine, words: list[str], code: int, says: str) -> None:
    said = cli("session", *words, "--json")
    assert says in said.mistake(code)[0]
    assert says in said.data["error"]["what"]


def test_one_of_ones_own(cli: CommandLine, agents: Path, tmp_path: Path) -> None:
    install(agents, "codex")
    (tmp_path / "work here").mkdir()
    options = ["--provider", "codex", "--cwd", "work here", "--role", "notes", "--group", "existing"]
    said = cli("session", "create", "mine", *options)
    assert said.lines == [f"Session mine runs in {tmp_path}/work here", "  Attach: gaia attach mine"]
    assert "session mine already runs" in cli("session", "create", "mine").mistake(4)[0]
    shell = cli("session", "create", "other", "--provider", "claude", "--json").data
    assert (shell["runs"], shell["state"]) == ("shell", "running")
    assert "claude is not installed" in shell["reason"]
    assert cli("session", "send", "mine", "hello", "there").out == ""
    until(lambda: "got: hello there" in shown("mine"))
    assert "got: hello there" in cli("session", "capture", "mine").out
    assert cli("session", "send", "mine", "-", stdin="from a\nfile\n", cwd=tmp_path).code == 0
    until(lambda: "got: file" in shown("mine"))
    assert "got: from a" in cli("session", "capture", "mine", "--json").data["text"]
    assert cli("session", "send", "mine", "--no-enter", "half", "--json").data == {"sent": True, "session": "mine"}
    assert cli("session", "send", "mine", "--key", "Enter").code == 0
    until(lambda: "got: half" in shown("mine"))
    assert "got: half" in cli("session", "capture", "mine", "--lines", "10", "--ansi").out
    assert "'nonsense' is not a key" in cli("session", "send", "mine", "--key", "nonsense").mistake(2)[0]
    listed = cli("session", "list")
    assert "mine                codex   codex" in listed.out
    assert "other               claude  shell" in listed.out
    assert "claude is not installed (looked for: claude); a shell runs instead: other" in listed.out
    assert all(len(line) <= 80 for line in listed.lines)
    assert cli("session", "destroy", "mine", "other").out == "Ended: mine, other\n"
    assert cli("session", "destroy", "mine", "--json").data == {"stopped": [], "had_ended": ["mine"]}
    assert [one["name"] for one in cli("session", "list", "--ended", "--json").data] == ["other", "mine"]
    assert "session mine is stopped" in cli("session", "send", "mine", "x").mistake(4)[0]
    assert cli("session", "list").out == "No sessions. Start the fleet: gaia session start\n"


def test_destroy_ends_nothing_when_one_name_is_wrong(cli: CommandLine) -> None:
    cli("session", "create", "mine")
    cli("session", "destroy", "mine", "nobody").mistake(3)
    assert Session.objects.live().count() == 1


def test_text_of_two_hundred_thousand_characters_is_too_long(cli: CommandLine) -> None:
    cli("session", "create", "mine")
    assert "at most 200000" in cli("session", "send", "mine", "-", stdin="x" * 200_001).mistake(2)[0]


def test_without_a_daemon_the_list_is_looked_at_now(cli: CommandLine) -> None:
    cli("session", "create", "mine")
    assert cli("tmux", "list-sessions", "-F", "#{session_name}").out == "mine\n"
    cli("tmux", "rename-session", "-t", "=mine", "yours")
    assert "called yours in tmux: mine" in cli("session", "list").out
    cli("tmux", "kill-session", "-t", "=yours")
    assert cli("session", "list", "--json").data == []
    assert Session.objects.get().state == SessionState.GONE


def test_attach(cli: CommandLine) -> None:
    cli("session", "create", "mine")
    terminal = cli.on_a_terminal("attach", "mine")
    terminal.until("mine")
    terminal.type("echo attached-$((40 + 2))\r")
    terminal.until("attached-42")
    cli("tmux", "detach-client", "-s", "=mine")
    assert terminal.end() == 0
    data = cli("attach", "mine", "--json").data
    assert data["session"] == "mine"
    assert "attach-session" in data["argv"]
    assert "attaching needs a terminal" in cli("attach", "mine").mistake(2)[0]
    cli("session", "destroy", "mine")
    assert "session mine is stopped" in cli("attach", "mine").mistake(4)[0]
    assert "there is no session 'nobody'" in cli("attach", "nobody").mistake(3)[0]


def without(tmp_path: Path, *names: str) -> str:
    """A PATH with what the command line needs except these."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in {"sh", "cmp", "git", "tmux", "cat", "sleep", "env"} - set(names):
        (directory / name).symlink_to(str(shutil.which(name)))
    return str(directory)


@pytest.mark.parametrize(
    "words", [("session", "start"), ("up", "--detach"), ("session", "create", "x"), ("group-status",)]
)
def test_without_tmux(cli: CommandLine, tmp_path: Path, words: tuple[str, ...]) -> None:
    lines = cli(*words, PATH=without(tmp_path, "tmux")).mistake(6)
    assert lines[0] == "gaia: tmux is not installed"
    assert lines[-1].startswith("  Install it: ")


def test_with_an_old_tmux(cli: CommandLine, tmp_path: Path) -> None:
    path = without(tmp_path, "tmux")
    Path(path, "tmux").write_text("#!/bin/sh\necho tmux 3.1c\n")
    Path(path, "tmux").chmod(0o755)
    for words in (("session", "start"), ("up", "--detach")):
        lines = cli(*words, PATH=path).mistake(6)
        assert lines[0] == "gaia: tmux is too old: tmux 3.1c"
        assert "3.2 or newer" in lines[1]


def test_with_a_tmux_that_hangs(cli: CommandLine, tmp_path: Path) -> None:
    path = without(tmp_path, "tmux")
    Path(path, "tmux").write_text('#!/bin/sh\n[ "$1" = -V ] && echo tmux 3.3a || exec sleep 1000\n')
    Path(path, "tmux").chmod(0o755)
    assert "tmux did not answer within 2 s" in cli("session", "list", PATH=path).mistake(6)[0]


def test_two_starts_at_once(cli: CommandLine) -> None:
    both = [cli.start("session", "start", "--json"), cli.start("session", "start", "--json")]
    answers = [process.communicate(timeout=90) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    assert Session.objects.live().count() == 26


def test_the_management_commands(cli: CommandLine) -> None:
    assert cli.manage("start_sessions", "--group", "prr").lines[0].startswith("3 sessions started")
    assert cli.manage("start_sessions", "--stop", "--only", "pr_review1").lines == ["1 sessions ended."]
    assert cli.manage("stop_sessions").lines == ["2 sessions ended."]


@pytest.fixture
def look(cli: CommandLine) -> Callable[[], list[str]]:
    return lambda: cli("group-status").lines


def test_every_session_line_and_no_other_carries_its_group(cli: CommandLine, look: Callable[[], list[str]]) -> None:
    cli("session", "start")
    lines = look()
    counts = {label: sum(label in line for line in lines) for label in LABELS}
    assert counts == LABELS
    cli("session", "stop", "dev2_worker")
    lines = look()
    assert sum("Dev Environment Workers" in line for line in lines) == 4
    assert lines[-1] == "Not running (gaia session start): dev2_worker"
    assert all(len(line) <= 80 for line in lines)


LABELS = {
    "High-Level": 6,
    "Dev Environment": 5,
    "Dev Environment Workers": 5,
    "PR Review": 3,
    "PR Implementation": 4,
    "PR Integration": 3,
    "Existing Workers": 5,
    "Other": 0,
}
