"""Following the log inside one process: ring, pages, cursors, and what happens when something breaks."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import multiprocessing
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from django.db import connection, connections

import events.tail
from events import log
from events.actor import acting_as
from events.models import Event
from events.reading import read
from events.tail import Batch, Tail, follow, newest_id, the_tail

RING, PAGE = 10, 4


@pytest.fixture(autouse=True)
def tail(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tail]:
    """A tail with a ring of 10, read in pages of 4."""
    fresh = Tail(RING)
    monkeypatch.setattr(events.tail, "_the_tail", fresh)
    monkeypatch.setattr(events.tail, "PAGE", PAGE)
    monkeypatch.setattr(events.tail, "_LOOK_S", 0.05)  # so that it also stops soon
    yield fresh
    fresh.stop()


def emit(*names: str) -> None:
    """One transaction per name; `kind@subject` or just the end of the kind."""
    with acting_as("user:tester"):
        for name in names:
            kind, _, subject = name.partition("@")
            with log.atomic():
                log.emit(f"test.{kind}", subject=subject or "test", message=kind)


async def names(batches: AsyncGenerator[Batch], wanted: int) -> list[str]:
    """The next events, by the end of their kind."""
    found: list[str] = []
    async with asyncio.timeout(30):
        while len(found) < wanted:
            batch = await anext(batches)
            assert len(batch) <= PAGE
            found += [event["kind"].removeprefix("test.") for event in batch]
    return found


def numbered(count: int) -> list[str]:
    return [f"n{number}" for number in range(count)]


async def test_from_now_on() -> None:
    await read(emit, "before")
    async with aclosing(follow(None)) as batches:
        first = await anext(batches)
        assert (list(first), first.after, first.reset) == ([], await read(newest_id), False)
        await read(emit, "one", "two")
        assert await names(batches, 2) == ["one", "two"]


async def test_older_than_the_ring_comes_from_the_database() -> None:
    await read(emit, "before")
    the_tail()
    await read(emit, *numbered(3 * RING))
    async with aclosing(follow(0)) as batches:
        assert await names(batches, 3 * RING + 1) == ["before", *numbered(3 * RING)]
        await read(emit, "last")
        assert await names(batches, 1) == ["last"]


async def test_a_slow_reader_that_the_ring_has_left_behind_misses_nothing() -> None:
    async with aclosing(follow(None)) as slow, aclosing(follow(None)) as fast:
        await anext(slow)
        await anext(fast)
        await read(emit, *numbered(2))
        assert await names(slow, 2) == numbered(2)
        await read(emit, *numbered(3 * RING))
        assert await names(fast, 3 * RING + 2) == [*numbered(2), *numbered(3 * RING)]
        assert await names(slow, 3 * RING) == numbered(3 * RING)


@pytest.mark.parametrize("live", [True, False], ids=["live", "from the database"])
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"kinds": ("test.b",)}, ["b1", "b2"]),
        ({"kinds": ("test.a", "test.c")}, ["a1", "a2", "c1"]),
        ({"subjects": ("session/dev1_",)}, ["a1", "b1"]),
        ({"kinds": ("test.a",), "subjects": ("session/dev1_", "session/dev2_")}, ["a1", "a2"]),
        ({"kinds": ("test.A",)}, []),
        ({"subjects": ("session/dev1%",)}, []),
    ],
    ids=["kind", "kinds", "subject", "both", "case", "wildcard"],
)
async def test_only_what_was_asked_for(live: bool, asked: dict[str, Any], expected: list[str], settings: Any) -> None:
    settings.GAIA_STREAM_HEARTBEAT_S = 0.01
    written = ["a1@session/dev1_x", "b1@session/dev1_y", "a2@session/dev2_x", "c1@session/dev10", "b2@node/local"]
    if live:
        the_tail()
    await read(emit, *written)
    newest = await read(newest_id)
    found: list[str] = []
    async with aclosing(follow(0, **asked)) as batches, asyncio.timeout(30):
        while (batch := await anext(batches)).after < newest:
            found += [event["kind"].removeprefix("test.") for event in batch]
    found += [event["kind"].removeprefix("test.") for event in batch]
    assert found == expected


async def test_a_cursor_from_another_database_is_reset() -> None:
    await read(emit, "one")
    newest = await read(newest_id)
    async with aclosing(follow(newest + 1)) as batches:
        first = await anext(batches)
        assert (first.reset, first.after) == (True, newest)
        await read(emit, "two")
        assert await names(batches, 1) == ["two"]


async def test_a_cursor_the_tail_has_not_reached_yet_is_good(tail: Tail) -> None:
    tail.stop()  # as if it were slow: it never reads anything
    await read(emit, "one")
    async with aclosing(follow(await read(newest_id))) as batches:
        assert not (await anext(batches)).reset


async def test_the_cursor_stays_when_nothing_is_written_and_goes_on_when_nothing_matches(settings: Any) -> None:
    settings.GAIA_STREAM_HEARTBEAT_S = 0.01
    await read(emit, "one")
    newest = await read(newest_id)
    async with aclosing(follow(None, kinds=("nothing.",))) as batches, asyncio.timeout(30):
        assert [(await anext(batches)).after for _ in range(3)] == [newest] * 3
        await read(emit, "two")
        while (beat := await anext(batches)).after == newest:
            assert beat == []
        assert (list(beat), beat.after) == ([], newest + 1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # that is the point
async def test_a_dead_thread_is_replaced(tail: Tail) -> None:
    async with aclosing(follow(None)) as batches:
        await anext(batches)
        await read(emit, "one")
        assert await names(batches, 1) == ["one"]
        first = tail._thread
        assert first is not None
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(first.ident or 0), ctypes.py_object(SystemExit))
        waiting = asyncio.ensure_future(names(batches, 2))
        await asyncio.to_thread(first.join, 30)
        assert not first.is_alive()
        await read(emit, "two", "three")
        assert await waiting == ["two", "three"]
        assert tail._thread is not first


def lose_the_table() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {Event._meta.db_table} RENAME TO elsewhere")


def find_the_table() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE elsewhere RENAME TO {Event._meta.db_table}")


async def test_it_survives_a_database_in_trouble(caplog: pytest.LogCaptureFixture) -> None:
    async with aclosing(follow(None)) as batches:
        await anext(batches)
        await read(emit, "one")
        assert await names(batches, 1) == ["one"]
        with caplog.at_level(logging.ERROR, "events.tail"):
            await read(lose_the_table)
            async with asyncio.timeout(30):
                while "stumbled" not in caplog.text:  # noqa: ASYNC110  a thread is waited for
                    await asyncio.sleep(0.01)
        await read(find_the_table)
        await read(emit, "two")
        assert await names(batches, 1) == ["two"]


def end_connections() -> None:
    """What an administrator, or a restart of the server, does to everybody."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert cursor.fetchall()


def swap_the_log() -> None:
    """SQLite has no server; the closest is a checkpoint that empties the write-ahead log under everybody."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


ENDINGS = {"postgresql": end_connections, "sqlite": swap_the_log}


async def test_it_survives_the_loss_of_its_connection(caplog: pytest.LogCaptureFixture) -> None:
    async with aclosing(follow(None)) as batches:
        await anext(batches)
        for name in ("one", "two", "three"):
            await read(emit, name)
            assert await names(batches, 1) == [name]
            await read(ENDINGS[connection.vendor])
        await read(emit, "four")
        assert await names(batches, 1) == ["four"]


def follow_in_child(answer: Callable[[list[str]], None]) -> None:
    async def first_two() -> list[str]:
        async with aclosing(follow(0)) as batches:
            return await names(batches, 2)

    answer(asyncio.run(first_two()))
    connections.close_all()


def test_a_forked_process_has_a_tail_of_its_own(tail: Tail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events.tail, "_LOOK_S", 1.0)
    tail.ensure_running()
    emit("one", "two")
    # it sleeps while this process forks: what its thread holds within SQLite while it reads, no child can forget
    while tail.newer(0)[1] < newest_id():
        time.sleep(0.01)
    connections.close_all()
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    with tail._lock:  # the worst moment to fork
        child = context.Process(target=follow_in_child, args=(theirs.send,), daemon=True)
        child.start()
    try:
        assert ours.poll(30), "the child read nothing"
        assert ours.recv() == ["one", "two"]
        child.join(30)
        assert child.exitcode == 0
    finally:
        child.kill()
        child.join()
