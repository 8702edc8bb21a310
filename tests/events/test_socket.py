"""The WebSocket, on a real server."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import pytest
from django.contrib.sessions.models import Session
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from events import log
from events.actor import acting_as
from events.reading import read
from events.tail import newest_id
from policy.actions import issue_token, revoke_tokens
from policy.models import User
from tests.conftest import Operator
from tests.events.clients import said, said_events, socket
from tests.live import Web


def emit(*kinds: str, subject: str = "test") -> None:
    with acting_as("user:tester"), log.atomic():
        for kind in kinds:
            log.emit(kind, subject=subject, message=kind)


async def closed(connection: ClientConnection) -> int | None:
    """Read to the end; the code it was closed with."""
    async with asyncio.timeout(60):
        with suppress(ConnectionClosed):
            while True:
                await connection.recv()
    return connection.close_code


async def test_the_conversation(running_web: Web, operator: Operator) -> None:
    await read(emit, "test.before")
    newest = await read(newest_id)
    async with socket(running_web, operator.token, query=f"after={newest - 1}") as connection:
        assert await said(connection) == {"type": "hello", "after": newest - 1}
        first = await said(connection)
        assert (first["type"], [event["kind"] for event in first["events"]]) == ("events", ["test.before"])
        assert await said(connection) == {"type": "ping"}
        await connection.send(json.dumps({"type": "pong"}))
        await connection.send("not JSON at all")
        await connection.send(b"\xff\x00")
        await read(emit, "test.one", "test.two")
        assert [event["id"] for event in await said_events(connection, 2)] == [newest + 1, newest + 2]


async def test_without_a_cursor_from_now(running_web: Web, operator: Operator) -> None:
    await read(emit, "test.before")
    async with socket(running_web, operator.token) as connection:
        assert await said(connection) == {"type": "hello", "after": await read(newest_id)}
        await read(emit, "test.after")
        assert [event["kind"] for event in await said_events(connection, 1)] == ["test.after"]


async def test_a_cursor_from_another_database_is_reset(running_web: Web, operator: Operator) -> None:
    newest = await read(newest_id)
    async with socket(running_web, operator.token, query=f"after={10**30}") as connection:
        assert await said(connection) == {"type": "hello", "after": newest}
        assert await said(connection) == {"type": "reset", "after": newest}


async def test_filters(running_web: Web, operator: Operator) -> None:
    query = "kind=session.&kind=node.&subject=session/dev1_"
    async with socket(running_web, operator.token, query=query) as connection:
        await said(connection)
        await read(emit, "project.made", "session.started", "node.started", subject="session/dev1_worker")
        await read(emit, "session.started", subject="session/dev10_worker")
        await read(emit, "session.ended", subject="session/dev1_worker")
        found = [event["kind"] for event in await said_events(connection, 3)]
        assert found == ["session.started", "node.started", "session.ended"]


async def test_a_token_as_subprotocol_for_browsers(running_web: Web, operator: Operator) -> None:
    offered = ["gaia", f"gaia.token.{operator.token}"]
    async with socket(running_web, origin=running_web.url, subprotocols=offered) as connection:
        assert connection.subprotocol == "gaia"  # the token is not echoed
        assert (await said(connection))["type"] == "hello"
    async with socket(running_web, subprotocols=offered[1:]) as connection:
        assert connection.subprotocol is None
        assert (await said(connection))["type"] == "hello"


async def test_a_browser_session_only_from_our_own_pages(running_web: Web, operator: Operator) -> None:
    cookie = {"Cookie": await read(operator.sign_in)}
    async with socket(running_web, headers=cookie, origin=running_web.url) as connection:
        assert (await said(connection))["type"] == "hello"
    for origin in (None, f"http://127.0.0.1:{running_web.port + 1}", f"http://localhost:{running_web.port}", "null"):
        with pytest.raises(InvalidStatus) as refused:
            await socket(running_web, headers=cookie, origin=origin)
        assert refused.value.response.status_code == 403


async def test_a_token_does_not_make_a_strange_page_welcome(running_web: Web, operator: Operator) -> None:
    with pytest.raises(InvalidStatus):
        await socket(running_web, operator.token, origin="http://127.0.0.1:9")
    with pytest.raises(InvalidStatus):
        await socket(running_web, operator.token, headers={"Host": "evil.example"})


async def test_there_are_no_other_sockets(running_web: Web, operator: Operator) -> None:
    running_web.socket_url += "/elsewhere"
    with pytest.raises(InvalidStatus):
        await socket(running_web, operator.token)


def guest() -> str:
    with acting_as("cli:tester"):
        return issue_token(User.objects.create_user("guest"), "guest")


async def test_why_it_is_closed(running_web: Web, operator: Operator) -> None:
    stranger = await read(guest)
    for token, query, code in (
        ("gaia_wrong", "", 4401),
        (stranger, "", 4403),
        (operator.token, "after=x", 4400),
        (operator.token, "after=-1", 4400),
    ):
        async with socket(running_web, token, query=query) as connection:
            assert await closed(connection) == code
    async with socket(running_web, origin=running_web.url) as connection:  # one of our pages, signed out
        assert await closed(connection) == 4401


@pytest.mark.parametrize("message", ["x" * 5_000, b"x" * 5_000], ids=["text", "bytes"])
async def test_whoever_talks_too_much_is_cut_off(running_web: Web, operator: Operator, message: str | bytes) -> None:
    async with socket(running_web, operator.token) as connection:
        await connection.send(message)
        assert await closed(connection) == 1009


def revoke(operator: Operator) -> None:
    with acting_as("cli:tester"):
        assert revoke_tokens("test") == 1


def deactivate(operator: Operator) -> None:
    User.objects.filter(pk=operator.user.pk).update(is_active=False)


def demote(operator: Operator) -> None:
    User.objects.filter(pk=operator.user.pk).update(is_staff=False)


def sign_out(operator: Operator) -> None:
    Session.objects.all().delete()


@pytest.mark.parametrize("by_session", [False, True], ids=["token", "session"])
async def test_rights_taken_away_close_open_sockets(running_web: Web, operator: Operator, by_session: bool) -> None:
    async def connect() -> ClientConnection:
        if not by_session:
            return await socket(running_web, operator.token)
        return await socket(running_web, headers={"Cookie": await read(operator.sign_in)}, origin=running_web.url)

    def restore() -> None:
        operator.user.save()

    for take_away in (demote, deactivate, sign_out if by_session else revoke):
        connection = await connect()
        async with connection:
            assert (await said(connection))["type"] == "hello"
            assert (await said(connection))["type"] == "ping"
            await read(take_away, operator)
            assert await closed(connection) == 4403
        await read(restore)


async def test_leaving_frees_everything(running_web: Web, operator: Operator) -> None:
    """Clients that go away, politely or not, leave no task behind that would still be served."""
    for number in range(20):
        connection = await socket(running_web, operator.token)
        await said(connection)
        if number % 2:
            connection.transport.abort()
        else:
            await connection.close()
    async with socket(running_web, operator.token) as connection:
        await said(connection)
        await read(emit, "test.after")
        assert [event["kind"] for event in await said_events(connection, 1)] == ["test.after"]
    running_web.terminate()
    log_text = running_web.log.read_text()
    assert "Traceback" not in log_text
    assert "Task was destroyed" not in log_text
