"""`/api/operations/`; its door is tested in `tests/gaia_site/test_endpoints.py`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from processes.actions.operations import request_cancel, request_operation, run_operation
from processes.models import Operation
from processes.states import OperationState
from tests.endpoints import client_of, problem
from tests.processes.operation_settings import KINDS

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def kinds(settings: Any, acting: str) -> None:
    settings.GAIA_OPERATIONS = {**settings.GAIA_OPERATIONS, **KINDS}


@pytest.fixture
def client(operator: Any) -> APIClient:
    return client_of(operator.token)


def ask(kind: str = "test.count", subject: str = "project/demo", **params: Any) -> Operation:
    return request_operation(kind, f"Test of {kind}", subject=subject, params=params)


def test_one_as_it_runs_and_ends(client: APIClient) -> None:
    operation = ask(to=2)
    path = f"/api/operations/{operation.pk}/"
    shown = client.get(path).json()
    assert (shown["state"], shown["fraction"], shown["actor"]) == ("queued", 0.0, "user:tester")
    assert "params" not in shown, "an address may carry a password"
    run_operation(operation.pk, lambda _: None)
    shown = client.get(path).json()
    assert (shown["state"], shown["fraction"], shown["result"]) == ("succeeded", 1.0, {"counted": 2})
    assert shown["error"] is None


def test_a_failure_with_its_three_parts(client: APIClient) -> None:
    operation = ask("test.fail")
    run_operation(operation.pk)
    error = client.get(f"/api/operations/{operation.pk}/").json()["error"]
    assert (error["what"], error["meaning"], error["fix"]) == ("the disk is full", "Nothing was written.", "Make room.")


def test_the_list_is_filtered_and_costs_the_same_with_many(
    client: APIClient, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    for number in range(30):
        ask(subject=f"project/{number}", to=1)
    request_cancel(Operation.objects.earliest("id"))
    with django_assert_max_num_queries(6):
        shown = client.get("/api/operations/").json()
    assert len(shown["results"]) == 30
    assert [one["id"] for one in shown["results"]] == sorted((one["id"] for one in shown["results"]), reverse=True)
    assert client.get("/api/operations/?state=cancelled").json()["count"] == 1
    assert client.get("/api/operations/?subject=project/7").json()["count"] == 1
    assert client.get("/api/operations/?search=nothing-like-it").json()["count"] == 0


def test_cancel(client: APIClient) -> None:
    operation = ask(to=1)
    path = f"/api/operations/{operation.pk}/cancel/"
    response = client.post(path)
    assert (response.status_code, response.json()["state"]) == (202, "cancelled")
    assert problem(client.post(path), 409)["title"] == f"operation {operation.pk} is already cancelled"


def test_cancel_of_one_that_runs(client: APIClient) -> None:
    operation = ask(to=1)
    Operation.objects.update(state=OperationState.RUNNING)
    path = f"/api/operations/{operation.pk}/cancel/"
    for _ in range(2):  # asked again is no mistake
        response = client.post(path)
        assert (response.status_code, response.json()["state"]) == (202, "running")


def test_its_log_piece_by_piece(client: APIClient) -> None:
    operation = ask(to=1)
    path = f"/api/operations/{operation.pk}/log/"
    assert client.get(path).json() == {"text": "", "next_offset": 0}
    Path(operation.log).write_text("one\n")
    first = client.get(path).json()
    with Path(operation.log).open("a") as file:
        file.write("two\n")
    second = client.get(path, {"offset": first["next_offset"]}).json()
    assert (first["text"], second) == ("one\n", {"text": "two\n", "next_offset": 8})


@pytest.mark.parametrize("offset", ["-1", "x", "", "1.5", "²", "9" * 5000])
def test_an_offset_that_is_none(client: APIClient, offset: str) -> None:
    operation = ask(to=1)
    problem(client.get(f"/api/operations/{operation.pk}/log/", {"offset": offset}), 400)
