"""`/api/orchestration/sessions/`, with a real tmux behind it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from environments.models import Environment
from events.models import Event
from sessions import reconcile
from sessions.models import Session
from tests.endpoints import client_of, problem
from tests.sessions.by_hand import Tmux, install
from tests.waiting import until

URL = "/api/orchestration/sessions/"


@pytest.fixture
def api(operator: Any) -> APIClient:
    return client_of(operator.token)


def test_the_fleet_starts_and_ends(api: APIClient, tmux: Tmux, agents: Path) -> None:
    install(agents, "claude")
    started = api.post(f"{URL}start/", {}).json()
    assert len(started["started"]) == 26
    assert len(started["shells"]) == 20
    assert api.post(f"{URL}start/", {}).json()["already"] == started["started"]
    groups = api.get(f"{URL}groups/").json()
    assert [len(group["sessions"]) for group in groups] == [6, 5, 3, 4, 3, 5, 0]
    assert [group["expected"] for group in groups] == [6, 5, 3, 4, 3, 5, 0]
    shown = {one["name"]: one for one in api.get(URL).json()}
    assert (shown["architect"]["runs"], shown["architect"]["program"]) == ("agent", "claude")
    assert (shown["architect"]["protected"], shown["dev1_worker"]["protected"]) == (True, False)
    assert shown["dev1_worker"]["runs"] == "shell"
    assert "ollama is not installed" in shown["dev1_worker"]["reason"]
    stopped = api.post(f"{URL}stop/", {"group": "PRI"}).json()["stopped"]
    assert stopped == ["pr_impl1", "pr_impl2", "pr_impl3", "pr_impl4"]
    assert len(tmux.names()) == 22
    assert Event.objects.filter(kind="session.stopped").first().actor == "token:test of operator"  # type: ignore[union-attr]


def test_past_lives(api: APIClient, tmux: Tmux) -> None:
    api.post(f"{URL}start/", {"group": "pr_review"})
    tmux("kill-session", "-t", "=pr_review1")
    reconcile_as_daemon()
    api.delete(f"{URL}pr_review2/")
    assert [one["name"] for one in api.get(URL).json()] == ["pr_review3"]
    assert [one["name"] for one in api.get(URL, {"state": "running"}).json()] == ["pr_review3"]
    ended = api.get(URL, {"state": "ended"}).json()
    assert [(one["name"], one["state"]) for one in ended] == [("pr_review2", "stopped"), ("pr_review1", "gone")]
    assert ended[1]["problem"] == "tmux no longer has it"
    assert [one["name"] for one in api.get(URL, {"state": "gone"}).json()] == ["pr_review1"]
    assert api.get(URL, {"state": "ended", "provider": "codex"}).json() == []
    assert api.get(f"{URL}pr_review1/").json()["state"] == "gone"
    assert problem(api.get(URL, {"state": "finished"}), 400)["fix"].startswith("States: starting, running")
    tmux("kill-server")
    reconcile_as_daemon()


def reconcile_as_daemon() -> None:
    from events.actor import acting_as

    with acting_as("node:test"):
        reconcile.look()


def test_lists_can_be_narrowed(api: APIClient, tmux: Tmux) -> None:
    api.post(f"{URL}start/", {"only": ["pr_review1", "pr_review3", "codex_worker1"]})
    names = lambda **wanted: [one["name"] for one in api.get(URL, wanted).json()]  # noqa: E731
    assert names(group="pr_review") == ["pr_review1", "pr_review3"]
    assert names(provider="codex") == ["codex_worker1"]
    assert names(group="pr_review", provider="ollama") == ["pr_review3"]
    assert names(state="exited") == []


def test_one_of_ones_own(
    api: APIClient, tmux: Tmux, agents: Path, make_environments: Callable[..., list[Environment]]
) -> None:
    [environment] = make_environments(1)
    install(agents, "codex")
    body = {"name": "mine", "provider": "codex", "group": "other", "role": "notes", "environment": "dev1"}
    created = api.post(URL, body)
    assert created.status_code == 201
    assert created.json()["environment"] == "demo-dev1"
    assert created.json()["cwd"] == environment.path
    assert (created.json()["runs"], created.json()["state"]) == ("agent", "running")
    assert api.post(f"{URL}mine/send-keys/", {"text": "hello there"}).status_code == 204
    until(lambda: "got: hello there" in api.get(f"{URL}mine/capture/").json()["text"])
    assert api.post(f"{URL}mine/send-keys/", {"key": "C-c"}).status_code == 204
    until(lambda: reconcile_as_daemon() or api.get(f"{URL}mine/").json()["state"] == "exited")
    assert problem(api.post(f"{URL}mine/send-keys/", {"text": "x"}), 409)["title"].startswith("the program of session")
    assert api.delete(f"{URL}mine/").status_code == 204
    assert api.get(f"{URL}mine/").json()["state"] == "stopped"
    assert api.delete(f"{URL}mine/").status_code == 204
    problem(api.get(f"{URL}mine/capture/"), 409)
    problem(api.post(f"{URL}mine/send-keys/", {"text": "x"}), 409)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"name": "two words"}, 400),
        ({"name": ".."}, 400),
        ({"name": "a:b"}, 400),
        ({"name": "a.b"}, 400),
        ({"name": ["list"]}, 400),
        ({"name": "fine\u0000"}, 400),
        ({"name": "start"}, 400),
        ({"name": "fine", "role": "x" * 61}, 400),
        ({"name": "fine", "cwd": "/nowhere"}, 400),
        ({"name": "fine", "cwd": "/" + "x" * 2000}, 400),
        ({"name": "fine", "provider": "nobody"}, 404),
        ({"name": "fine", "group": "nowhere"}, 404),
        ({"name": "fine", "environment": "dev9"}, 404),
    ],
)
def test_what_cannot_be_created(api: APIClient, tmux: Tmux, body: dict[str, Any], status: int) -> None:
    problem(api.post(URL, body, format="json"), status)
    assert not Session.objects.exists()


def test_a_name_that_is_taken(api: APIClient, tmux: Tmux) -> None:
    assert api.post(URL, {"name": "mine"}).status_code == 201
    answer = problem(api.post(URL, {"name": "mine"}), 409)
    assert (answer["title"], answer["facts"]) == ("session mine already runs", {"name": "mine"})


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "there is nothing to send"),
        ({"text": "", "enter": False}, "there is nothing to send"),
        ({"key": "rm -rf"}, "'rm -rf' is not a key that can be sent"),
        ({"text": "x" * 200_001}, "The request is not valid"),
        ({"text": 7, "enter": "perhaps"}, "The request is not valid"),
    ],
)
def test_what_cannot_be_sent(api: APIClient, tmux: Tmux, body: dict[str, Any], says: str) -> None:
    api.post(URL, {"name": "mine"})
    assert problem(api.post(f"{URL}mine/send-keys/", body, format="json"), 400)["title"] == says


@pytest.mark.parametrize("lines", ["x", "-1", "1.5", "50001", "9" * 40, "٣"])
def test_lines_that_are_no_number(api: APIClient, tmux: Tmux, lines: str) -> None:
    api.post(URL, {"name": "mine"})
    assert "lines must be" in problem(api.get(f"{URL}mine/capture/", {"lines": lines}), 400)["title"]


def test_colours_and_scrollback(api: APIClient, tmux: Tmux) -> None:
    api.post(URL, {"name": "mine"})
    api.post(f"{URL}mine/send-keys/", {"text": r"seq 1 200; printf '\033[31mred\033[0m\n'"}, format="json")
    capture = f"{URL}mine/capture/"
    until(lambda: "\x1b[31mred" in api.get(capture, {"ansi": "true"}).json()["text"])
    assert "\n7\n" not in api.get(capture).json()["text"]
    assert "\n7\n" in api.get(capture, {"lines": 500}).json()["text"]


@pytest.mark.parametrize("verb", ["start", "stop"])
@pytest.mark.parametrize(
    ("body", "status"),
    [({"group": "nowhere"}, 404), ({"only": ["nobody"]}, 404), ({"only": "dev1_worker"}, 400), ({"group": ""}, 400)],
)
def test_a_fleet_verb_with_a_bad_choice(
    api: APIClient, tmux: Tmux, verb: str, body: dict[str, Any], status: int
) -> None:
    problem(api.post(f"{URL}{verb}/", body, format="json"), status)


def test_without_tmux(api: APIClient, tmux: Tmux, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    answer = problem(api.post(f"{URL}start/", {}), 503)
    assert answer["title"] == "tmux is not installed"
    assert answer["fix"].startswith("Install it")


def test_a_broken_fleet_file_is_named_and_the_lists_go_on(api: APIClient, tmux: Tmux, home: Any) -> None:
    (home.root / "fleet.yaml").write_text("version: 1\ngroups: []\nsessions: []\n")
    answer = problem(api.post(f"{URL}start/", {}), 400)
    assert "fleet.yaml:2: there is no group 'other'" in answer["title"]
    assert len(api.get(f"{URL}groups/").json()) == 7
