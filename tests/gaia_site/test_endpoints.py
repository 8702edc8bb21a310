"""The door of every endpoint, and of what is no endpoint."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from policy.models import Token
from tests.endpoints import EndpointSuite, client_of, endpoints, problem


class TestSessions(EndpointSuite):
    prefix = "/api/orchestration/sessions/"


class TestTmux(EndpointSuite):
    prefix = "/api/tmux/"


class TestPanic(EndpointSuite):
    prefix = "/api/panic"


class TestServices(EndpointSuite):
    prefix = "/api/orchestration/services/"


class TestEnvironments(EndpointSuite):
    prefix = "/api/environments/"


class TestOperations(EndpointSuite):
    prefix = "/api/operations/"


class TestEvents(EndpointSuite):
    prefix = "/api/events/"


class TestSchedules(EndpointSuite):
    prefix = "/api/schedules/"


class TestMultiEnv(EndpointSuite):
    prefix = "/api/multi-env/"


class TestPorts(EndpointSuite):
    prefix = "/api/ports/"


class TestHttps(EndpointSuite):
    prefix = "/api/https/"


class TestBackups(EndpointSuite):
    prefix = "/api/backups/"


class TestLayers(EndpointSuite):
    prefix = "/api/layers/"


class TestMcp(EndpointSuite):
    prefix = "/mcp/"


SUITES = (
    TestTmux,
    TestPanic,
    TestSessions,
    TestServices,
    TestEnvironments,
    TestOperations,
    TestEvents,
    TestMultiEnv,
    TestPorts,
    TestHttps,
    TestSchedules,
    TestBackups,
    TestLayers,
    TestMcp,
)


@pytest.mark.parametrize("endpoint", endpoints(), ids=str)
def test_every_endpoint_is_in_a_suite(endpoint: object) -> None:
    assert sum(endpoint.template.startswith(suite.prefix) for suite in SUITES) == 1  # type: ignore[attr-defined]


NOWHERE = ("/api/nothing", "/mcp/nothing", "/api/", "/api/orchestration/sessions/a.b/", "/api/environments/../x")


@pytest.mark.parametrize("path", NOWHERE)
def test_where_nothing_is(db: None, path: str) -> None:
    body = problem(Client().get(path), 404)
    assert body["detail"] == f"There is nothing at {path}"


@pytest.mark.parametrize("path", ["/api/schema/", "/api/docs/"])
def test_the_description_is_for_those_who_may_read(operator: Any, path: str) -> None:
    assert APIClient().get(path).status_code == 401
    assert client_of(operator.token).get(path).status_code == 200


def test_a_token_that_has_expired(operator: Any) -> None:
    Token.objects.update(expiry=timezone.now() - timedelta(seconds=1))
    problem(client_of(operator.token).get("/api/multi-env/status"), 401)


def test_a_token_whose_person_was_switched_off(operator: Any) -> None:
    operator.user.is_active = False
    operator.user.save()
    problem(client_of(operator.token).get("/api/multi-env/status"), 401)


@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
def test_another_scheme_is_none(operator: Any, scheme: str) -> None:
    problem(APIClient().get("/api/multi-env/status", HTTP_AUTHORIZATION=f"{scheme} {operator.token}"), 401)


def test_a_browser_needs_the_csrf_token_to_write(operator: Any) -> None:
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(operator.user)
    assert client.get("/api/multi-env/status").status_code == 200
    assert "CSRF" in problem(client.post("/api/orchestration/sessions/stop/", {}, format="json"), 403)["detail"]


def test_a_browser_sees_a_page_also_about_a_problem(operator: Any) -> None:
    client = APIClient()
    client.force_login(operator.user)
    response = client.get("/api/orchestration/sessions/nobody/", HTTP_ACCEPT="text/html")
    assert response.status_code == 404
    assert response["Content-Type"].startswith("text/html")
    assert "there is no session" in response.content.decode()


def test_a_post_without_the_slash_keeps_its_body(operator: Any) -> None:
    path = "/api/orchestration/sessions/nobody/send-keys"
    response = client_of(operator.token).post(path, {"text": "x"}, format="json")
    assert problem(response, 404)["title"] == "there is no session 'nobody'"


def test_outside_of_the_api_slashes_mean_what_they_meant(operator: Any) -> None:
    assert Client().get("/admin").status_code == 301
    assert Client().get("/health/").status_code == 404


def test_the_readable_description_runs_no_inline_script(operator: Any) -> None:
    client = Client()
    client.force_login(operator.user)
    page = client.get("/api/docs/")
    sources = re.findall(r"<script([^>]*)>", page.content.decode())
    assert len(sources) == 3
    assert all('src="' in source for source in sources), "the content security policy would stop it"
    assert "'unsafe-inline'" not in page["Content-Security-Policy"].partition("script-src")[2].partition(";")[0]
    own = next(source for source in sources if "/api/docs/" in source).split('"')[1].replace("&amp;", "&")
    assert "SwaggerUIBundle" in client.get(own).content.decode()
