"""Adopting a session that GAIA did not start, working with it, and letting it go: its program notices nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import Conflict, InvalidInput, NotFound
from environments.models import Environment
from events.models import Event
from sessions import others
from sessions.actions import adoption, control, record, start
from sessions.drivers.tmux import TmuxHung
from sessions.drivers.tmux_others import OtherServer
from sessions.models import Session
from sessions.server import home_mark
from sessions.states import Origin, SessionState
from tests.sessions.by_hand import Tmux, install
from tests.sessions.strangers import Stranger
from tests.waiting import until

Make = Callable[..., Stranger]


@pytest.fixture(autouse=True)
def _acting(db: None, acting: str) -> None:
    pass


def adopted(which: str, **wanted: str) -> Session:
    return adoption.adopt(adoption.find_foreign(which), **wanted)  # type: ignore[arg-type]  # texts only


def process(pid: int | None) -> tuple[str, ...]:
    """All of a process that would show that somebody had touched it."""
    at = Path(f"/proc/{pid}")
    start_time = (at / "stat").read_text().rpartition(")")[2].split()[19]
    return start_time, (at / "environ").read_text(), (at / "cmdline").read_text(), str((at / "cwd").readlink())


def marks(server: Stranger) -> str:
    return server("list-panes", "-a", "-F", "#{@gaia_id}#{@gaia_home}").replace("\n", "")


def test_adopted_worked_with_and_let_go(stranger: Make, agents: Path) -> None:
    claude = install(agents, "claude", 'trap "echo resized" WINCH; while read -r line; do echo "got: $line"; done')
    server = stranger("default")
    server.new("pr_review1", "/bin/sh", str(claude), cwd="/tmp")
    others.look()
    row = control.find("pr_review1")
    before, whole, screen = process(row.pane_pid), server.state(), control.capture(row)

    session = adopted("pr_review1", role="review")
    assert session.pk == row.pk
    assert (session.origin, session.group, session.provider, session.runs) == (
        "adopted",
        "pr_review",
        "claude",
        "agent",
    )
    assert server("show-options", "-p", "-t", "%0") == f"@gaia_home {home_mark()}\n@gaia_id {session.gaia_id}"
    assert control.capture(session) == screen
    control.send_keys(session, "hello there")
    until(lambda: "got: hello there" in control.capture(session))
    control.send_key(session, "Enter")
    argv = control.attach_argv(session)
    assert argv[1:] == ["-N", "-S", str(server.socket), "attach-session", "-E", "-t", session.tmux_session]
    others.look()
    assert control.find("pr_review1").origin == Origin.ADOPTED

    adoption.release(control.find("pr_review1"))
    others.look()
    row.refresh_from_db()
    assert (row.origin, row.role, row.state) == (Origin.FOREIGN, "", SessionState.RUNNING)
    assert server.state() == whole
    assert process(row.pane_pid) == before
    assert "resized" not in control.capture(row)
    with pytest.raises(Conflict, match="not GAIA's"):
        control.send_keys(row, "x")
    told = Event.objects.filter(kind__in=["session.adopted", "session.released"]).order_by("id")
    assert [(event.kind, event.subject, event.actor) for event in told] == [
        ("session.adopted", "session/pr_review1", "user:tester"),
        ("session.released", "session/pr_review1", "user:tester"),
    ]
    assert told[0].data["seen_as"] == "session/pr_review1@default"


def test_with_a_terminal_attached_nothing_is_resized(stranger: Make) -> None:
    server = stranger("default")
    server.new("one", "/bin/sh")
    inner = stranger("inner")  # a tmux in a tmux: a real terminal of a certain size
    inner.new("terminal", "env", "-u", "TMUX", "tmux", "-S", str(server.socket), "attach-session", "-t", "=one")
    until(lambda: server("list-clients"))
    until(lambda: server("display-message", "-p", "-t", "=one:", "#{pane_width}") == "90")
    size = server("display-message", "-p", "-t", "=one:", "#{pane_width}x#{pane_height} #{session_attached}")
    control.capture(adopted("one"))
    adoption.release(control.find("one"))
    assert server("display-message", "-p", "-t", "=one:", "#{pane_width}x#{pane_height} #{session_attached}") == size


def test_ended_it_is_its_pane_and_all_that_ran_in_it(stranger: Make) -> None:
    server = stranger("default", "beside")
    pane = server.new("one", "/bin/sh", "-c", "trap '' HUP; sleep 1000 & wait")
    server("split-window", "-t", "=one:", "/bin/cat", "-u")
    session = adopted("one")
    assert session.tmux_pane == pane
    assert control.stop([session]) == ["one"]
    session.refresh_from_db()
    assert session.state == SessionState.STOPPED
    assert not Path(f"/proc/{session.pane_pid}").exists()
    others.look()
    left = {row.name: (row.origin, row.panes) for row in Session.objects.live()}
    assert left == {"one": (Origin.FOREIGN, 1), "beside": (Origin.FOREIGN, 1)}, (
        "another pane of its session is not GAIA's"
    )
    assert marks(server) == ""


def test_who_was_killed_while_ending_one_is_finished_for(stranger: Make) -> None:
    server = stranger("default", "one", "beside")
    session = adopted("one")
    record.request_stop([session])  # and then: kill -9
    others.look()
    session.refresh_from_db()
    assert session.state == SessionState.STOPPED
    assert server("list-sessions", "-F", "#{session_name}") == "beside"


def test_closed_outside_it_is_gone_and_a_new_one_of_its_name_is_a_stranger(stranger: Make) -> None:
    server = stranger("default", "beside", "one")
    session = adopted("one")
    server("kill-session", "-t", "=one")
    server.new("one")
    others.look()
    session.refresh_from_db()
    assert (session.state, session.problem) == (SessionState.GONE, "its pane was closed or moved")
    assert control.find("one").origin == Origin.FOREIGN
    with pytest.raises(Conflict):
        control.send_keys(session, "secret")


def test_after_a_restart_of_its_server_nothing_reaches_who_has_its_pane_now(stranger: Make) -> None:
    server = stranger("default", "one")
    session = adopted("one")
    server("kill-server")
    until(lambda: not server._pids())
    assert server.new("one") == session.tmux_pane
    for verb in (lambda: control.send_keys(session, "secret"), lambda: control.capture(session)):
        with pytest.raises(Conflict, match="tmux does not have session one"):
            verb()
    assert control.stop([session]) == ["one"]
    assert server("list-sessions", "-F", "#{session_name}") == "one"
    assert "secret" not in server("capture-pane", "-p", "-t", "%0")


def test_what_is_another_by_now_is_not_adopted(stranger: Make) -> None:
    server = stranger("default", "one", "two", "three")
    others.look()
    one, two, three = map(control.find, ("one", "two", "three"))
    server("respawn-pane", "-k", "-t", "=one:", "/bin/cat", "-u")
    server("kill-session", "-t", "=two")
    server.new("two")
    server("split-window", "-t", "=three:", "/bin/cat", "-u")
    server("kill-pane", "-t", three.tmux_pane)
    for row in (one, two, three):
        with pytest.raises(Conflict, match="is not what it was a moment ago"):
            adoption.adopt(row)
    assert marks(server) == ""
    assert adopted("one").origin == Origin.ADOPTED, "who looks again sees what there is"


def test_between_look_and_mark_tmux_itself_judges(stranger: Make) -> None:
    server = stranger("default", "one")
    others.look()
    row = control.find("one")
    driver = OtherServer(server.socket)
    with pytest.raises(NotFound, match="there is no pane %0"):
        driver.mark("%0", f"{row.tmux_server_pid}/{row.tmux_server_started}/{(row.pane_pid or 0) + 1}", "id", "home")
    assert marks(server) == ""


def test_one_that_another_gaia_has_is_left_to_it(stranger: Make) -> None:
    server = stranger("default", "one")
    server("set-option", "-p", "-t", "%0", "@gaia_id", "abc")
    server("set-option", "-p", "-t", "%0", "@gaia_home", "gaia-ffffffffff")
    before = server.state()
    with pytest.raises(Conflict, match="another GAIA has adopted this session"):
        adopted("one")
    others.look()
    assert server.state() == before


@pytest.mark.parametrize("killed", ["adopting", "letting go"])
def test_who_was_killed_on_the_way_leaves_no_mark(stranger: Make, killed: str) -> None:
    server = stranger("default", "one")
    others.look()
    row = control.find("one")
    facts = OtherServer(server.socket).look()
    assert facts.server is not None
    pane = facts.sessions[row.tmux_session][0]
    if killed == "adopting":
        OtherServer(server.socket).mark(pane.pane_id, pane.process(facts.server), row.gaia_id, home_mark())
    else:
        adopted("one")
        Session.objects.filter(pk=row.pk).update(origin=Origin.FOREIGN)
    assert marks(server)
    others.look()
    assert marks(server) == ""
    assert control.find("one").origin == Origin.FOREIGN
    assert adopted("one").origin == Origin.ADOPTED


def test_whoever_takes_the_mark_off_lets_it_go(stranger: Make) -> None:
    server = stranger("default", "one")
    adopted("one")
    server("set-option", "-p", "-u", "-t", "%0", "@gaia_id")
    server("set-option", "-p", "-u", "-t", "%0", "@gaia_home")
    others.look()
    assert control.find("one").origin == Origin.FOREIGN
    assert "somebody took GAIA's mark off" in Event.objects.get(kind="session.released").message


def test_a_lost_database_lets_all_of_them_go(stranger: Make) -> None:
    server = stranger("default", "one")
    adopted("one")
    Session.objects.all().delete()
    others.look()
    assert control.find("one").origin == Origin.FOREIGN
    assert marks(server) == ""


def test_names(stranger: Make, tmux: Tmux) -> None:
    stranger("default", "pr_review1", "my project", "beside", "start")
    start.start_fleet(only=["pr_review1"])
    with pytest.raises(Conflict, match="session pr_review1 already runs") as caught:
        adopted("pr_review1")
    assert caught.value.fix == "Give it another name: --as NAME."
    with pytest.raises(InvalidInput, match="cannot be called start"):
        adopted("start")
    with pytest.raises(InvalidInput, match="'no way' is not a valid session name"):
        adopted("beside", name="no way")
    assert adopted("pr_review1", name="review_of_mine", group="existing").group == "existing"
    named = adopted("my project", name="project")
    assert (named.name, named.tmux_name) == ("project", "my project")
    others.look()
    assert control.find("my project").name == "project"
    assert control.find("pr_review1").origin == Origin.GAIA
    released = adoption.release(control.find("project"))
    assert (released.name, released.tmux_name) == ("my-project", "my project")


def test_one_of_the_fleets_takes_its_place(stranger: Make, tmux: Tmux) -> None:
    server = stranger("default", "architect")
    session = adopted("architect")
    assert (session.protected, session.role) == (True, "oversight")
    assert start.start_fleet(only=["architect"]).already == ["architect"]
    assert start.stop_fleet(group="high_level") == []
    assert control.stop_everything() == 0
    assert server("list-sessions", "-F", "#{session_name}") == "architect"
    assert start.stop_fleet(only=["architect"]) == ["architect"], "named, it is meant"


def test_it_belongs_to_the_environment_it_stands_in(
    stranger: Make, make_environments: Callable[..., list[Environment]]
) -> None:
    first, second = make_environments(2)
    inside = Path(first.path, "src")
    inside.mkdir()
    server = stranger("default")
    server.new("one", cwd=inside)
    server.new("two", cwd=inside)
    until(lambda: server("list-panes", "-a", "-F", "#{pane_current_path}").split() == [str(inside)] * 2)
    assert adopted("one").environment == first
    assert adoption.adopt(adoption.find_foreign("two"), environment=second).environment == second


@pytest.mark.parametrize(
    ("wanted", "error", "says"),
    [
        ({"group": "nowhere"}, NotFound, "there is no group"),
        ({"provider": "nobody"}, NotFound, "there is no provider"),
        ({"role": "x" * 61}, InvalidInput, "is not a role"),
    ],
)
def test_what_cannot_be(stranger: Make, wanted: dict[str, str], error: type[Exception], says: str) -> None:
    server = stranger("default", "one")
    with pytest.raises(error, match=says):
        adopted("one", **wanted)
    assert marks(server) == ""


def test_what_is_no_stranger(stranger: Make, tmux: Tmux) -> None:
    stranger("default", "one")
    mine = start.create("mine")
    session = adopted("one")
    for wrong, says in ((mine, "is GAIA's own"), (session, "is adopted already")):
        with pytest.raises(Conflict, match=says):
            adoption.adopt(wrong)
        with pytest.raises(Conflict, match=says):
            adoption.find_foreign(wrong.name)
    with pytest.raises(NotFound, match="there is no session 'nobody' of others"):
        adoption.find_foreign("nobody")
    with pytest.raises(Conflict, match="session mine is not adopted") as caught:
        adoption.release(mine)
    assert caught.value.fix == "To end it: gaia session destroy mine."


def test_when_its_server_hangs(stranger: Make) -> None:
    server = stranger("default", "one", "two")
    session, pid = adopted("one"), server.pid
    others.look()
    two = control.find("two")
    os.kill(pid, signal.SIGSTOP)
    adoption.release(session)  # the mark is taken off when it answers again
    os.kill(pid, signal.SIGCONT)
    others.look()
    assert marks(server) == ""
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(TmuxHung) as caught:
        control.capture(two)
    assert "gaia down" not in caught.value.fix
