"""`/api/events/`."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import include, path
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from rest_framework.test import APIClient

from events import log
from events.actor import acting_as
from events.models import Event
from policy.actions import issue_token
from policy.models import Scope, User
from tests.conftest import Operator

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(operator: Operator) -> APIClient:
    """A client with the operator's token, and ten events `test.n0` … `test.n9` after the token's own."""
    with acting_as("user:tester"), log.atomic():
        for number in range(10):
            level = ("info", "warning", "error")[number % 3]
            log.emit(f"test.n{number}", subject=f"session/dev{number}", message="x", level=level, number=number)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {operator.token}")
    return client


def listed(api: APIClient, **query: Any) -> dict[str, Any]:
    answer = api.get("/api/events/", query)
    assert answer.status_code == 200, answer.json()
    body: dict[str, Any] = answer.json()
    return body


def kinds(body: dict[str, Any]) -> list[str]:
    return [event["kind"] for event in body["results"]]


def numbered(*numbers: int) -> list[str]:
    return [f"test.n{number}" for number in numbers]


def newest() -> int:
    return Event.objects.latest("id").id


def test_newest_first(api: APIClient) -> None:
    body = listed(api)
    assert kinds(body) == [*numbered(*range(9, -1, -1)), "token.issued"]
    assert body["results"][0] == Event.objects.latest("id").as_dict()
    assert (body["next_after"], body["next_before"], body["reset"]) == (newest(), None, False)


def test_older_pages(api: APIClient) -> None:
    first = listed(api, limit=4)
    assert kinds(first) == numbered(9, 8, 7, 6)
    second = listed(api, limit=4, before=first["next_before"])
    assert kinds(second) == numbered(5, 4, 3, 2)
    third = listed(api, limit=4, before=second["next_before"])
    assert (kinds(third), third["next_before"]) == ([*numbered(1, 0), "token.issued"], None)
    assert listed(api, before=0)["results"] == []


def test_polling_gets_everything_once_and_in_order(api: APIClient) -> None:
    seen: list[str] = []
    cursor = newest() - 10
    for _ in range(4):
        body = listed(api, after=cursor, limit=3)
        seen += kinds(body)
        cursor = body["next_after"]
    assert seen == numbered(*range(10))
    quiet = listed(api, after=cursor)
    assert (quiet["results"], quiet["next_after"]) == ([], cursor)
    with acting_as("user:tester"), log.atomic():
        log.emit("test.later", subject="test", message="x")
    assert kinds(listed(api, after=cursor)) == ["test.later"]


def test_polling_with_a_filter_moves_on_past_what_does_not_match(api: APIClient) -> None:
    body = listed(api, after=0, kind="test.n3")
    assert (kinds(body), body["next_after"]) == (numbered(3), newest())


def test_an_id_from_another_database_is_reset(api: APIClient) -> None:
    body = listed(api, after=newest() + 1)
    assert (body["results"], body["reset"], body["next_after"]) == ([], True, newest())


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"kind": "test.n3"}, numbered(3)),
        ({"kind": "test.n"}, []),
        ({"kind": "test.*", "limit": 2}, numbered(9, 8)),
        ({"subject": "session/dev4"}, numbered(4)),
        ({"subject": "session/*", "level": "error"}, numbered(8, 5, 2)),
        ({"actor": "cli:tester"}, ["token.issued"]),
        ({"level": "info", "actor": "user:tester"}, numbered(9, 6, 3, 0)),
        ({"kind": "test.%*"}, []),
        ({"kind": "test.N*"}, []),
        ({"subject": "*", "kind": "*", "limit": 1}, numbered(9)),
    ],
)
def test_filters(api: APIClient, query: dict[str, Any], expected: list[str]) -> None:
    assert kinds(listed(api, **query)) == expected


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"after": "x"}, "after"),
        ({"after": "-1"}, "after"),
        ({"after": str(2**63)}, "after"),
        ({"before": "1.5"}, "before"),
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "٣"}, "limit"),
        ({"level": "loud"}, "level"),
        ({"kind": "a\0"}, "kind"),
        ({"after": "1", "before": "9"}, "before"),
    ],
    ids=lambda value: str(value),
)
def test_bad_questions_are_told_what_is_wrong(api: APIClient, query: dict[str, str], named: str) -> None:
    answer = api.get("/api/events/", query)
    assert answer.status_code == 400
    assert answer["content-type"] == "application/problem+json"
    assert list(answer.json()["errors"]) == [named]


def test_the_largest_page(api: APIClient) -> None:
    assert len(listed(api, limit=1_000)["results"]) == 11


def test_one_event(api: APIClient) -> None:
    event = Event.objects.get(kind="test.n3")
    answer = api.get(f"/api/events/{event.id}/")
    assert answer.json() == event.as_dict()
    missing = api.get("/api/events/0/")
    assert (missing.status_code, missing["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_the_log_cannot_be_written(api: APIClient, method: str) -> None:
    before = Event.objects.count()
    for url in ("/api/events/", f"/api/events/{newest()}/"):
        assert getattr(api, method)(url, {"kind": "x"}).status_code == 405
    assert Event.objects.count() == before


def test_unchanged_answers_are_not_sent_again(api: APIClient) -> None:
    tag = api.get("/api/events/")["etag"]
    assert api.get("/api/events/", headers={"If-None-Match": tag}).status_code == 304
    with acting_as("user:tester"), log.atomic():
        log.emit("test.later", subject="test", message="x")
    assert api.get("/api/events/", headers={"If-None-Match": tag}).status_code == 200


def test_who_may_read(api: APIClient, operator: Operator) -> None:
    for url in ("/api/events/", f"/api/events/{newest()}/"):
        assert APIClient().get(url).status_code == 401
        assert APIClient().get(url, headers={"Authorization": "Token gaia_wrong"}).status_code == 401
        with acting_as("cli:tester"):
            guest = issue_token(User.objects.get_or_create(username="guest")[0], "guest")
            reader = issue_token(operator.user, "reader", scopes=[Scope.READ])
        assert APIClient().get(url, headers={"Authorization": f"Token {guest}"}).status_code == 403
        assert APIClient().get(url, headers={"Authorization": f"Token {reader}"}).status_code == 200
        browser = APIClient()
        browser.force_login(operator.user)
        assert browser.get(url).status_code == 200


@pytest.mark.parametrize("query", [{}, {"after": 0}, {"kind": "test.*", "level": "info", "limit": 1000}])
def test_queries_do_not_grow(api: APIClient, query: dict[str, Any], django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(4):  # the token, its owner's other tokens, the newest id, the page
        api.get("/api/events/", query)


def test_the_schema_is_complete() -> None:
    GENERATOR_STATS.reset()
    schema = SchemaGenerator(patterns=[path("api/", include("events.api"))]).get_schema(public=True)
    assert not GENERATOR_STATS
    parameters = schema["paths"]["/api/events/"]["get"]["parameters"]
    assert {each["name"] for each in parameters} == {"after", "before", "limit", "kind", "subject", "level", "actor"}
    assert set(schema["paths"]) == {"/api/events/", "/api/events/{id}/"}
