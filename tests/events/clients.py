"""Clients of the streams, as other people's programs would be written."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from tests.live import Web

Frame = dict[str, str]


@asynccontextmanager
async def stream(web: Web, token: str = "", *, last_event_id: int | None = None, **query: Any) -> AsyncIterator[Any]:
    """An open event stream as an httpx response."""
    headers = {"Authorization": f"Token {token}"} if token else {}
    if last_event_id is not None:
        headers["Last-Event-ID"] = str(last_event_id)
    async with (
        httpx.AsyncClient(timeout=60) as client,
        client.stream("GET", f"{web.url}/api/events/stream", params=query, headers=headers) as response,
    ):
        yield response


async def frames(response: httpx.Response) -> AsyncIterator[Frame]:
    """The frames of an event stream: field to value; a comment under the empty name."""
    frame: Frame = {}
    async for line in response.aiter_lines():
        if line:
            field, _, value = line.partition(":")
            frame[field] = value.removeprefix(" ")
        elif frame:
            yield frame
            frame = {}


def socket(
    web: Web, token: str = "", *, headers: dict[str, str] | None = None, query: str = "", **more: Any
) -> connect:
    """A WebSocket to the event log."""
    shown = {**({"Authorization": f"Token {token}"} if token else {}), **(headers or {})}
    return connect(f"{web.socket_url}/ws/events/?{query}", additional_headers=shown, **more)


async def said(connection: ClientConnection) -> dict[str, Any]:
    """The next message."""
    message: dict[str, Any] = json.loads(await connection.recv())
    return message


async def said_events(connection: ClientConnection, wanted: int) -> list[dict[str, Any]]:
    """The next events, whatever pings come between."""
    events: list[dict[str, Any]] = []
    while len(events) < wanted:
        events += (await said(connection)).get("events", [])
    return events


async def restless_stream(web: Web, token: str, chance: random.Random) -> list[dict[str, Any]]:
    """Every event up to `test.end`, by a client whose connection breaks all the time."""
    seen: list[dict[str, Any]] = []
    while True:
        patience = chance.randrange(40)
        async with stream(web, token, last_event_id=seen[-1]["id"] if seen else 0) as response:
            async for frame in frames(response):
                if "data" in frame:
                    seen.append(json.loads(frame["data"]))
                    if seen[-1]["kind"] == "test.end":
                        return seen
                    if (patience := patience - 1) < 0:
                        break


async def restless_socket(web: Web, token: str, chance: random.Random) -> list[dict[str, Any]]:
    """As `restless_stream`, over WebSockets that are closed politely or just dropped."""
    seen: list[dict[str, Any]] = []
    while True:
        patience = chance.randrange(10)
        async with socket(web, token, query=f"after={seen[-1]['id'] if seen else 0}") as connection:
            while patience >= 0:
                patience -= 1
                seen += (await said(connection)).get("events", [])
                if seen and seen[-1]["kind"] == "test.end":
                    return seen
            if chance.random() < 0.5:
                connection.transport.abort()
