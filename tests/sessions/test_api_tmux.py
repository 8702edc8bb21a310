"""`/api/tmux/…`: short doors on the sessions' actions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from sessions.models import Session
from tests.endpoints import client_of, problem
from tests.sessions.by_hand import Tmux
from tests.sessions.strangers import Stranger
from tests.waiting import until


@pytest.fixture
def api(operator: Any) -> APIClient:
    return client_of(operator.token)


def test_listed_typed_into_and_looked_at_again(
    api: APIClient, tmux: Tmux, stranger: Callable[..., Stranger], acting: str
) -> None:
    server = stranger("default", "theirs")
    api.post("/api/orchestration/sessions/", {"name": "mine", "group": "other"})
    refreshed = api.post("/api/tmux/sessions/refresh").json()
    assert refreshed["sessions"] == 2
    [seen] = refreshed["changed"]
    assert (seen["name"], seen["before"], seen["after"]) == ("theirs", None, "running")
    shown = {one["name"]: one for one in api.get("/api/tmux/sessions").json()}
    assert (shown["mine"]["group"], shown["mine"]["provider"], shown["mine"]["state"]) == ("other", "system", "running")
    assert (shown["theirs"]["origin"], shown["theirs"]["socket"]) == ("foreign", str(server.socket))
    sent = api.post("/api/tmux/send", {"session": "mine", "text": "echo got-$((40 + 2))"})
    assert sent.status_code == 204
    until(lambda: "got-42" in api.get("/api/orchestration/sessions/mine/capture/").json()["text"])
    assert api.post("/api/tmux/send", {"session": "mine", "key": "C-c"}).status_code == 204
    assert api.post("/api/tmux/sessions/refresh").json() == {"sessions": 2, "changed": []}
    tmux("kill-session", "-t", "=mine")
    [gone] = api.post("/api/tmux/sessions/refresh").json()["changed"]
    assert (gone["name"], gone["before"], gone["after"]) == ("mine", "running", "gone")
    assert Session.objects.get(pk=gone["id"]).problem


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"session": "mine"}, 400),
        ({"text": "x"}, 400),
        ({"session": "mine", "text": "x", "key": "Enter"}, 400),
        ({"session": "mine", "key": "Ctrl-Alt"}, 400),
        ({"session": "nobody", "text": "x"}, 404),
        ({"session": "min", "text": "x"}, 404),
        ({"session": "mine", "text": "x", "life": 0}, 404),
    ],
)
def test_what_cannot_be_sent(api: APIClient, tmux: Tmux, body: dict[str, Any], status: int) -> None:
    api.post("/api/orchestration/sessions/", {"name": "mine"})
    problem(api.post("/api/tmux/send", body, format="json"), status)
