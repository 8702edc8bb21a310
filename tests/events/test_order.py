"""Nobody who follows the log misses an event or sees one twice, whoever writes and however they commit."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.synchronize import Event as Flag
from typing import Any

import pytest
from django.db import connections, transaction

from events import log
from events.actor import acting_as
from events.models import Event
from events.reading import read
from tests.conftest import Operator
from tests.events.clients import restless_socket, restless_stream
from tests.live import Web

WRITERS, TRANSACTIONS, CLIENTS_OF_A_KIND = 8, 60, 3


class Undone(Exception):
    pass


def emit(writer: int, number: int) -> None:
    log.emit("test.written", subject=f"test/{writer}", message="written", number=number)


def plain(writer: int, number: int, chance: random.Random) -> None:
    with log.atomic():
        emit(writer, number)


def slow_before(writer: int, number: int, chance: random.Random) -> None:
    with log.atomic():
        emit(writer, number)
        time.sleep(chance.random() / 100)


def slow_after(writer: int, number: int, chance: random.Random) -> None:
    """The event has its id long before it is committed."""
    with transaction.atomic():
        with log.atomic():
            emit(writer, number)
        time.sleep(chance.random() / 100)


def undone(writer: int, number: int, chance: random.Random) -> None:
    """Ids are used up and never appear."""
    with suppress(Undone), transaction.atomic():
        with log.atomic():
            emit(writer, -number)
        raise Undone
    plain(writer, number, chance)


WAYS: list[Callable[[int, int, random.Random], None]] = [plain, plain, slow_before, slow_after, undone]


def write(writer: int, begin: Flag) -> None:
    chance = random.Random(writer)
    begin.wait(60)
    with acting_as(f"jobs:writer{writer}"):
        for number in range(1, TRANSACTIONS + 1):
            chance.choice(WAYS)(writer, number, chance)
            time.sleep(chance.random() / 200)
    connections.close_all()


def end() -> None:
    with acting_as("user:tester"), log.atomic():
        log.emit("test.end", subject="test", message="the end")


def ids(events: list[dict[str, Any]]) -> list[int]:
    return [event["id"] for event in events]


@pytest.mark.parametrize("seed", [1, 2])
def test_eight_writers_and_restless_readers(running_web: Web, operator: Operator, seed: int) -> None:
    context = multiprocessing.get_context("fork")
    begin = context.Event()
    connections.close_all()  # a connection does not survive a fork
    writers = [context.Process(target=write, args=(number, begin), daemon=True) for number in range(WRITERS)]
    for writer in writers:
        writer.start()

    async def read_along() -> list[list[dict[str, Any]]]:
        async with asyncio.TaskGroup() as group:
            readers = [
                group.create_task(kind(running_web, operator.token, random.Random(f"{seed} {number} {kind.__name__}")))
                for number in range(CLIENTS_OF_A_KIND)
                for kind in (restless_socket, restless_stream)
            ]
            begin.set()
            for writer in writers:
                await asyncio.to_thread(writer.join)
            await read(end)
        return [reader.result() for reader in readers]

    try:
        logs = asyncio.run(read_along())
    finally:
        for writer in writers:
            writer.kill()
            writer.join()
    assert [writer.exitcode for writer in writers] == [0] * WRITERS
    stored = [event.as_dict() for event in Event.objects.order_by("id")]
    for seen in logs:
        assert ids(seen) == ids(stored)
        assert seen == stored
    for number in range(WRITERS):
        mine = [event["data"]["number"] for event in stored if event["subject"] == f"test/{number}"]
        assert mine == list(range(1, TRANSACTIONS + 1))
