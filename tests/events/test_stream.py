"""Server-sent events, from a real server."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from events import log
from events.actor import acting_as
from events.reading import read
from events.tail import newest_id
from policy.actions import issue_token, revoke_tokens
from policy.models import User
from tests.conftest import Operator
from tests.events.clients import frames, stream
from tests.live import Web


def emit(*kinds: str, subject: str = "test") -> None:
    with acting_as("user:tester"), log.atomic():
        for kind in kinds:
            log.emit(kind, subject=subject, message=f"{kind} happened\nsaid: «ü»", lines="one\n\ntwo")


async def next_events(response: httpx.Response, wanted: int) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    async for frame in frames(response):
        if "data" in frame:
            found.append(frame)
        if len(found) == wanted:
            break
    return found


async def test_events_arrive_as_they_happen(running_web: Web, operator: Operator) -> None:
    newest = await read(newest_id)
    async with stream(running_web, operator.token) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["x-accel-buffering"] == "no"
        incoming = frames(response)
        assert await anext(incoming) == {"retry": "1000", "id": str(newest)}
        await read(emit, "test.one", "test.two")
        got = [frame async for frame in take(incoming, 2)]
    assert [frame["event"] for frame in got] == ["test.one", "test.two"]
    assert [int(frame["id"]) for frame in got] == [newest + 1, newest + 2]
    event = json.loads(got[0]["data"])
    assert (event["id"], event["actor"], event["message"]) == (
        newest + 1,
        "user:tester",
        "test.one happened\nsaid: «ü»",
    )


async def take(incoming: Any, wanted: int) -> Any:
    while wanted:
        frame = await anext(incoming)
        if "data" in frame:
            wanted -= 1
            yield frame


async def test_silence_is_filled_with_comments(running_web: Web, operator: Operator) -> None:
    async with stream(running_web, operator.token) as response:
        incoming = frames(response)
        await anext(incoming)
        assert await anext(incoming) == {"": "ping"}
        assert await anext(incoming) == {"": "ping"}


async def test_the_header_of_a_returning_client_wins_over_its_first_question(
    running_web: Web, operator: Operator
) -> None:
    await read(emit, "test.one", "test.two", "test.three")
    newest = await read(newest_id)
    async with stream(running_web, operator.token, after=newest - 2) as response:
        assert [frame["event"] for frame in await next_events(response, 2)] == ["test.two", "test.three"]
    async with stream(running_web, operator.token, last_event_id=newest - 1, after=0) as response:
        assert [frame["event"] for frame in await next_events(response, 1)] == ["test.three"]


async def test_filters(running_web: Web, operator: Operator) -> None:
    newest = await read(newest_id)
    await read(emit, "session.started", "session.ended", "node.started", subject="session/dev1_worker")
    await read(emit, "session.started", subject="session/dev2_worker")
    async with stream(
        running_web, operator.token, after=newest, kind=["session.", "node."], subject="session/dev1_*"
    ) as r:
        assert [f["event"] for f in await next_events(r, 3)] == ["session.started", "session.ended", "node.started"]
    async with stream(running_web, operator.token, after=newest, kind="session.started") as r:
        assert [json.loads(f["data"])["subject"][8:12] for f in await next_events(r, 2)] == ["dev1", "dev2"]


async def test_an_id_from_another_database_is_reset(running_web: Web, operator: Operator) -> None:
    newest = await read(newest_id)
    async with stream(running_web, operator.token, after=newest + 1_000) as response:
        first = await anext(frames(response))
        assert (first["event"], first["id"], json.loads(first["data"])) == ("reset", str(newest), {"after": newest})


async def test_a_browser_session_may_read(running_web: Web, operator: Operator) -> None:
    cookie = await read(operator.sign_in)
    async with (
        httpx.AsyncClient(timeout=60) as client,
        client.stream("GET", f"{running_web.url}/api/events/stream", headers={"Cookie": cookie}) as response,
    ):
        assert response.status_code == 200
        assert "id" in await anext(frames(response))


def outsider() -> str:
    """The token of somebody with an account who is no operator."""
    with acting_as("cli:tester"):
        return issue_token(User.objects.create_user("guest"), "guest")


async def test_who_may_not_read(running_web: Web, operator: Operator) -> None:
    guest = await read(outsider)
    for token, query, status, code in (
        ("", {}, 401, "not_authenticated"),
        ("gaia_wrong", {}, 401, "authentication_failed"),
        (guest, {}, 403, "permission_denied"),
        (operator.token, {"after": "x"}, 400, "invalid_input"),
        (operator.token, {"after": "-1"}, 400, "invalid_input"),
        (operator.token, {"kind": "a\0"}, 400, "invalid_input"),
    ):
        async with stream(running_web, token, **query) as response:
            problem = json.loads(await response.aread())
            assert (response.status_code, problem["type"]) == (status, f"about:blank#{code}")
            assert response.headers["content-type"] == "application/problem+json"
            assert response.headers.get("www-authenticate") == ("Token" if status == 401 else None)


def test_it_can_only_be_read(running_web: Web, operator: Operator) -> None:
    answer = httpx.post(f"{running_web.url}/api/events/stream", headers=operator.headers)
    assert answer.status_code == 405


def revoke() -> None:
    with acting_as("cli:tester"):
        assert revoke_tokens("test") == 1


async def test_a_revoked_token_ends_the_stream(running_web: Web, operator: Operator) -> None:
    async with stream(running_web, operator.token) as response:
        incoming = frames(response)
        await anext(incoming)
        await read(revoke)
        rest = [frame async for frame in incoming]
        assert all(set(frame) == {""} or frame["event"] == "token.revoked" for frame in rest)
    async with stream(running_web, operator.token) as response:
        assert response.status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example"])
def test_other_hosts_are_not_served(running_web: Web, operator: Operator, host: str) -> None:
    answer = httpx.get(f"{running_web.url}/api/events/stream", headers={**operator.headers, "Host": host})
    assert answer.status_code == 400
