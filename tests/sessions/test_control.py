"""Typing into a session, reading it, ending it; and every reason not to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings

from common.errors import Conflict, InvalidInput, NotFound
from environments.models import Environment
from environments.signals import environment_removing
from events.models import Event
from sessions import reconcile
from sessions.actions import control, start
from sessions.models import Session
from sessions.states import SessionState
from tests.sessions.by_hand import Tmux, install
from tests.waiting import until


@pytest.fixture
def mine(db: None, acting: str, tmux: Tmux) -> Session:
    return start.create("mine")


def test_text_and_keys_arrive(mine: Session, agents: Path) -> None:
    control.send_keys(mine, "echo typed-$((40 + 2))")
    until(lambda: "typed-42" in control.capture(mine))
    control.send_keys(mine, "echo not-yet", enter=False)
    until(lambda: "echo not-yet" in control.capture(mine))
    control.send_key(mine, "Enter")
    until(lambda: control.capture(mine).count("not-yet") == 2)
    control.send_keys(mine, "cat")
    control.send_keys(mine, "")
    control.send_key(mine, "C-c")
    control.send_keys(mine, "echo $? later")
    until(lambda: "130 later" in control.capture(mine))
    told = list(Event.objects.filter(kind__startswith="session.key").order_by("id").values_list("message", flat=True))
    assert told[:3] == ["22 characters go to mine", "12 characters go to mine", "Enter goes to mine"]
    assert "typed-" not in repr(list(Event.objects.values()))  # what is typed may be a password


def test_scrollback_and_colours(mine: Session) -> None:
    control.send_keys(mine, r"for i in $(seq 300); do echo line-$i; done; printf '\033[31mred\033[0m\n'")
    until(lambda: "red" in control.capture(mine))
    assert "line-5\n" not in control.capture(mine)
    assert "line-5\n" in control.capture(mine, lines=1000)
    assert "\x1b[31mred" in control.capture(mine, ansi=True)


def test_text_of_several_lines_reaches_an_agent_whole(db: None, acting: str, tmux: Tmux, agents: Path) -> None:
    install(agents, "claude")
    start.start_fleet(only=["architect"])
    architect = control.find("architect")
    text = "first\nsecond \x1b[201~ third\nfourth"
    control.send_keys(architect, text)
    until(lambda: "got: fourth" in control.capture(architect))
    assert "got: first\n" in control.capture(architect)
    assert "got: second [201~ third\n" in control.capture(architect)


@pytest.mark.parametrize(
    ("text", "enter", "says"),
    [("", False, "nothing to send"), ("x" * (control.MAX_TEXT + 1), True, "at most 200000 can be sent")],
)
def test_what_cannot_be_sent(mine: Session, text: str, enter: bool, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        control.send_keys(mine, text, enter=enter)


def test_a_key_that_is_none(mine: Session) -> None:
    with pytest.raises(InvalidInput, match="not a key"):
        control.send_key(mine, "rm -rf")


@pytest.mark.parametrize("lines", [-1, 50_001])
def test_a_bad_number_of_lines(mine: Session, lines: int) -> None:
    with pytest.raises(InvalidInput, match="lines must be"):
        control.capture(mine, lines=lines)


def test_unknown(db: None, acting: str, tmux: Tmux) -> None:
    with pytest.raises(NotFound, match="there is no session 'nobody'"):
        control.find("nobody")


def test_one_that_has_ended(mine: Session) -> None:
    assert control.stop([mine]) == ["mine"]
    assert control.stop([control.find("mine")]) == []
    ended = control.find("mine")
    assert ended.state == SessionState.STOPPED
    verbs = (
        lambda: control.send_keys(ended, "x"),
        lambda: control.send_key(ended, "Enter"),
        lambda: control.capture(ended),
    )
    for verb in verbs:
        with pytest.raises(Conflict, match="session mine is stopped") as caught:
            verb()
        assert "gaia session start mine" in caught.value.fix


def test_one_that_vanished_a_moment_ago(mine: Session, tmux: Tmux) -> None:
    tmux("kill-session", "-t", "=mine")
    with pytest.raises(Conflict, match="tmux does not have session mine"):
        control.send_keys(mine, "x")


def test_after_a_restart_of_tmux_nothing_reaches_whoever_has_its_pane_now(mine: Session, tmux: Tmux) -> None:
    tmux("kill-server")
    until(lambda: tmux.server.snapshot().server is None)
    other = tmux("new-session", "-d", "-P", "-F", "#{pane_id}", "-s", "other", "/bin/cat").strip()
    assert other == mine.tmux_pane  # the next server counts from the beginning
    with pytest.raises(Conflict):
        control.send_keys(mine, "secret")
    with pytest.raises(Conflict):
        control.capture(mine)
    assert control.stop([mine]) == ["mine"]
    assert tmux.names() == ["other"]
    assert "secret" not in tmux("capture-pane", "-p", "-t", other)


def test_typing_into_what_was_respawned_before_anybody_looked(mine: Session, tmux: Tmux) -> None:
    control.send_keys(mine, "exit")
    until(lambda: reconcile.look() or control.find("mine").state == SessionState.EXITED)
    tmux("respawn-pane", "-t", "=mine:", "/bin/cat")
    control.send_keys(control.find("mine"), "hello")
    until(lambda: control.capture(mine).count("hello") == 2)


def test_an_environments_removal_ends_what_works_in_it(
    acting: str, tmux: Tmux, make_environments: Callable[..., list[Environment]]
) -> None:
    first, second = make_environments(2)
    inside = Path(first.path, "src")
    inside.mkdir()
    start.create("by-name", environment=first)
    start.create("by-directory", cwd=str(inside))
    start.create("elsewhere", environment=second)
    environment_removing.send(sender=None, environment=first)
    assert tmux.names() == ["elsewhere"]


def test_all_of_it(db: None, acting: str, tmux: Tmux) -> None:
    start.start_fleet(group="pr_review")
    tmux("new-session", "-d", "-s", "a-strangers", "/bin/cat")
    assert control.stop_everything() == 3
    assert tmux.server.snapshot().server is None
    assert set(Session.objects.values_list("state", flat=True)) == {"stopped"}
    assert control.stop_everything() == 0


def test_the_homes_directories_are_private(mine: Session) -> None:
    assert Path(mine.cwd) == settings.GAIA.home.root / "workspaces" / "mine"
    assert Path(mine.cwd).parent.stat().st_mode & 0o777 == 0o700
