"""`/api/orchestration/services/`: what is taken, what is answered, what is refused, and what nobody is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from events.models import Event
from processes.models import Process
from services.models import Service, ServiceRequest
from tests.conftest import Operator
from tests.console import rows
from tests.endpoints import client_of, problem
from tests.installation import free_port
from tests.services.house import House, process_of

pytestmark = pytest.mark.django_db

SERVICES = "/api/orchestration/services/"
PORT = free_port()
DOCUMENT: dict[str, Any] = {
    "name": "api-server",
    "command": "go",
    "args": ["run", "./cmd/api"],
    "port": PORT,
    "health_check": {
        "type": "http",
        "endpoint": f"http://localhost:{PORT}/health",
        "interval": "30s",
        "timeout": "5s",
        "retries": 3,
    },
    "auto_restart": True,
}
SECRET = "correct-horse-battery"


@pytest.fixture
def api(operator: Operator) -> APIClient:
    return client_of(operator.token)


def names(api: APIClient, query: str = "") -> list[str]:
    return [one["name"] for one in api.get(f"{SERVICES}{query}").json()["results"]]


def test_the_document_is_taken_as_it_is_written(api: APIClient) -> None:
    made = api.post(SERVICES, DOCUMENT)
    assert made.status_code == 201
    told = made.json()
    assert (told["state"], told["desired"], told["port"], told["owner"]) == (
        "stopped", "down", PORT, "service/api-server",
    )  # fmt: skip
    assert [(probe["purpose"], probe["ok"]) for probe in told["probes"]] == [("readiness", None), ("liveness", None)]
    assert told["definition"]["command"] == ["go", "run", "./cmd/api"]
    assert told["definition"]["restart"] == "always"
    for which in ("api-server", str(told["id"])):
        assert api.get(f"{SERVICES}{which}/").json()["id"] == told["id"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"command": None}, "command"),
        ({"name": "two words"}, "name"),
        ({"prot": 8080}, "did you mean port"),
        ({"health_check": {"type": "http"}}, "endpoint"),
        ({"health_check": {"type": "http", "endpoint": "/", "interval": "soon"}}, "interval"),
        ({"limits": {"memroy": 1}}, "memroy"),
        ({"kind": "stage"}, "stage"),
        ({"env": {"1X": "y"}}, "1X"),
        ({"secrets": {"KEY": [SECRET]}}, "secrets.KEY"),
    ],
)
def test_a_mistake_names_its_field(api: APIClient, change: dict[str, Any], says: str) -> None:
    answer = api.post(SERVICES, {**DOCUMENT, **change})
    told = problem(answer, 400)
    assert says in json.dumps(told), told
    assert SECRET not in answer.content.decode()
    assert not Service.objects.exists()


def test_what_collides_is_refused(api: APIClient) -> None:
    api.post(SERVICES, DOCUMENT)
    assert "api-server" in problem(api.post(SERVICES, DOCUMENT), 409)["title"]
    other = {**DOCUMENT, "name": "other"}
    assert str(PORT) in problem(api.post(SERVICES, other), 409)["title"]
    missing = {"name": "lonely", "command": "true", "depends_on": ["nobody"]}
    assert "nobody" in problem(api.post(SERVICES, missing), 404)["title"]


def test_filters_search_order_and_pages(api: APIClient) -> None:
    rows.services(4)
    Service.objects.filter(name="service002").update(state="failed", kind="mcp", restarts=7)
    assert names(api) == ["service000", "service001", "service002", "service003"]
    assert names(api, "?state=failed") == names(api, "?kind=mcp") == names(api, "?search=002") == ["service002"]
    assert names(api, "?ordering=-restarts")[0] == "service002"
    assert names(api, "?page_size=3&page=2") == ["service003"]
    problem(api.get(f"{SERVICES}?state=nonsense"), 400)
    problem(api.get(f"{SERVICES}?page=9"), 404)


def test_one_tells_what_it_uses_and_needs(api: APIClient) -> None:
    first, second = rows.services(2)
    told = api.get(f"{SERVICES}{second.name}/").json()
    assert (told["cpu"], told["memory"]) == (7.0, 57 << 20)
    assert told["depends_on"] == [{"name": first.name, "condition": "healthy", "pattern": "", "met": True}]
    [limit] = told["limits"]
    assert (limit["name"], limit["limit"], limit["kept_by"], limit["warning"]) == ("memory_mb", 512, "cgroup", False)
    assert told["probes"][0]["answer"] == "200 in time"
    assert api.get(f"{SERVICES}{first.name}/").json()["dependents"] == [second.name]


@pytest.mark.parametrize("count", [10, 100])
def test_the_number_of_queries_does_not_grow(api: APIClient, count: int) -> None:
    rows.services(count)
    api.get(SERVICES)
    with CaptureQueriesContext(connection) as captured:
        assert len(api.get(SERVICES).json()["results"]) == count
    assert len(captured) == 9  # token and account; count and page; dependents, processes, samples, probes, gates


def test_changing_parts_and_the_whole(api: APIClient) -> None:
    api.post(SERVICES, {**DOCUMENT, "secrets": {"KEY": SECRET}, "env": {"A": "1"}})
    one = f"{SERVICES}api-server/"
    changed = api.patch(one, {"port": 18081, "env": {"B": "2"}, "auto_restart": False})
    assert changed.status_code == 200, changed.content
    told = changed.json()["definition"]
    assert (told["port"], told["env"], told["restart"]) == (18081, {"B": "2"}, "never")
    assert told["secrets"] == {"KEY": None}
    assert Service.objects.get().secrets == {"KEY": SECRET}, "what is not named keeps its value"
    checked = api.patch(one, {"health_check": {"type": "tcp", "endpoint": "localhost:18081"}}).json()
    assert [probe["kind"] for probe in checked["probes"]] == ["tcp"], "in place of those it had; it is not restarted"
    assert "env" not in api.patch(one, {"env": None}).json()["definition"]
    assert "args" in problem(api.patch(one, {"args": ["x"]}), 400)["title"]
    assert "keeps its name" in problem(api.put(one, {"name": "other", "command": "true"}), 400)["detail"]
    whole = api.put(one, {"name": "api-server", "command": "true"}).json()
    assert (whole["port"], whole["definition"].get("secrets")) == (None, None)
    assert Service.objects.get().secrets == {}


def test_start_stop_restart_and_unregister(
    api: APIClient, house: House, registered: Callable[..., Service], leave_nothing: None
) -> None:
    registered("api")
    started = api.post(f"{SERVICES}api/start/")
    assert started.status_code == 202
    assert (started.json()["state"], started.json()["desired"]) == ("starting", "up")
    house.tick()
    running = api.get(f"{SERVICES}api/").json()
    assert running["state"] == "running"
    first = process_of(Service.objects.get())
    assert running["pid"] == first.pid
    assert api.post(f"{SERVICES}api/restart/", {"graceful": False}).json()["state"] == "stopping"
    house.tick()
    house.reap(first)
    house.tick()
    second = process_of(Service.objects.get())
    assert second.attempt == first.attempt + 1
    assert api.get(f"{SERVICES}api/").json()["restarts"] == 0, "it was asked for"
    assert api.post(f"{SERVICES}api/stop/", {}).json()["desired"] == "down"
    house.tick()
    house.reap(second)
    assert api.get(f"{SERVICES}api/").json()["state"] == "stopped"
    problem(api.post(f"{SERVICES}api/stop/", {"graceful": "perhaps"}), 400)
    assert api.delete(f"{SERVICES}api/").status_code == 204
    problem(api.get(f"{SERVICES}api/"), 404)


def test_what_is_needed_is_not_unregistered(api: APIClient) -> None:
    first, _ = rows.services(2, state="stopped", desired="down")
    Process.objects.all().delete()
    assert "service001" in problem(api.delete(f"{SERVICES}{first.name}/"), 409)["title"]


def test_of_a_stage_nothing_is_changed_here(api: APIClient) -> None:
    [one] = rows.services(1, kind="stage")
    path = f"{SERVICES}{one.name}/"
    changes = (api.patch(path, {"env": {"A": "b"}}), api.patch(path, {"kind": "process"}), api.delete(path))
    for answer in (*changes, api.put(path, {"name": one.name, "command": "true"})):
        told = problem(answer, 409)
        assert "made by GAIA itself" in told["title"]
        assert "gaia.yaml" in told["fix"]
    assert Service.objects.get().revision == 1


def test_a_repeated_request_does_nothing_twice(api: APIClient, registered: Callable[..., Service]) -> None:
    again = {"HTTP_IDEMPOTENCY_KEY": "one"}
    made = api.post(SERVICES, DOCUMENT, **again)
    repeated = api.post(SERVICES, DOCUMENT, **again)
    assert (made.status_code, repeated.status_code) == (201, 201)
    assert made.json()["id"] == repeated.json()["id"]
    assert "another request" in problem(api.post(SERVICES, {**DOCUMENT, "port": 1}, **again), 409)["title"]

    registered("other", start=True)
    for _ in range(2):
        assert api.post(f"{SERVICES}other/stop/", HTTP_IDEMPOTENCY_KEY="two").status_code == 202
    assert Event.objects.filter(subject="service/other", kind="service.stop_requested").count() == 1
    assert SECRET not in json.dumps(list(ServiceRequest.objects.values("key", "digest", "actor")))
    problem(api.post(f"{SERVICES}other/start/", HTTP_IDEMPOTENCY_KEY="x" * 101), 400)


def test_a_request_that_failed_may_be_repeated(api: APIClient) -> None:
    again = {"HTTP_IDEMPOTENCY_KEY": "one"}
    wanted = {"name": "later", "command": "true", "depends_on": ["api-server"]}
    problem(api.post(SERVICES, wanted, **again), 404)
    api.post(SERVICES, DOCUMENT)
    assert api.post(SERVICES, wanted, **again).status_code == 201


def test_a_token_that_may_only_read(operator: Operator, acting: str) -> None:
    from policy.actions import issue_token

    rows.services(1)
    reader = client_of(issue_token(operator.user, "reader", scopes=["read"]))
    one = f"{SERVICES}service000/"
    assert {reader.get(f"{one}{what}").status_code for what in ("", "health/", "logs/", "metrics/", "events/")} == {200}
    for answer in (
        reader.post(SERVICES, DOCUMENT), reader.put(one, DOCUMENT), reader.patch(one, {}), reader.delete(one),
        reader.post(f"{one}start/"), reader.post(f"{one}stop/"), reader.post(f"{SERVICES}import/", {"services": []}),
    ):  # fmt: skip
        problem(answer, 403)


def test_health_and_its_history(api: APIClient) -> None:
    [one] = rows.services(1)
    rows.answer(one, ok=False, said="connection refused")
    told = api.get(f"{SERVICES}{one.name}/health/").json()
    said = {period["answer"]: period["ok"] for period in told["history"]}
    assert said == {"200 in time": True, "connection refused": False}
    assert set(told) == {"state", "since", "problem", "ready_at", "probes", "history"}


def test_figures(api: APIClient) -> None:
    [one] = rows.services(1)
    told = api.get(f"{SERVICES}{one.name}/metrics/?span=1h").json()
    assert (told["span"], told["seconds"], len(told["points"])) == ("1h", 10, 8)
    assert told["points"][-1][1:] == [7, 8, 57 << 20, 67 << 20]
    assert told["points"] == sorted(told["points"])
    assert api.get(f"{SERVICES}{one.name}/metrics/").json()["span"] == "1h"
    assert api.get(f"{SERVICES}{one.name}/metrics/?span=24h").json()["seconds"] == 60
    problem(api.get(f"{SERVICES}{one.name}/metrics/?span=1y"), 400)


@pytest.fixture
def written(tmp_path: Path) -> tuple[Service, Path]:
    """A service with a secret, and its log."""
    [one] = rows.services(1)
    log = tmp_path / "log"
    Process.objects.update(log=str(log), cwd=str(tmp_path))
    Service.objects.update(secrets={"KEY": SECRET, "NEW": None, "PEM": f"-----\n{SECRET[::-1]}\n-----"})
    return one, log


def test_the_log_is_followed_by_offset(api: APIClient, written: tuple[Service, Path]) -> None:
    one, log = written
    logs = f"{SERVICES}{one.name}/logs/"
    assert api.get(logs).json() == {"text": "", "next_offset": 0, "unfinished": ""}
    log.write_text("".join(f"line {number}\n" for number in range(200)) + "begun")
    told = api.get(f"{logs}?lines=3").json()
    assert (told["text"], told["unfinished"]) == ("line 198\nline 199\n", "begun")
    assert len(api.get(logs).json()["text"].splitlines()) == 99
    with log.open("a") as file:
        file.write(" and ended\nnext\n")
    after = api.get(f"{logs}?offset={told['next_offset']}").json()
    assert (after["text"], after["unfinished"]) == ("begun and ended\nnext\n", "")
    assert api.get(f"{logs}?offset={after['next_offset']}").json()["text"] == ""
    for bad in ("lines=0", "lines=x", "lines=10001", "offset=-1", "offset=1e3"):
        problem(api.get(f"{logs}?{bad}"), 400)


def test_secrets_are_in_no_answer(api: APIClient, written: tuple[Service, Path]) -> None:
    one, log = written
    log.write_text(f"key is {SECRET}\nand {SECRET[::-1]} None\nhalf {SECRET[:8]}")
    with log.open("a") as file:
        file.write(f"{SECRET[8:]}\n")
    base = f"{SERVICES}{one.name}/"
    paths = ["", "health/", "metrics/", "events/", "logs/?lines=9", *(f"logs/?offset={at}" for at in range(0, 60, 5))]
    for path in [SERVICES, f"{SERVICES}export/", *(f"{base}{path}" for path in paths)]:
        text = api.get(path).content.decode()
        assert not any(part in text for part in (SECRET, SECRET[6:], SECRET[::-1])), path
    assert api.get(f"{base}logs/").json()["text"].splitlines()[1] == "and *** None"
    assert api.get(base).json()["definition"]["secrets"] == {"KEY": None, "NEW": None, "PEM": None}


def test_what_happened_comes_in_pages(api: APIClient, registered: Callable[..., Service]) -> None:
    registered("api")
    registered("other")
    api.patch(f"{SERVICES}api/", {"env": {"A": "1"}})
    told = api.get(f"{SERVICES}api/events/?limit=1").json()
    assert [event["kind"] for event in told["results"]] == ["service.redefined"]
    older = api.get(f"{SERVICES}api/events/?before={told['next_before']}").json()
    assert [event["kind"] for event in older["results"]] == ["service.registered"]


def test_export_and_import(api: APIClient) -> None:
    api.post(SERVICES, {**DOCUMENT, "secrets": {"KEY": SECRET}})
    api.post(SERVICES, {"name": "worker", "command": "true", "depends_on": ["api-server"]})
    exported = api.get(f"{SERVICES}export/").json()
    assert [one["name"] for one in exported["services"]] == ["api-server", "worker"]
    api.delete(f"{SERVICES}worker/")
    exported["services"][0]["port"] = 18082
    planned = api.post(f"{SERVICES}import/?dry_run=true", exported).json()
    assert (planned["registered"], planned["redefined"], planned["unchanged"]) == (["worker"], ["api-server"], [])
    assert not Service.objects.filter(name="worker").exists()
    assert api.post(f"{SERVICES}import/", exported).json() == planned
    assert api.post(f"{SERVICES}import/", exported).json()["unchanged"] == ["api-server", "worker"]
    server = Service.objects.get(name="api-server")
    assert (server.port, server.secrets) == (18082, {"KEY": SECRET})
    wrong = {"services": [{"name": "a", "command": "true"}, {"name": "b"}]}
    assert "b: command" in problem(api.post(f"{SERVICES}import/", wrong), 400)["title"]
    assert not Service.objects.filter(name="a").exists()
    problem(api.post(f"{SERVICES}import/?dry_run=perhaps", exported), 400)


def test_a_request_that_was_interrupted(api: APIClient, registered: Callable[..., Service]) -> None:
    registered("api")
    again = {"HTTP_IDEMPOTENCY_KEY": "one"}
    assert api.post(f"{SERVICES}api/start/", **again).status_code == 202
    ServiceRequest.objects.update(done=False)
    assert "is being done" in problem(api.post(f"{SERVICES}api/start/", **again), 409)["title"]
    ServiceRequest.objects.update(created_at=timezone.now() - timedelta(minutes=3))
    assert api.post(f"{SERVICES}api/start/", **again).status_code == 202
    assert ServiceRequest.objects.get().done
    assert Event.objects.filter(subject="service/api", kind="service.start_requested").count() == 1
    ServiceRequest.objects.update(created_at=timezone.now() - timedelta(days=2))
    api.post(f"{SERVICES}api/stop/", HTTP_IDEMPOTENCY_KEY="two")
    assert list(ServiceRequest.objects.values_list("key", flat=True)) == ["two"], "they are kept for a day"
