"""What every endpoint of the API must do at its door, as a suite that a room's tests inherit.

    class TestOperations(EndpointSuite):
        prefix = "/api/operations/"

The endpoints come from the OpenAPI document, so a new one is tested the moment it has a route. Path parameters are
filled with names that do not exist: nothing of GAIA is touched, and whoever comes past the door gets 404.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import pytest
from rest_framework.test import APIClient

PROBLEM = "application/problem+json"
METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Endpoint:
    """One operation of the OpenAPI document, with its path filled in."""

    method: str
    path: str
    template: str
    has_parameters: bool
    has_body: bool

    def __str__(self) -> str:
        return f"{self.method} {self.template}"

    @property
    def writes(self) -> bool:
        return self.method != "get"

    @property
    def reads(self) -> bool:
        return not self.writes

    def call(self, client: APIClient, **options: Any) -> Any:
        return getattr(client, self.method)(self.path, **options)


@cache
def endpoints() -> tuple[Endpoint, ...]:
    """Every operation there is."""
    from drf_spectacular.generators import SchemaGenerator

    document = SchemaGenerator().get_schema(request=None, public=True)
    return tuple(
        _endpoint(method, template, operation)
        for template, operations in document["paths"].items()
        for method, operation in operations.items()
        if method in METHODS
    )


def _endpoint(method: str, template: str, operation: dict[str, Any]) -> Endpoint:
    path, parameters = template, [one for one in operation.get("parameters", ()) if one["in"] == "path"]
    for one in parameters:
        nobody = "999999999" if one["schema"].get("type") == "integer" else "nobody"
        path = path.replace(f"{{{one['name']}}}", nobody)
    return Endpoint(method, path, template, bool(parameters), "requestBody" in operation)


def problem(response: Any, status: int) -> dict[str, Any]:
    """The body of an answer that must be problem details (RFC 9457) with this status."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == PROBLEM, response["Content-Type"]
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["title"]
    assert body["type"].startswith("about:blank")
    return body


def client_of(token: str) -> APIClient:
    """A program that shows a token."""
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {token}")
    return client


def for_endpoints_that(attribute: str) -> Callable[[Any], Any]:
    """The test concerns only endpoints of which this attribute is true."""

    def mark(test: Any) -> Any:
        test.endpoints_that = attribute
        return test

    return mark


class EndpointSuite:
    """Inherit it and say which `prefix`."""

    prefix: ClassVar[str]

    def __init_subclass__(cls) -> None:
        for name, test in list(vars(EndpointSuite).items()):
            if name.startswith("test_") and not cls._endpoints_for(test):
                setattr(cls, name, None)  # no endpoint here is of that kind: no test

    @classmethod
    def _endpoints_for(cls, test: Callable[..., Any]) -> list[Endpoint]:
        mine = [one for one in endpoints() if one.template.startswith(cls.prefix)]
        assert mine, f"there is no endpoint below {cls.prefix}"
        of = getattr(test, "endpoints_that", None)
        return [one for one in mine if getattr(one, of)] if of else mine

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "endpoint" in metafunc.fixturenames:
            metafunc.parametrize("endpoint", self._endpoints_for(metafunc.function), ids=str)

    @pytest.fixture
    def reader(self, operator: Any, acting: str) -> APIClient:
        """A program that may only read."""
        from policy.actions import issue_token

        return client_of(issue_token(operator.user, "reader", scopes=["read"]))

    @pytest.fixture
    def writer(self, operator: Any) -> APIClient:
        """A program that may read and operate."""
        return client_of(operator.token)

    def test_without_credentials(self, db: None, endpoint: Endpoint) -> None:
        response = endpoint.call(APIClient())
        problem(response, 401)
        assert response["WWW-Authenticate"].startswith("Token")

    def test_with_a_wrong_token(self, db: None, endpoint: Endpoint) -> None:
        problem(endpoint.call(client_of("gaia_" + "0" * 64)), 401)

    def test_by_somebody_who_is_no_operator(self, db: None, endpoint: Endpoint) -> None:
        from policy.models import User

        client = APIClient()
        client.force_login(User.objects.create_user("guest"))
        problem(endpoint.call(client), 403)

    @for_endpoints_that("writes")
    def test_writing_with_a_token_that_may_only_read(self, reader: APIClient, endpoint: Endpoint) -> None:
        problem(endpoint.call(reader, data={}, format="json"), 403)

    @for_endpoints_that("has_parameters")
    def test_what_is_unknown(self, reader: APIClient, writer: APIClient, endpoint: Endpoint) -> None:
        if endpoint.writes:
            assert endpoint.call(writer, data={}, format="json").status_code in {400, 404}
        else:
            problem(endpoint.call(reader), 404)

    @for_endpoints_that("has_body")
    def test_a_body_that_is_none(self, writer: APIClient, endpoint: Endpoint) -> None:
        for body in ("{", "[]", "7", '"text"', "null"):
            problem(endpoint.call(writer, data=body, content_type="application/json"), 400)

    @for_endpoints_that("has_body")
    def test_a_body_in_another_language(self, writer: APIClient, endpoint: Endpoint) -> None:
        problem(endpoint.call(writer, data="a: 1", content_type="application/yaml"), 415)

    def test_a_method_it_does_not_have(self, writer: APIClient, endpoint: Endpoint) -> None:
        has = {one.method for one in endpoints() if one.template == endpoint.template}
        for method in set(METHODS) - has:
            response = getattr(writer, method)(endpoint.path)
            problem(response, 405)
            assert {word.strip().lower() for word in response["Allow"].split(",")} - {"options", "head"} == has

    @for_endpoints_that("reads")
    def test_with_and_without_a_slash_at_the_end(self, reader: APIClient, endpoint: Endpoint) -> None:
        other = endpoint.path[:-1] if endpoint.path.endswith("/") else f"{endpoint.path}/"
        assert reader.get(other).status_code == reader.get(endpoint.path).status_code < 500
