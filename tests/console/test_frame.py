"""The frame of every page: states, live parts, numbers of what needs somebody, the palette, errors, who may come in."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.contrib import admin
from django.template import Context, Template
from django.test import Client
from django.utils import timezone

from common.looks import STATES, look_of
from environments.states import EnvironmentState
from events.console.admin import ConsoleAdmin
from events.models import Event, Level
from gaia_site import navigation
from gaia_site.templatetags.gaia import lasted, relative, told
from policy.models import User
from processes.admin import shown_operation
from processes.states import OperationState, ProcessState
from sessions.states import SessionState
from tests.conftest import Operator
from tests.console import rows

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "state",
    [*SessionState, *EnvironmentState, *ProcessState, *Level, *(shown_operation(state) for state in OperationState)],
)
def test_every_state_has_a_look(state: str) -> None:
    assert str(state) in STATES


def test_a_state_is_icon_and_word_and_colour() -> None:
    html = Template('{% load gaia %}{% state "failed" "" "because" %}').render(Context())
    assert html == (
        '<span class="state look-failed" title="because"><span class="glyph" aria-hidden="true"></span>failed</span>'
    )
    assert look_of("never_heard_of").word == "never heard of"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "now"),
        (-1, "now"),
        (12.9, "12 s ago"),
        (60, "1 min ago"),
        (7199, "1 h ago"),
        (864000, "10 d ago"),
        (-90, "in 1 min"),
    ],
)
def test_relative_times(seconds: float, text: str) -> None:
    assert relative(seconds) == text


def test_durations_are_in_their_two_largest_units() -> None:
    begin = timezone.now()
    spans = {0.25: "0.2 s", 72: "1 min 12 s", 3 * 3600: "3 h", 86_400 + 7200 + 5: "1 d 2 h"}
    assert {seconds: lasted(begin, begin + timezone.timedelta(seconds=seconds)) for seconds in spans} == spans


def test_data_is_told_escaped() -> None:
    html = told({"removed": [{"name": "<b>", "trash": None}], "names": ["a", "b"], "ok": True, "none": []})
    assert "&lt;b&gt;" in html
    assert "trash" not in html
    assert "a, b" in html
    assert told({}) == '<span class="quiet">nothing</span>'


def test_only_the_parts_asked_for_come_back(console: Client) -> None:
    rows.sessions(3)
    answer = console.get("/admin/", headers={"X-Gaia-Parts": "fleet badge-sessions"}).content.decode()
    assert re.findall(r'data-part="([^"]+)"', answer) == ["badge-sessions", "fleet"]
    assert "<html" not in answer
    assert 'data-part="needs"' in console.get("/admin/").content.decode()


def test_the_page_says_from_which_event_on_it_must_be_told(console: Client) -> None:
    rows.events(2)
    page = console.get("/admin/gaia_sessions/session/").content.decode()
    newest = Event.objects.latest("id").pk
    assert f'<meta name="gaia-position" content="{newest}">' in page


def test_what_needs_somebody_is_counted_and_linked(console: Client) -> None:
    calm = console.get("/admin/").content.decode()
    assert "nothing needs you" in calm
    rows.sessions(2, state=SessionState.EXITED)
    first, second = rows.environments(2)
    type(first).objects.filter(pk=first.pk).update(state=EnvironmentState.DAMAGED, problem="the directory is gone")
    rows.ended(f"{second.key}/qa", 1)
    rows.ended(f"{second.key}/staging", 143)  # somebody asked it to end
    rows.operation("failed", "project/one")
    rows.operation("failed", "project/two")
    rows.operation("succeeded", "project/two")  # run again, and well
    page = console.get("/admin/").content.decode()
    for text in ("1 environment damaged", "1 stage failed", "1 operation failed", "2 sessions ended"):
        assert text in page
    for path, count in (
        ("/admin/gaia_sessions/session/", 2),
        ("/admin/environments/environment/", 2),
        ("/admin/processes/operation/", 1),
    ):
        assert f"{path}?needs=you" in page
        assert len(console.get(path, {"needs": "you"}).context["cl"].result_list) == count


def test_the_palette_finds_by_every_word(console: Client) -> None:
    rows.sessions(12)
    rows.environments(2)

    def found(words: str) -> list[str]:
        return [result["title"] for result in console.get("/admin/palette/", {"q": words}).json()["results"]]

    assert found("worker1") == ["worker1", "worker10", "worker11"]
    assert found("dev demo") == ["demo-dev1", "demo-dev2"]
    assert found("demo") == ["demo-dev1", "demo-dev2", "demo"]
    assert found("") == found("worker nowhere") == []
    assert len(found("worker")) == 8


def test_every_page_of_the_navigation_and_every_verb_opens(console: Client) -> None:
    page = console.get("/admin/")
    places = [str(item["link"]) for group in navigation.UNFOLD["SIDEBAR"]["navigation"] for item in group["items"]]
    keys = [item["key"] for group in navigation.UNFOLD["SIDEBAR"]["navigation"] for item in group["items"]]
    assert len(set(keys)) == len(keys)
    embedded = re.search(r'<script id="gaia-commands" type="application/json">(.*?)</script>', page.content.decode())
    assert embedded
    commands = json.loads(embedded[1])
    assert {command["url"] for command in commands} >= set(places)
    assert [console.get(command["url"]).status_code for command in commands] == [200] * len(commands)


def test_scripts_are_files_of_ours(console: Client) -> None:
    """The content security policy runs nothing that stands in a page."""
    rows.sessions(1)
    for path in ("/admin/", "/admin/gaia_sessions/session/", "/admin/policy/user/add/"):
        page = console.get(path).content.decode()
        tags = re.findall(r"<script(?![^>]*application/json)([^>]*)>", page)
        assert tags
        assert all(re.search(r'src="/static/', tag) or re.search(r'src="/admin/jsi18n/', tag) for tag in tags)
        assert not re.search(r"\son\w+=", page)


def test_a_foreseen_error_is_told_in_three_parts(console: Client) -> None:
    [session] = rows.sessions(1, state=SessionState.STOPPED, ended_at=timezone.now())
    path = f"/admin/gaia_sessions/session/{session.pk}/send/"
    answer = console.post(path, {"text": "hello"}, headers={"Referer": "http://testserver/admin/"}, follow=True)
    page = answer.content.decode()
    assert 'class="note-what"' in page
    assert "session worker0" in page
    assert 'class="note-fix"' in page
    problem = console.post(path, {"text": "hello"}, headers={"Accept": "application/json"})
    assert (problem.status_code, problem["Content-Type"]) == (409, "application/problem+json")
    assert set(problem.json()) >= {"title", "fix"}


@pytest.mark.parametrize("name", ["gaia_sessions.session", "processes.operation", "events.event", "projects.project"])
def test_rows_are_only_read(name: str, console: Client) -> None:
    rows.sessions(1)
    rows.operation("succeeded", "project/demo")
    rows.environments(1)
    from django.apps import apps

    model = apps.get_model(name)
    pk = model.objects.first().pk
    base = f"/admin/{model._meta.app_label}/{model._meta.model_name}"
    before = list(model.objects.values())
    assert console.get(f"{base}/add/").status_code == 403
    assert console.post(f"{base}/{pk}/delete/", {"post": "yes"}).status_code == 403
    assert console.post(f"{base}/{pk}/change/", {"name": "x"}).status_code == 403
    console.post(f"{base}/", {"action": "delete_selected", "_selected_action": [pk], "post": "yes"})
    assert list(model.objects.values()) == before


def test_every_model_of_the_console_is_read_only_or_a_person() -> None:
    for model, registered in admin.site._registry.items():
        assert isinstance(registered, ConsoleAdmin), model
        if model is not User:
            assert not registered.has_add_permission(None)
            assert not registered.has_change_permission(None)
            assert not registered.has_delete_permission(None)


def test_verbs_want_a_post_and_a_sign_in(client: Client, console: Client) -> None:
    [session] = rows.sessions(1)
    [environment] = rows.environments(1)
    verbs = [
        f"/admin/gaia_sessions/session/{session.pk}/stop/",
        f"/admin/gaia_sessions/session/{session.pk}/send/",
        f"/admin/gaia_sessions/session/{session.pk}/key/",
        f"/admin/environments/environment/{environment.pk}/stages/dev/launch/",
        f"/admin/environments/environment/{environment.pk}/stages/dev/stop/",
    ]
    for path in verbs:
        assert console.get(path).status_code == 405
        assert client.post(path)["Location"].startswith("/admin/login/")
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get(username="operator"))
    assert strict.post(verbs[0]).status_code == 403


def test_nobody_without_the_console_gets_in(client: Client, operator: Operator) -> None:
    outsider = User.objects.create_user("outsider", password="x")
    client.force_login(outsider)
    for path in ("/admin/", "/admin/gaia_sessions/session/", "/admin/palette/?q=a"):
        assert client.get(path)["Location"].startswith("/admin/login/")


def test_error_pages_say_what_to_do(console: Client, settings: Any) -> None:
    assert "There is nothing here" in console.get("/nowhere/").content.decode()
    missing = console.get("/admin/gaia_sessions/session/999999/change/", follow=True)
    assert missing.redirect_chain
