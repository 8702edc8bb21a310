"""The monitor tells what changed since its last turn, and asks tmux for no more than it must."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sessions.drivers.control_exchange import Reply
from sessions.drivers.monitor import Changes, Monitor
from sessions.drivers.tmux import NewSession, PaneFacts, TmuxError, TmuxServer
from sessions.drivers.tmux_link import ControlLink, PlainLink, TmuxLink
from sessions.drivers.tmux_script import command
from tests.sessions.drivers.conftest import Start
from tests.waiting import PATIENCE_S, until


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Counting:
    """A link that remembers what it was asked."""

    def __init__(self, link: TmuxLink) -> None:
        self._link = link
        self.asked: list[str] = []
        self.breaks = False

    def run(self, lines: Sequence[str], *, timeout: float, repeatable: bool = False) -> list[Reply]:
        assert repeatable
        self.asked += lines
        if self.breaks:
            raise TmuxError("it failed")
        return self._link.run(lines, timeout=PATIENCE_S, repeatable=True)

    def close(self) -> None:
        self._link.close()

    def take(self) -> tuple[int, int, list[str]]:
        """How often it was asked for the cheap fields, for the dear ones, and for which screens."""
        asked, self.asked = self.asked, []
        dear = sum("pane_current_path" in line for line in asked)
        screens = [line.rsplit('"', 2)[1] for line in asked if line.startswith("capture-pane")]
        return len(asked) - dear - len(screens), dear, screens


@pytest.fixture(params=[ControlLink, PlainLink])
def link(request: pytest.FixtureRequest, server: TmuxServer) -> Iterator[Counting]:
    made = Counting(request.param(server.client))
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def monitor(link: Counting, clock: Clock) -> Monitor:
    return Monitor(link, clock=clock)


def settle(monitor: Monitor) -> None:
    """Turn until nothing changes: programs have started, and their first second is over."""
    until(lambda: not monitor.turn() and not _still_young(monitor), what="quiet")


def _still_young(monitor: Monitor) -> bool:
    seen = {pane.pane_id: pane.activity for pane in monitor.snapshot().panes}
    return any(monitor._read[pane_id][0] <= activity for pane_id, activity in seen.items())


def changed(changes: Changes) -> dict[str, set[str]]:
    return {change.pane.session_name: set(change.fields) for change in changes.changed}


def collect(monitor: Monitor, wanted: Callable[[Changes], bool]) -> Changes:
    """The first turn that tells of it; the turns before may tell of less."""
    return next(changes for changes in iter(monitor.turn, None) if wanted(changes))


def test_the_first_turn_tells_of_everything(monitor: Monitor, server: TmuxServer, start: Start) -> None:
    start("a", tags={"provider": "claude"})
    start("b")
    until(lambda: {pane.current_command for pane in server.snapshot().panes} == {"cat"})
    changes = monitor.turn()
    seen = server.snapshot()
    quiet = lambda panes: [pane._replace(activity=0) for pane in panes]  # noqa: E731
    assert quiet(changes.appeared) == quiet(seen.panes)
    assert changes.server == seen.server
    assert (changes.changed, changes.gone) == ((), ())
    assert monitor.snapshot().by_gaia_id().keys() == {"id-a", "id-b"}


def test_no_server_is_nothing(monitor: Monitor, server: TmuxServer) -> None:
    server.socket_path.parent.mkdir(mode=0o700)
    assert monitor.turn() == Changes(None)
    assert not monitor.turn()


def test_a_quiet_server_costs_one_cheap_listing(monitor: Monitor, link: Counting, clock: Clock, start: Start) -> None:
    start("a")
    start("b")
    settle(monitor)
    link.take()
    for _ in range(4):
        clock.now += 1
        assert not monitor.turn()
    assert link.take() == (4, 0, [])
    clock.now += 1
    assert not monitor.turn()
    assert link.take() == (1, 1, [])


def test_only_screens_with_output_are_read(monitor: Monitor, link: Counting, server: TmuxServer, start: Start) -> None:
    quiet, busy = start("quiet"), start("busy")
    settle(monitor)
    link.take()
    server.send_keys(busy.pane_id, "one two", enter=True)
    changes = collect(monitor, lambda found: "one two" in found.tails.get(busy.pane_id, ""))
    assert set(changes.tails) == {busy.pane_id}
    assert "one two" in monitor.tail(busy.pane_id)
    settle(monitor)
    assert quiet.pane_id not in link.take()[2]


def test_output_in_the_second_of_the_last_reading_is_not_missed(
    monitor: Monitor, server: TmuxServer, start: Start
) -> None:
    """tmux tells when a window was written to in whole seconds."""
    pane = start("a")
    settle(monitor)
    for number in range(20):
        server.send_keys(pane.pane_id, f"text {number}")
        monitor.turn()
    collect(monitor, lambda found: "text 19" in monitor.tail(pane.pane_id))


def test_a_new_session_and_one_that_ended(monitor: Monitor, server: TmuxServer, start: Start) -> None:
    first = start("a")
    settle(monitor)
    second = start("b")
    changes = monitor.turn()
    assert [(pane.session_name, pane.gaia_id) for pane in changes.appeared] == [("b", "id-b")]
    assert changes.tails.keys() == {second.pane_id}
    server.kill([first.window_id])
    changes = monitor.turn()
    assert [pane.session_name for pane in changes.gone] == ["a"]
    assert monitor.tail(first.pane_id) == ""


def test_what_a_pane_shows_of_itself(monitor: Monitor, clock: Clock, server: TmuxServer, start: Start) -> None:
    pane = start("a")
    settle(monitor)
    server.objects().cmd("select-pane", "-t", pane.pane_id, "-T", "another title")
    assert changed(monitor.turn())["a"] == {"title"}
    assert monitor.snapshot().panes[0].title == server.snapshot().panes[0].title
    server.objects().cmd("copy-mode", "-t", pane.pane_id)
    server.objects().cmd("resize-window", "-t", pane.pane_id, "-x", "90", "-y", "20")
    clock.now += 5
    changes = monitor.turn()
    assert {"in_mode", "width", "height"} <= changed(changes)["a"]
    assert pane.pane_id in monitor._read, "another size is another screen"


def test_a_program_that_ended(monitor: Monitor, server: TmuxServer, start: Start) -> None:
    pane = start("a", "/bin/sh", "-c", "read line; exit 3")
    settle(monitor)
    server.send_keys(pane.pane_id, "go", enter=True)
    collect(monitor, lambda _: monitor.snapshot().panes[0].dead_status == 3)
    assert monitor.snapshot().panes[0].dead


def test_a_rename_has_what_is_dear_looked_at(
    monitor: Monitor, link: Counting, server: TmuxServer, start: Start
) -> None:
    """tmux renames a window after the program in it, so a new name tells of another program."""
    pane = start("a")
    settle(monitor)
    link.take()
    server.objects().cmd("rename-window", "-t", pane.window_id, "other")
    monitor.turn()
    assert link.take()[1] == 1
    server.objects().cmd("rename-session", "-t", "=a", "b")
    assert changed(monitor.turn()) == {}
    monitor.refresh()  # as when tmux told of it
    assert changed(monitor.turn()) == {"b": {"session_name"}}


def test_marks_and_commands_come_in_time(monitor: Monitor, clock: Clock, server: TmuxServer, start: Start) -> None:
    pane = start("a")
    settle(monitor)
    server.objects().cmd("set-option", "-p", "-t", pane.pane_id, "@gaia_group", "g")
    assert not monitor.turn()
    clock.now += 5
    assert changed(monitor.turn()) == {"a": {"tags"}}
    server.objects().cmd("set-option", "-p", "-t", pane.pane_id, "@gaia_group", "h")
    monitor.refresh()
    assert changed(monitor.turn()) == {"a": {"tags"}}


def test_a_failed_turn_concludes_nothing(monitor: Monitor, link: Counting, start: Start) -> None:
    start("a")
    settle(monitor)
    before = monitor.snapshot()
    link.breaks = True
    with pytest.raises(TmuxError):
        monitor.turn()
    assert monitor.snapshot() == before
    link.breaks = False
    assert not monitor.turn()


def test_another_server_is_all_new(monitor: Monitor, server: TmuxServer, start: Start) -> None:
    start("a")
    settle(monitor)
    before = monitor.snapshot().server
    server.kill_server()
    start("a")

    def again() -> Changes | None:
        try:
            changes = monitor.turn()
        except TmuxError:  # the control client may not have noticed yet
            return None
        return changes if changes.appeared else None

    changes = until(again, what="a look at the new server")
    assert changes.server != before
    assert [pane.session_name for pane in changes.appeared] == ["a"]
    assert monitor.snapshot().server == server.snapshot().server


def test_a_linked_window_is_its_own_sessions(monitor: Monitor, server: TmuxServer, start: Start) -> None:
    pane: PaneFacts = start("worker")
    start("aaa")
    server.objects().cmd("link-window", "-d", "-s", pane.window_id, "-t", "=aaa:7")
    monitor.turn()
    server.send_keys(pane.pane_id, "x")
    monitor.turn()
    names = {seen.pane_id: seen.session_name for seen in monitor.snapshot().panes}
    assert names == {pane.pane_id: "worker", server.snapshot().by_gaia_id()["id-aaa"].pane_id: "aaa"}


def test_many_sessions_in_one_look(link: Counting, monitor: Monitor, server: TmuxServer, start: Start) -> None:
    first = start("first")
    cwd = Path(first.cwd)
    server.create([NewSession(f"s{number}", f"i{number}", cwd, ("/bin/cat",)) for number in range(60)])
    assert len(monitor.turn().appeared) == 61
    [reply] = link.run([command("list-panes", "-a")], timeout=PATIENCE_S, repeatable=True)
    assert len(monitor.snapshot().panes) == 61 <= len(reply.lines)
