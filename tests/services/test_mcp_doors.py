"""`/mcp/status` and what a session's `.mcp.json` says."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from common.errors import InvalidInput
from processes.models import Process, Sample
from services.actions.definitions import redefine, register
from services.actions.registry import definition_of
from services.mcp_status import client_config, mcp_status, without_secrets
from services.models import ProbePeriod, Service
from services.spec import parse_spec
from tests.conftest import Operator
from tests.console import rows
from tests.endpoints import client_of, problem

pytestmark = pytest.mark.django_db
ANSWER = {"name": "memory", "version": "2.0", "protocol": "2025-11-25", "tools": 12}


def server(name: str = "memory", **more: Any) -> Service:
    """An MCP server that runs and was asked a moment ago."""
    [one] = rows.services(1)
    probe = {"name": "mcp", "purpose": "readiness", "kind": "mcp", "interval": 30}
    given = {"name": name, "owner": f"service/{name}", "kind": "mcp", "port": 8003, "probes": [probe], **more}
    Service.objects.filter(pk=one.pk).update(**given)
    Process.objects.filter(owner=one.owner).update(owner=given["owner"], token=f"{name}#1")
    Sample.objects.filter(owner=one.owner).update(owner=given["owner"])
    ProbePeriod.objects.filter(service=one).update(probe="mcp", answer="memory 2.0", facts=ANSWER)
    one.refresh_from_db()
    return one


@pytest.fixture
def api(operator: Operator) -> APIClient:
    return client_of(operator.token)


def test_status_tells_of_every_server(api: APIClient) -> None:
    server()
    [other] = rows.services(1, kind="process")
    told = api.get("/mcp/status")
    assert told.status_code == 200
    body = told.json()
    assert body["checked_every_s"] == 30
    [one] = body["servers"]
    assert one["name"] != other.name
    expected = {
        "name": "memory", "transport": "http", "url": "http://127.0.0.1:8003/mcp", "state": "running",
        "desired": "up", "tools": 12, "server": "memory 2.0", "protocol": "2025-11-25", "problem": "",
    }  # fmt: skip
    assert {name: one[name] for name in expected} == expected
    assert one["last_check"]["ok"] is True
    assert one["since"]


def test_a_limit_of_which_four_fifths_are_used_is_a_warning(api: APIClient) -> None:
    one = server()
    newest = Sample.objects.filter(owner=one.owner).latest("at")
    for used, warning in ((409, False), (410, True)):
        Sample.objects.filter(pk=newest.pk).update(memory_most=used << 20)
        [limit] = api.get("/mcp/status").json()["servers"][0]["limits"]
        assert (limit["name"], limit["used"], limit["limit"], limit["warning"]) == ("memory_mb", used, 512, warning)


def test_one_that_was_not_asked_yet_says_nothing_it_does_not_know(api: APIClient) -> None:
    server()
    ProbePeriod.objects.all().delete()
    one = api.get("/mcp/status").json()["servers"][0]
    assert (one["tools"], one["server"], one["protocol"], one["last_check"]) == (None, None, None, None)


def test_status_is_for_those_who_are_known() -> None:
    refused = APIClient().get("/mcp/status")
    assert problem(refused, 401)["title"]


def test_status_asks_as_often_for_many(api: APIClient) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            mcp_status()
        return len(captured)

    server()
    few = queries()
    for number in range(4):
        server(f"more{number}", port=9000 + number)
    assert len(mcp_status()) == 5
    assert queries() == few


def definition(**fields: Any) -> Service:
    spec = parse_spec({"name": "one", "kind": "mcp", "command": ["server", "--quiet"], **fields})
    return Service(
        name=spec.name, kind=spec.kind, argv=spec.command, env=spec.env, secrets=spec.secrets, port=spec.port,
        details={"mcp": spec.mcp.model_dump(mode="json")} if spec.mcp else {},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "entry"),
    [
        ({"port": 8003}, {"type": "http", "url": "http://127.0.0.1:8003/mcp"}),
        ({"port": 8003, "mcp": {"url": "http://127.0.0.1:8003/other"}},
         {"type": "http", "url": "http://127.0.0.1:8003/other"}),
        ({"mcp": {"transport": "stdio"}, "env": {"MODE": "fast"}},
         {"command": "server", "args": ["--quiet"], "env": {"MODE": "fast"}}),
        ({"mcp": {"transport": "stdio"}, "secrets": {"TOKEN": "swordfish"}},
         {"command": "server", "args": ["--quiet"], "env": {}}),
        ({"port": 8003, "env": {"MODE": "fast"}, "secrets": {"TOKEN": "swordfish"}},
         {"type": "http", "url": "http://127.0.0.1:8003/mcp"}),
    ],
)  # fmt: skip
def test_what_agents_are_told(fields: dict[str, Any], entry: dict[str, Any]) -> None:
    one = definition(**fields)
    assert client_config([one]) == {"mcpServers": {"one": entry}}
    stdio = fields.get("mcp", {}).get("transport") == "stdio"
    assert without_secrets([one]) == (["one"] if stdio and one.secrets else [])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "needs a port"),
        ({"mcp": {"transport": "stdio"}, "port": 80}, "no address and no port"),
        ({"mcp": {"transport": "sse"}}, "transport"),
        ({"mcp": {"transport": "stdio"}, "health_check": {"type": "tcp", "endpoint": "h:80"}}, "its check is mcp"),
        ({"kind": "process", "mcp": {"transport": "stdio"}}, '"mcp" goes with "kind": "mcp"'),
        ({"mcp": {"url": "localhost/mcp"}}, "the address of an MCP server"),
        ({"mcp": {"url": "http://localhost:99999/mcp"}}, "the address of an MCP server"),
        ({"kind": "process", "health_check": {"type": "mcp"}}, "needs an endpoint"),
        ({"port": 80, "health_check": {"type": "mcp", "endpoint": "http://[::1/"}}, "the address of an MCP server"),
        ({"port": 80, "health_check": {"type": "canary"}}, "job queue"),
        ({"port": 80, "health_check": {"type": "http", "endpoint": "http://a b/"}}, "needs an endpoint"),
        (
            {"port": 80, "health_check": {"type": "http", "endpoint": "/a\r\nEvil: yes"}},
            "characters that no address has",
        ),
        ({"port": 80, "health_check": {"type": "tcp", "endpoint": "localhost:0"}}, "HOST:PORT"),
    ],
)
def test_definitions_that_cannot_be(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_spec({"name": "one", "kind": "mcp", "command": "server", **fields})
    assert said in f"{refused.value.what} {refused.value.meaning} {refused.value.fix}"


def test_agents_are_led_to_where_it_answers_until_it_is_restarted(acting: str) -> None:
    def wanted(port: int) -> Any:
        return parse_spec({"name": "one", "kind": "mcp", "command": "server", "cwd": "/", "port": port})

    service = register(wanted(18003))
    Service.objects.filter(pk=service.pk).update(state="running", desired="up")
    changed = redefine(service, wanted(18004))
    entry = {"type": "http", "url": "http://127.0.0.1:18003/mcp"}
    assert client_config([changed]) == {"mcpServers": {"one": entry}}
    assert mcp_status([changed])[0]["url"] == entry["url"]
    Service.objects.filter(pk=service.pk).update(started_as={})
    changed.refresh_from_db()
    assert mcp_status([changed])[0]["url"] == "http://127.0.0.1:18004/mcp"


def test_the_check_is_there_without_being_written() -> None:
    probes = parse_spec({"name": "one", "kind": "mcp", "command": "server", "port": 8003}).named_probes
    assert [(each.kind, each.purpose, each.interval) for each in probes] == [
        ("mcp", "readiness", 30), ("mcp", "liveness", 30),
    ]  # fmt: skip
    own = {"type": "mcp", "interval": "5s"}
    written = parse_spec({"name": "one", "kind": "mcp", "command": "server", "port": 8003, "health_check": own})
    assert [each.interval for each in written.named_probes] == [5, 5]
    once = parse_spec({"name": "one", "kind": "mcp", "command": "server", "port": 8003, "restart": "never"})
    assert [each.purpose for each in once.named_probes] == ["readiness"]


@pytest.mark.parametrize(
    "fields", [{"port": 18003, "mcp": {"url": "http://127.0.0.1:18003/x"}}, {"mcp": {"transport": "stdio"}}]
)
def test_a_definition_that_is_exported_is_the_same_when_it_is_imported(acting: str, fields: dict[str, Any]) -> None:
    written = {"name": "one", "kind": "mcp", "command": ["server"], "cwd": "/", **fields}
    service = register(parse_spec(written))
    assert parse_spec(definition_of(service)) == parse_spec(written)
    assert redefine(service, parse_spec(definition_of(service))).revision == 1
