"""Windows and panes beside an agent's: looked at, opened, typed into, closed; never taken for the session itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from common.errors import Conflict
from events.actor import acting_as
from events.models import Event
from processes.drivers.liveness import alive, identify
from sessions import others, reconcile
from sessions.actions import adoption, control, start, windows
from sessions.drivers import tmux_windows
from sessions.drivers.tmux import PaneMissing
from sessions.drivers.tmux_windows import Pane
from sessions.models import Session
from sessions.states import SessionState
from sessions.windows import find_pane, windows_of
from tests.endpoints import client_of, problem
from tests.sessions.by_hand import Tmux
from tests.sessions.strangers import Stranger
from tests.waiting import until

URL = "/api/orchestration/sessions/"
pytestmark = pytest.mark.usefixtures("tmux")


@pytest.fixture
def api(operator: Any) -> APIClient:
    return client_of(operator.token)


@pytest.fixture
def mine(db: None, acting: str, tmux: Tmux, tmp_path: Path) -> Session:
    """A session with a shell."""
    return start.create("mine", cwd=str(tmp_path))


def panes(session: Session) -> dict[str, Pane]:
    return {f"{window.index}.{pane.index}": pane for window in windows_of(session) for pane in window.panes}


def look() -> None:
    with acting_as("node:test"):
        reconcile.look()


# By the API


def test_what_there_is(api: APIClient, mine: Session) -> None:
    [window] = api.get(f"{URL}mine/windows/").json()
    assert (window["index"], window["active"], window["width"], window["height"]) == (0, True, 200, 50)
    [pane] = window["panes"]
    assert (pane["id"], pane["index"], pane["own"], pane["active"]) == (mine.tmux_pane, 0, True, True)
    assert pane["dead"] is False
    assert (pane["pid"], pane["in_mode"], pane["exit_status"]) == (mine.pane_pid, False, None)
    assert api.get(f"{URL}mine/windows/{window['id']}/").json() == api.get(f"{URL}mine/windows/0/").json()
    problem(api.get(f"{URL}mine/windows/1/"), 404)
    problem(api.get(f"{URL}mine/windows/mine/"), 404)


def test_a_window_is_opened_typed_into_read_and_closed(api: APIClient, mine: Session, tmp_path: Path) -> None:
    body = {"name": "a.b:c #{pid}", "command": ["/bin/cat", "-u"], "cwd": str(tmp_path)}
    opened = api.post(f"{URL}mine/windows/", body, format="json")
    assert opened.status_code == 201
    first, second = api.get(f"{URL}mine/windows/").json()
    assert (first["active"], second["active"]) == (True, False), "whoever is attached sees what he saw"
    assert (second["id"], second["name"], second["panes"][0]["own"]) == (opened.json()["window"], "a.b:c #{pid}", False)
    assert second["panes"][0]["cwd"] == str(tmp_path)
    text = {"text": "over here", "window": "1"}
    for _ in range(2):
        assert api.post(f"{URL}mine/send-keys/", text, HTTP_IDEMPOTENCY_KEY="k").status_code == 204
    problem(api.post(f"{URL}mine/send-keys/", {"text": "over here"}, HTTP_IDEMPOTENCY_KEY="k"), 409)
    until(lambda: api.get(f"{URL}mine/capture/1/0/").json()["text"].startswith("over here\nover here\n\n"))
    assert "over here" not in api.get(f"{URL}mine/capture/").json()["text"]
    assert api.post(f"{URL}mine/send-keys/", {"key": "C-d", "pane": opened.json()["pane"]}).status_code == 204
    until(lambda: panes(mine)["1.0"].dead)
    problem(api.post(f"{URL}mine/send-keys/", {"text": "x", "window": "1"}), 409)
    assert api.delete(f"{URL}mine/windows/1/").status_code == 204
    problem(api.delete(f"{URL}mine/windows/1/"), 404)
    assert list(panes(mine)) == ["0.0"]
    kinds = list(Event.objects.filter(kind__startswith="session.window").order_by("id").values_list("kind", flat=True))
    assert kinds == ["session.window_opened", "session.window_closed"]


def test_a_pane_is_split_resized_and_closed(api: APIClient, mine: Session) -> None:
    body = {"beside": True, "percent": 25, "command": ["/bin/cat"]}
    opened = api.post(f"{URL}mine/windows/0/panes/", body, format="json").json()
    shown = panes(mine)
    assert (shown["0.0"].width, shown["0.1"].width, shown["0.1"].left) == (149, 50, 150)
    assert opened["pane"] == shown["0.1"].pane_id
    assert shown["0.0"].active, "the agent keeps the focus"
    at = f"{URL}mine/windows/0/panes/1/"
    assert api.post(f"{at}resize/", {"width": 80}, format="json").status_code == 204
    assert panes(mine)["0.1"].width == 80
    assert api.post(f"{URL}mine/windows/0/resize/", {"width": 120, "height": 30}, format="json").status_code == 204
    [window] = windows_of(mine)
    assert (window.width, window.height) == (120, 30)
    assert api.post(f"{URL}mine/windows/0/resize/", {}, format="json").status_code == 204
    problem(api.post(f"{at}resize/", {}, format="json"), 400)
    problem(api.post(f"{at}resize/", {"width": 0}, format="json"), 400)
    assert api.delete(at).status_code == 204
    assert list(panes(mine)) == ["0.0"]


def test_the_agents_own_pane_is_not_closed_this_way(api: APIClient, mine: Session) -> None:
    api.post(f"{URL}mine/windows/0/panes/", {"command": ["/bin/cat"]}, format="json")
    for path in ("windows/0/panes/0/", f"windows/0/panes/{mine.tmux_pane.replace('%', '%25')}/", "windows/0/"):
        told = problem(api.delete(f"{URL}mine/{path}"), 409)
        assert told["fix"] == "End it with the session: gaia session destroy mine."
    assert len(panes(mine)) == 2


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("windows/", {"cwd": "here"}, 400),
        ("windows/", {"name": "two\nlines"}, 400),
        ("windows/", {"name": "#[bold]"}, 400),
        ("windows/", {"command": [""]}, 400),
        ("windows/0/panes/", {"percent": 100}, 400),
        ("windows/0/panes/", {"pane": "7"}, 404),
        ("windows/7/panes/", {}, 404),
        ("send-keys/", {"text": "x", "pane": "1"}, 404),
        ("send-keys/", {"text": "x", "window": "=mine:"}, 404),
    ],
)
def test_what_cannot_be(api: APIClient, mine: Session, path: str, body: dict[str, Any], status: int) -> None:
    problem(api.post(f"{URL}mine/{path}", body, format="json"), status)
    assert list(panes(mine)) == ["0.0"]


def test_without_room_nothing_is_split(mine: Session) -> None:
    windows.resize_window(mine, "0", width=20, height=2)
    with pytest.raises(Conflict, match="no room"):
        windows.split(mine)
    assert Event.objects.filter(kind="session.window_failed").count() == 1


def test_pages_of_the_scrollback_fit_together(api: APIClient, mine: Session, tmp_path: Path) -> None:
    numbers = tmp_path / "numbers"
    numbers.write_text("".join(f"line {number}\n" for number in range(5_000)))
    windows.open_window(mine, command=["/bin/sh", "-c", f"cat {numbers}; exec cat"])
    at = f"{URL}mine/capture/1/0/"
    until(lambda: "line 4999" in api.get(at).json()["text"])
    pages, query = list[str](), {"lines": "2000"}
    while True:
        page = api.get(at, query).json()
        pages.insert(0, page["text"])
        assert page["first"] + page["text"].count("\n") + 1 == int(query.get("before", page["total"]))
        if page["before"] is None:
            break
        query["before"] = str(page["before"])
    assert len(pages) == 3
    assert "\n".join(pages).rstrip("\n").split("\n") == [f"line {number}" for number in range(5_000)]
    assert api.get(at, {"before": "10", "lines": "3"}).json()["text"] == "line 7\nline 8\nline 9"
    assert api.get(at, {"before": "0"}).json() == {"text": "", "first": 0, "total": page["total"], "before": None}
    for query in ({"lines": "2001"}, {"lines": "0"}, {"lines": "x"}, {"before": "-1"}):
        problem(api.get(at, query), 400)


# Nothing of it is the session


def test_other_panes_do_not_confuse_who_looks(mine: Session, tmux: Tmux) -> None:
    tmux("new-window", "-t", "=mine:", "-n", "mine", "--", "/bin/cat", "-u")
    tmux("split-window", "-t", "=mine:", "--", "/bin/sleep", "1000")
    look()
    stored = Session.objects.get(pk=mine.pk)
    assert (stored.panes, stored.state, stored.tmux_pane) == (3, SessionState.RUNNING, mine.tmux_pane)
    assert control.pane_of(mine).pane_id == mine.tmux_pane
    control.send_keys(mine, "echo agent-$((40 + 2))")
    until(lambda: "agent-42" in control.capture(mine))
    assert Session.objects.count() == 1
    tmux("kill-window", "-t", "=mine:1")
    look()
    assert Session.objects.get(pk=mine.pk).panes == 1


def test_the_end_of_a_session_ends_what_else_it_has(mine: Session, tmux: Tmux) -> None:
    stubborn = 'trap "" HUP; echo stays; while :; do sleep 1; done'
    windows.open_window(mine, command=["/bin/sh", "-c", stubborn])
    program = identify(panes(mine)["1.0"].pid)
    assert program is not None
    until(lambda: "stays" in windows.capture(mine, "1", "0")["text"])
    assert control.stop([mine]) == ["mine"]
    assert not alive(program)
    again = start.create("mine", cwd=mine.cwd)
    assert again.state == SessionState.RUNNING, "the name is free"


def test_an_agent_that_somebody_moved_in_is_not_ended(mine: Session, tmux: Tmux) -> None:
    other = start.create("other", cwd=mine.cwd)
    windows.open_window(mine, command=["/bin/cat"])
    tmux("join-pane", "-d", "-s", other.tmux_pane, "-t", panes(mine)["1.0"].pane_id)
    with pytest.raises(Conflict, match="another session's agent"):
        windows.close_window(mine, "1")
    control.stop([mine])
    look()
    assert Session.objects.get(pk=other.pk).state == SessionState.RUNNING


def test_a_number_of_an_earlier_server_means_nothing(mine: Session, tmux: Tmux) -> None:
    old = windows_of(mine)
    tmux("kill-server")
    look()
    until(lambda: tmux.server.snapshot().server is None)
    again = start.create("mine", cwd=mine.cwd)
    assert again.tmux_pane == mine.tmux_pane
    with pytest.raises(Conflict, match="is gone"):
        windows_of(Session.objects.get(pk=mine.pk))
    with pytest.raises(PaneMissing):
        tmux_windows.split_pane(tmux.server, old[0].panes[0], beside=False, percent=50, cwd=Path("/"), argv=["cat"])
    assert list(panes(again)) == ["0.0"]


def test_a_name_is_no_prefix(mine: Session, tmux: Tmux) -> None:
    longer = start.create("mine2", cwd=mine.cwd)
    control.stop([mine])
    with pytest.raises(Conflict):
        windows_of(mine)
    assert list(panes(longer)) == ["0.0"]


# Those of others


@pytest.fixture
def theirs(db: None, acting: str, stranger: Callable[..., Stranger]) -> tuple[Stranger, Session]:
    """A session of somebody else's, with a second window."""
    server = stranger("default", "theirs")
    server("new-window", "-d", "-t", "=theirs:", "--", "/bin/cat", "-u")
    others.look()
    return server, Session.objects.foreign().get()


def test_a_session_of_others_is_only_looked_at(theirs: tuple[Stranger, Session]) -> None:
    server, session = theirs
    before = server.state()
    assert [pane.command for pane in panes(session).values()] == ["cat", "cat"]
    assert windows.capture(session, "1", "0")["first"] == 0
    for act in changes(session):
        with pytest.raises(Conflict, match="is not GAIA's"):
            act()
    assert server.state() == before


def test_an_adopted_one_is_its_pane(theirs: tuple[Stranger, Session]) -> None:
    server, session = theirs
    adopted = adoption.adopt(session)
    before = server.state()
    for act in changes(adopted):
        with pytest.raises(Conflict, match="only its pane is adopted"):
            act()
    assert server.state() == before
    windows.send_keys(adopted, "0", "0", "its own")
    until(lambda: windows.capture(adopted, "0", "0")["text"].startswith("its own\nits own"))
    adoption.release(adopted)


def changes(session: Session) -> list[Callable[[], object]]:
    return [
        lambda: windows.open_window(session),
        lambda: windows.split(session),
        lambda: windows.close_pane(session, "1", "0"),
        lambda: windows.close_window(session, "1"),
        lambda: windows.resize_window(session, "1", width=20, height=20),
        lambda: windows.resize_pane(session, "1", "0", width=20, height=20),
        lambda: windows.send_keys(session, "1", "0", "x"),
        lambda: windows.send_key(session, "1", "0", "Enter"),
    ]


def test_a_pane_is_found_by_number_and_id(mine: Session) -> None:
    windows.split(mine, command=["/bin/cat"])
    windows.open_window(mine, command=["/bin/cat"])
    found = windows_of(mine)
    by_id = {pane.pane_id: place for place, pane in panes(mine).items()}
    for window, pane, place in (("", "", "0.0"), ("1", "", "1.0"), ("0", "1", "0.1"), ("", "1", "0.1")):
        assert by_id[find_pane(mine, found, window, pane)[1].pane_id] == place
    for pane_id in by_id:
        assert find_pane(mine, found, "", pane_id)[1].pane_id == pane_id
