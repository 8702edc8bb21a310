"""Lists, details and forms of the rooms, without a browser; `tests/browser` presses their buttons."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from environments.forms import SetupForm
from environments.states import EnvironmentState
from processes.admin import shown_node, shown_process, time_left
from processes.models import Node, Operation
from sessions.actions.start import Started
from sessions.admin import told_of
from sessions.models import Session
from sessions.states import SessionState
from tests.console import rows

pytestmark = pytest.mark.django_db

SESSIONS = "/admin/gaia_sessions/session/"


def listed(console: Client, path: str, **query: str) -> list[str]:
    answer = console.get(path, query)
    assert answer.status_code == 200
    return [str(row) for row in answer.context["cl"].result_list]


def test_sessions_begin_with_those_that_live(console: Client) -> None:
    live = rows.sessions(3)
    Session.objects.filter(pk=live[2].pk).update(state=SessionState.GONE, ended_at=timezone.now())
    assert listed(console, SESSIONS) == ["worker0", "worker1"]
    assert listed(console, SESSIONS, state="past") == ["worker2"]
    assert listed(console, SESSIONS, state="gone") == ["worker2"]
    assert listed(console, SESSIONS, state="all") == ["worker0", "worker1", "worker2"]
    assert listed(console, SESSIONS, group="dev_workers") == ["worker1"]
    assert listed(console, SESSIONS, q="worker1") == ["worker1"]
    assert listed(console, SESSIONS, o="-1") == ["worker1", "worker0"]
    assert listed(console, SESSIONS, runs="agent") == []
    assert "Clear search and filters" in console.get(SESSIONS, {"q": "nobody"}).content.decode()


def test_where_an_agent_is_missing_the_list_says_shell_and_why(console: Client) -> None:
    rows.sessions(1)
    page = console.get(SESSIONS).content.decode()
    assert '<span class="tag">shell</span>' in page
    assert "ollama is not installed" in page
    assert "looked for: opencode, codex" in page  # on hover


@pytest.mark.parametrize(
    ("path", "first_step"),
    [
        ("/admin/", "/admin/environments/environment/setup/"),
        ("/admin/", "/admin/gaia_sessions/session/start/"),
        (SESSIONS, "/admin/gaia_sessions/session/start/"),
        ("/admin/environments/environment/", "/admin/environments/environment/setup/"),
        ("/admin/processes/operation/", "/admin/environments/environment/setup/"),
        ("/admin/projects/project/", "/admin/environments/environment/setup/"),
    ],
)
def test_an_empty_page_offers_the_first_step(path: str, first_step: str, console: Client) -> None:
    page = console.get(path).content.decode()
    [empty] = [part for part in page.split('<div class="empty">')[1:] if first_step in part.split("</section>")[0]]
    assert "<h2>" in empty


def test_a_session_leads_to_the_diff_of_where_it_works(console: Client) -> None:
    [one] = rows.environments(1)
    [here, nowhere] = rows.sessions(2)
    Session.objects.filter(pk=here.pk).update(environment=one)
    diff = f"/admin/environments/environment/{one.pk}/git/diff/"
    assert f'href="{diff}"' in console.get(f"{SESSIONS}{here.pk}/change/").content.decode()
    assert "/git/diff/" not in console.get(f"{SESSIONS}{nowhere.pk}/change/").content.decode()


def test_environments_show_git_stages_and_sessions(console: Client) -> None:
    one, two = rows.environments(2)
    Session.objects.filter(pk=rows.sessions(1)[0].pk).update(environment=one)
    rows.ended(f"{two.key}/qa", 1)
    page = console.get("/admin/environments/environment/").content.decode()
    assert "↑1" in page
    assert "↑2" in page
    assert "http://localhost:8081" in page
    detail = console.get(f"/admin/environments/environment/{two.pk}/change/").content.decode()
    assert "ended by itself, code 1" in detail
    assert "worker0" not in detail
    assert "worker0" in console.get(f"/admin/environments/environment/{one.pk}/change/").content.decode()


def test_removed_environments_are_kept_out_of_the_way(console: Client) -> None:
    one, two = rows.environments(2)
    type(one).objects.filter(pk=one.pk).update(state=EnvironmentState.REMOVED, removed_at=timezone.now())
    assert listed(console, "/admin/environments/environment/") == [str(two)]
    assert listed(console, "/admin/environments/environment/", state="removed") == [str(one)]
    removal = console.get(f"/admin/environments/environment/remove/?id={two.pk}").content.decode()
    assert str(one) not in removal
    assert f'value="{two.pk}" checked' in removal


def test_removing_nothing_is_refused(console: Client) -> None:
    rows.environments(1)
    page = console.post("/admin/environments/environment/remove/", {}).content.decode()
    assert "no environment was chosen" in page
    assert not Operation.objects.exists()


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"count": "5"}, "source"),  # nothing is registered
        ({"count": "0", "source": "/x"}, "count"),
        ({"count": "500", "source": "/x"}, "count"),
        ({"count": "many", "source": "/x"}, "count"),
        ({"count": "5", "source": "/x", "base_port": "80"}, "base_port"),
    ],
)
def test_a_set_up_form_that_is_wrong(given: dict[str, str], field: str) -> None:
    form = SetupForm(given)
    assert not form.is_valid()
    assert list(form.errors) == [field]


def test_without_a_source_it_must_be_clear_which_project_is_meant() -> None:
    [environment] = rows.environments(1)
    assert SetupForm({"count": "5"}).is_valid()
    assert not SetupForm({"count": "5", "project": "other"}).is_valid()
    type(environment.project).objects.create(name="second", source="/src/second", root="/src", base_port=9081)
    assert not SetupForm({"count": "5"}).is_valid()
    form = SetupForm({"count": "5", "project": "second"})
    assert form.is_valid()
    assert form.wanted() == {"count": 5, "project": "second"}


def test_an_operation_says_how_far_it_is_and_how_long_still(console: Client) -> None:
    running = rows.operation("running", "project/demo", done=1, total=4, message="Cloning dev2")
    left = time_left(running)
    assert left is not None
    assert timedelta(minutes=2, seconds=50) < left < timedelta(minutes=4)
    page = console.get(f"/admin/processes/operation/{running.pk}/change/").content.decode()
    for text in ("Cloning dev2", "25 %", "left", "Cancel…", 'data-every="1"'):
        assert text in page
    answer = console.post(f"/admin/processes/operation/{running.pk}/cancel/", headers={"Accept": "application/json"})
    assert "ends at its next safe point" in answer.json()["message"]
    running.refresh_from_db()
    assert running.cancel_requested_at is not None
    assert (
        "Ends at its next safe point"
        in console.get(f"/admin/processes/operation/{running.pk}/change/").content.decode()
    )


def test_a_failed_operation_tells_its_error_in_three_parts(console: Client) -> None:
    error = {"what": "the hub is gone", "meaning": "Nothing can be pushed.", "fix": "Run it again.", "detail": {"n": 1}}
    failed = rows.operation("failed", "project/demo", error=error)
    page = console.get(f"/admin/processes/operation/{failed.pk}/change/").content.decode()
    for text in ("the hub is gone.", "Nothing can be pushed.", "Run it again.", "&quot;n&quot;: 1"):
        assert text in page
    assert "Cancel…" not in page
    assert 'data-every="1"' not in page
    assert time_left(failed) is None


def test_a_process_shows_the_names_of_its_variables_never_their_values(console: Client) -> None:
    process = rows.process("thing/1")
    page = console.get(f"/admin/processes/process/{process.pk}/change/").content.decode()
    assert "SECRET" in page
    assert "hunter2" not in page


def test_how_a_process_ended_decides_its_look() -> None:
    assert shown_process(rows.process("a")) == "running"
    assert shown_process(rows.ended("b", 0)) == "stopped"
    assert shown_process(rows.ended("c", 1)) == "exited"
    assert shown_process(rows.ended("d", 143, stop_requested_at=timezone.now())) == "stopped"


@pytest.mark.parametrize(
    ("pid", "silent_s", "shown"), [(1, 1, "up"), (1, 60, "down"), (None, 1, "down"), (1, None, "down")]
)
def test_a_node_is_up_while_its_heart_beats(pid: int | None, silent_s: int | None, shown: str) -> None:
    beat = None if silent_s is None else timezone.now() - timedelta(seconds=silent_s)
    assert shown_node(Node(name="n", daemon_pid=pid, heartbeat_at=beat)) == shown


@pytest.mark.parametrize(
    ("started", "text"),
    [
        (Started(), "Nothing had to be started."),
        (Started(started=["a", "b"], already=["c"]), "2 sessions were started, 1 ran already."),
        (Started(started=["a"], shells={"a": "x"}), "1 sessions were started, 1 run a shell for want of an agent."),
        (Started(failed={"a": "no room"}), "Nothing had to be started, 1 failed (a: no room)."),
    ],
)
def test_what_a_start_did_is_told(started: Started, text: str) -> None:
    assert told_of(started) == text


def test_only_the_keys_on_the_page_can_be_pressed(console: Client) -> None:
    [session] = rows.sessions(1)
    path = f"{SESSIONS}{session.pk}/key/"
    problem = console.post(path, {"key": "M-x"}, headers={"Accept": "application/json"})
    assert problem.status_code == 400
    assert "M-x" in problem.json()["title"]


def test_pages_of_long_lists(console: Client) -> None:
    rows.sessions(250)
    page = console.get(SESSIONS, {"p": "2"}).content.decode()
    assert '<span aria-current="page">2</span>' in page
    assert "worker150" in page
    assert "250 sessions" in page


def test_the_log_of_a_process(console: Client, tmp_path: Any) -> None:
    log = tmp_path / "out.log"
    log.write_text("one\ntwo\n")
    process = rows.process("thing/1")
    type(process).objects.filter(pk=process.pk).update(log=str(log))
    assert console.get(f"/admin/processes/process/{process.pk}/log/").json() == {"text": "one\ntwo\n"}
