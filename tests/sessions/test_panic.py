"""While a panic holds nobody types into a terminal, by whichever door; agents go on."""

from __future__ import annotations

import os
import pty
from collections.abc import Callable, Iterator

import pytest
from django.test import Client
from rest_framework.test import APIClient

from common.errors import InvalidInput
from events.actor import acting_as
from events.models import Event
from policy import panic
from policy.models import Panic
from sessions.actions import control, start, windows
from sessions.actions.panic import check_tmux, keep_still
from sessions.models import Session
from sessions.states import SessionState
from tests.conftest import Operator
from tests.endpoints import client_of, problem
from tests.sessions.by_hand import Tmux
from tests.waiting import until


@pytest.fixture
def mine(db: None, acting: str, tmux: Tmux) -> Session:
    return start.create("mine")


def test_declared_once_and_lifted(db: None, acting: str) -> None:
    panic.check_calm("nothing happened")
    first, is_first = panic.declare("an agent deletes things")
    with acting_as("user:second"):
        again, is_first_again = panic.declare("me, too")
    assert (is_first, is_first_again, again.pk, again.reason) == (True, False, first.pk, "an agent deletes things")
    with pytest.raises(panic.PanicHolds, match="has declared a panic, so nothing happened") as caught:
        panic.check_calm("nothing happened")
    assert (caught.value.meaning, caught.value.fix) == (
        "an agent deletes things", "Once it is safe again: gaia panic --lift."
    )  # fmt: skip
    assert caught.value.detail["by"] == acting
    with acting_as("user:second"):
        lifted = panic.lift()
    assert lifted is not None
    assert (lifted.lifted_by, panic.lift(), panic.standing()) == ("user:second", None, None)
    panic.declare()
    assert Panic.objects.count() == 2
    told = list(Event.objects.filter(subject="panic").order_by("id").values_list("kind", "level"))
    assert told == [("panic.declared", "error"), ("panic.lifted", "info"), ("panic.declared", "error")]


@pytest.mark.parametrize("reason", ["x" * 501, "two\nlines"])
def test_a_reason_that_is_none(db: None, acting: str, reason: str) -> None:
    with pytest.raises(InvalidInput):
        panic.declare(reason)


def test_nobody_types_and_everybody_reads(mine: Session) -> None:
    windows.open_window(mine, command=["/bin/cat"])
    panic.declare("stop")
    acts: list[Callable[[], object]] = [
        lambda: control.send_keys(mine, "echo typed"),
        lambda: control.send_key(mine, "Enter"),
        lambda: windows.send_keys(mine, "1", "0", "typed"),
        lambda: windows.send_key(mine, "1", "0", "Enter"),
        lambda: windows.open_window(mine),
        lambda: windows.split(mine),
        lambda: control.attach_argv(mine),
        lambda: check_tmux(["send-keys", "-t", "%0", "x"]),
        lambda: check_tmux(["ls", ";", "send", "x"]),
        lambda: check_tmux(["ls;", "send", "x"]),
        lambda: check_tmux([]),
    ]
    for act in acts:
        with pytest.raises(panic.PanicHolds):
            act()
    assert "typed" not in control.capture(mine) + windows.capture(mine, "1", "0")["text"]
    assert "-r" in control.attach_argv(mine, read_only=True)
    check_tmux(["list-panes", "-a"])
    assert Session.objects.get(pk=mine.pk).state == SessionState.RUNNING
    assert len(control.pane_of(mine).pane_id) > 1
    panic.lift()
    control.send_keys(mine, "echo typed-$((40 + 2))")
    until(lambda: "typed-42" in control.capture(mine))


def test_a_refused_key_may_be_used_again(mine: Session) -> None:
    panic.declare()
    with pytest.raises(panic.PanicHolds):
        control.send_keys(mine, "echo typed-$((40 + 2))", idempotency_key="k")
    panic.lift()
    control.send_keys(mine, "echo typed-$((40 + 2))", idempotency_key="k")
    until(lambda: "typed-42" in control.capture(mine))
    assert Event.objects.filter(kind="session.keys_sent").count() == 1


@pytest.fixture
def terminal(mine: Session, tmux: Tmux) -> Iterator[int]:
    """What a person who is attached types on."""
    argv = control.attach_argv(mine)
    pid, typing = pty.fork()
    if pid == 0:
        os.execve(argv[0], argv, {**tmux.server.environment, "TERM": "xterm"})  # noqa: S606  no shell is wanted
    until(lambda: "mine" in tmux("list-clients", "-F", "#{session_name}"))
    yield typing
    os.kill(pid, 9)
    os.close(typing)
    os.waitpid(pid, 0)


def test_who_is_attached_only_looks_on(mine: Session, terminal: int, tmux: Tmux) -> None:
    os.write(terminal, b"echo before-$((40 + 2))\r")
    until(lambda: "before-42" in control.capture(mine))
    panic.declare()
    until(lambda: tmux("list-clients", "-F", "#{client_readonly}") == "1\n")
    os.write(terminal, b"echo after-$((40 + 2))\r")
    panic.lift()
    control.send_keys(mine, "echo later-$((40 + 2))")
    until(lambda: "later-42" in control.capture(mine))
    assert "after" not in control.capture(mine)
    assert tmux("list-clients") != "", "nobody is thrown out"


def test_who_attaches_by_tmux_itself_only_looks_on(mine: Session, terminal: int, tmux: Tmux) -> None:
    readonly = lambda: tmux("list-clients", "-F", "#{client_readonly}").split()  # noqa: E731
    keep_still()
    assert readonly() == ["0"], "without a panic nobody is disturbed"
    Panic.objects.create(declared_by="user:elsewhere")  # on another host, which cannot reach this one's terminals
    keep_still()
    assert readonly() == ["1"]


def test_by_the_api(operator: Operator, tmux: Tmux, acting: str) -> None:
    api = client_of(operator.token)
    assert api.get("/api/panic").json()["panic"] is False
    api.post("/api/orchestration/sessions/", {"name": "mine"})
    declared = api.post("/api/panic", {"reason": "stop"})
    assert (declared.status_code, declared.json()["first"], declared.json()["reason"]) == (201, True, "stop")
    again = api.post("/api/panic", {"reason": "stop, please"})
    assert (again.status_code, again.json()["first"], again.json()["reason"]) == (200, False, "stop")
    assert api.get("/api/panic").json()["by"] == "token:test of operator"
    for path, body in (
        ("orchestration/sessions/mine/send-keys/", {"text": "x"}),
        ("orchestration/sessions/mine/send-keys/", {"key": "Enter"}),
        ("tmux/send", {"session": "mine", "text": "x"}),
        ("orchestration/sessions/mine/windows/", {}),
    ):
        told = problem(api.post(f"/api/{path}", body), 403)
        assert (told["type"], told["facts"]["by"]) == ("about:blank#panic", "token:test of operator")
    assert api.get("/api/orchestration/sessions/mine/capture/").status_code == 200
    lifted = api.delete("/api/panic").json()
    assert (lifted["panic"], lifted["lifted_by"]) == (False, "token:test of operator")
    assert api.delete("/api/panic").json()["by"] is None
    assert api.post("/api/tmux/send", {"session": "mine", "text": "x"}).status_code == 204


def test_on_every_page_with_a_button(operator: Operator, acting: str) -> None:
    console = Client()
    console.force_login(operator.user)
    pages = ("/admin/", "/admin/gaia_sessions/session/", "/admin/doctor/", "/admin/gaia_sessions/session/new/")
    bar = 'class="panic-bar"'
    assert not any(bar in console.get(page).content.decode() for page in pages)
    panic.declare("an agent <deletes> things")
    for page in pages:
        shown = console.get(page).content.decode()
        assert bar in shown
        assert f"{acting}, <time" in shown
        assert "an agent &lt;deletes&gt; things" in shown
        assert 'data-confirm="Lift the panic?"' in shown
    parts = console.get("/admin/", headers={"X-Gaia-Parts": "panic"}).content.decode()
    assert bar in parts, "it comes without a new page"
    assert console.get("/admin/panic/lift/").status_code == 405
    lifted = console.post("/admin/panic/lift/", headers={"Accept": "application/json"}).json()
    assert lifted["message"] == "The panic is lifted: sessions take input again."
    assert panic.standing() is None
    assert not any(bar in console.get(page).content.decode() for page in pages)
    assert APIClient().post("/admin/panic/lift/").status_code == 302, "only who is signed in"
