"""A name has many lives: who asks for one that is over never sees, or reaches, the one that has the name now."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from common.errors import Conflict
from sessions import reconcile
from sessions.actions import control, start
from sessions.models import Session
from sessions.states import SessionState
from tests.endpoints import client_of, problem
from tests.sessions.by_hand import Tmux
from tests.waiting import until

URL = "/api/orchestration/sessions/mine/"


@pytest.fixture
def api(operator: Any) -> APIClient:
    return client_of(operator.token)


@pytest.fixture(params=["stopped", "gone", "tmux was started again"])
def lives(request: pytest.FixtureRequest, db: None, acting: str, tmux: Tmux) -> tuple[Session, Session]:
    """Two of one name: one that is over, however that came about, and the one that runs now."""
    first = start.create("mine")
    if request.param == "stopped":
        control.stop([first])
    else:
        tmux("kill-session", "-t", "=mine")
        until(lambda: tmux.server.snapshot().server is None)
        reconcile.look()
    over = control.find("mine")
    assert over.state == (SessionState.STOPPED if request.param == "stopped" else SessionState.GONE)
    if request.param == "tmux was started again":
        assert start.create("mine").tmux_pane == first.tmux_pane, "it counts from the beginning"
    else:
        start.create("keeps-numbers-apart")
        start.create("mine")
    now = control.find("mine")
    control.send_keys(now, "echo secret-$((40 + 2))")
    until(lambda: "secret-42" in control.capture(now))
    return over, now


def test_of_a_past_life_no_screen_is_shown(lives: tuple[Session, Session], api: APIClient) -> None:
    over, now = lives
    with pytest.raises(Conflict, match="session mine is ") as caught:
        control.capture(over)
    assert caught.value.fix == "mine runs again: ask for it by its name alone."
    answer = problem(api.get(f"{URL}capture/", {"life": over.pk}), 409)
    assert "secret-42" not in repr(answer)
    assert "secret-42" in api.get(f"{URL}capture/").json()["text"]
    assert "secret-42" in api.get(f"{URL}capture/", {"life": now.pk}).json()["text"]
    assert api.get(URL, {"life": over.pk}).json()["state"] == over.state
    assert api.get(URL).json()["id"] == now.pk


def test_what_is_typed_for_a_past_life_reaches_nobody(lives: tuple[Session, Session], api: APIClient) -> None:
    over, now = lives
    problem(api.post(f"{URL}send-keys/?life={over.pk}", {"text": "echo wrong-$((40 + 2))"}, format="json"), 409)
    assert api.delete(f"{URL}?life={over.pk}").status_code == 204
    control.send_keys(now, "echo still here-$((40 + 2))")
    until(lambda: "still here-42" in control.capture(now))
    assert "wrong-42" not in control.capture(now)


def test_its_page_asks_for_no_screen(lives: tuple[Session, Session], operator: Any) -> None:
    """One that was opened while it lived goes on asking for its own."""
    over, now = lives
    console = Client()
    console.force_login(operator.user)
    page = "/admin/gaia_sessions/session/{}/"
    past = console.get(page.format(over.pk), follow=True).content.decode()
    assert "data-screen" not in past
    assert "data-over" in past
    assert page.format(now.pk) in past
    live = console.get(page.format(now.pk), follow=True).content.decode()
    assert f'data-screen="{URL}capture/?life={now.pk}"' in live
    assert "data-over" not in live


@pytest.mark.parametrize(("life", "status"), [("999999", 404), ("x", 400), ("-1", 400), ("9" * 30, 400), ("", 400)])
def test_a_life_there_is_not(db: None, acting: str, tmux: Tmux, api: APIClient, life: str, status: int) -> None:
    start.create("mine")
    problem(api.get(f"{URL}capture/", {"life": life}), status)


def test_the_life_of_another_name(db: None, acting: str, tmux: Tmux, api: APIClient) -> None:
    start.create("mine")
    other = start.create("other")
    problem(api.get(f"{URL}capture/", {"life": other.pk}), 404)
