"""Watching costs the database nothing, and does not keep the server from stopping."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

from django.conf import settings
from django.db import connection, connections

from events import log
from events.actor import acting_as
from events.reading import read
from tests.conftest import Operator
from tests.events.clients import Frame, frames, said, said_events, socket, stream
from tests.live import Web

WATCHERS = 100  # of each kind


def connections_of(web: Web) -> int:
    """How many connections to the database the server holds."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return int(cursor.fetchone()[0])
    # every SQLite connection opens the write-ahead log for itself; the main file's descriptors are kept for reuse
    # after a connection is closed, because closing one would drop the locks of the others (POSIX)
    name = os.path.realpath(settings.DATABASES["default"]["NAME"]) + "-wal"
    return sum(target == name for target in links(Path(f"/proc/{web.pid}/fd")))


def links(folder: Path) -> Iterator[str]:
    for entry in folder.iterdir():
        try:
            yield os.readlink(entry)
        except FileNotFoundError:  # closed meanwhile
            continue


def emit() -> None:
    with acting_as("user:tester"), log.atomic():
        log.emit("test.done", subject="test", message="done")


async def until(question: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not await read(question):  # noqa: ASYNC110  another process is asked
            await asyncio.sleep(0.02)


async def next_event(incoming: AsyncIterator[Frame]) -> str:
    async for frame in incoming:
        if "event" in frame:  # and not a heartbeat
            return frame["event"]
    raise AssertionError("the stream ended")


def test_two_hundred_idle_watchers_hold_no_connection(start_web: Callable[..., Web], operator: Operator) -> None:
    web = start_web()
    connections.close_all()

    async def watch() -> None:
        async with AsyncExitStack() as stack:
            sockets = [await stack.enter_async_context(socket(web, operator.token)) for _ in range(WATCHERS)]
            for each in sockets:
                assert (await said(each))["type"] == "hello"
            streams = []
            for _ in range(WATCHERS):
                response = await stack.enter_async_context(stream(web, operator.token))
                streams.append(frames(response))
            for each in streams:
                assert "id" in await anext(each)
            await until(lambda: connections_of(web) <= 1)  # the tail's own
            await read(emit)
            for each in sockets:
                assert [event["kind"] for event in await said_events(each, 1)] == ["test.done"]
            for each in streams:
                assert await next_event(each) == "test.done"
            await until(lambda: connections_of(web) <= 1)
            await asyncio.to_thread(web.terminate)  # with all of them still watching

    asyncio.run(watch())
