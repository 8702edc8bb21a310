"""A reconciler whose daemon is the test, and what happens around it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from django.db import connection

from events.models import Event
from processes.drivers import spawn
from processes.drivers.liveness import Identity
from processes.drivers.shim import TOKEN_VARIABLE
from processes.models import Node, Process
from processes.reconcile import ProcessReconciler


class Turn:
    """A reconciler whose daemon is the test: it is told of ends when the test says so, and has time when it says so."""

    def __init__(self, node: Node) -> None:
        self.now = 1000.0
        self.watched: dict[int, Identity] = {}
        self.reconciler = ProcessReconciler(node, self._watch, self._aside, lambda: self.now)

    def _watch(self, identity: Identity, process_id: int) -> None:
        self.watched[process_id] = identity

    def _aside(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        then(work())

    def tick(self) -> None:
        self.reconciler.tick()

    def wait_for_end(self, process: Process) -> Process:
        """Reap the shim as the daemon's watcher does, and tell the reconciler."""
        _, status = os.waitpid(self.watched[process.pk].pid, 0)
        self.reconciler.ended(process.pk, os.waitstatus_to_exitcode(status))
        process.refresh_from_db()
        return process


@contextmanager
def read_only() -> Iterator[None]:
    """A database that refuses every write, as on a full disk."""
    sqlite = connection.vendor == "sqlite"
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA query_only=ON" if sqlite else "SET default_transaction_read_only=on")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA query_only=OFF" if sqlite else "SET default_transaction_read_only=off")


def kinds(owner: str = "test/one") -> list[str]:
    return list(Event.objects.filter(subject=owner).order_by("id").values_list("kind", flat=True))


def spawn_unnoticed(process: Process, **changes: Any) -> spawn.Spawned:
    """Start what the row tells of, and be killed before it could be written down."""
    fields: dict[str, Any] = {
        "argv": tuple(process.argv),
        "cwd": Path(process.cwd),
        "env": {"PATH": os.environ["PATH"]},
        "log": Path(process.log),
        "lock": Path(process.lock),
        "journal": Path(process.journal),
        "token": process.token,
    }
    return spawn.spawn(spawn.Spec(**{**fields, **changes}))


def reap_one() -> bool:
    """Reap a child that GAIA has started; whether there was one."""
    for child in psutil.Process().children():
        if is_attempt(child):
            os.waitpid(child.pid, 0)
            return True
    return False


def is_attempt(child: psutil.Process) -> bool:
    """Whether it is the shim of a start; one that has ended does not show its variables any more."""
    try:
        return TOKEN_VARIABLE in child.environ()
    except psutil.Error:  # a zombie
        return True
