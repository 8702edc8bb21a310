"""Whether the job queue works: a tiny job goes through all of it again and again, and has to come back.

django-q2 can stop working while all of its processes are there: a worker that is killed while it waits for work takes
the lock of the queue with it, and nobody gets any work from then on. Only a job that comes back shows that it works.
A job has come back when the queue has let go of it, so that the pusher, a worker and the monitor have each done
their part. Nothing else is written: no result, no event, no line of a log.

What is no failure: while jobs that came before become fewer, the queue works. While a worker is at one of them, it
works, for as long as a job may take. And failures are counted in looks, not in seconds: on a machine so busy that
jobs take long, looks are late by as much.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.models import OrmQ
from django_q.signals import post_execute_in_worker, pre_execute
from django_q.signing import SignedPackage

from common.home import gaia_home
from gaia_site.log_filters import CANARY
from processes.drivers.shim import TOKEN_VARIABLE

EVERY_S = 4.0
"""Seconds between two looks."""
LOOKS = 3
"""So many in a row see nothing come back before the queue counts as stuck."""
LOOKS_AT_START = 15
"""So many before the first one has come back: Python alone takes its time on a busy machine."""
_MOST_OUT = LOOKS  # one may be lost with the process that had it in hand; the next one is not
_SLACK_S = 15.0  # django-q2 ends a job that takes too long a few seconds after its time


@dataclass(frozen=True)
class Look:
    """What one look saw. ok: whether the queue works; answer: in words."""

    ok: bool
    answer: str


class Canary:
    """Looks after this node's job queue.

    Args:
        clock: seconds that only ever grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._one_at_a_time = threading.Lock()
        self._out: list[int] = []
        self._ahead = 0
        self._moved_at = 0.0
        self._sent_at = 0.0

    def look(self) -> Look:
        """See whether a job has come back since the last look, and send the next one. Takes milliseconds.

        Raises: DatabaseError when the database cannot be asked, which says nothing about the queue.
        """
        with self._one_at_a_time:
            return self._look()

    def _look(self) -> Look:
        left = set(OrmQ.objects.filter(pk__in=self._out).values_list("pk", flat=True))
        if len(left) < len(self._out):
            self._send()
            return Look(True, "a job came back")
        if not self._out:
            self._send()
            return Look(False, "a job is on its way")
        return self._waiting()

    def _waiting(self) -> Look:
        """Nothing has come back: whether there is a good reason for it."""
        now, ahead = self._clock(), self._ahead_of(self._out[0])
        fewer, self._ahead = self._ahead - ahead, ahead
        if fewer > 0:
            self._moved_at = now
            return Look(True, f"{_jobs(fewer)} got done, {ahead} to go")
        if ahead and now - self._moved_at < settings.Q_CLUSTER["timeout"] + _SLACK_S and at_work():
            return Look(True, f"a worker is at a job, {_jobs(ahead)} to go")
        waited = now - self._sent_at
        if len(self._out) < _MOST_OUT:
            self._out.append(_enqueue())
        return Look(False, f"a job that was sent {waited:.0f} s ago has not come back, and no other got done")

    def _send(self) -> None:
        self._out = [_enqueue()]
        self._ahead = self._ahead_of(self._out[0])
        self._sent_at = self._moved_at = self._clock()

    def _ahead_of(self, pk: int) -> int:
        return int(OrmQ.objects.filter(key=get_broker().list_key, pk__lt=pk).count())


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"


def _enqueue() -> int:
    """Put one into the queue as `async_task` does, which says a line about each. Returns: its row's id."""
    task = {
        "id": uuid4().hex,
        "name": "canary",
        "func": CANARY,
        "args": (),
        "kwargs": {},
        "started": timezone.now(),
        "save": False,
        "ack_failure": True,
    }
    return int(get_broker().enqueue(SignedPackage.dumps(task)))


# -- in the queue's own processes


def tell_of_work() -> None:
    """Have this process's workers hold a lock while they are at a job; the kernel lets go of it when they die."""
    pre_execute.connect(_began, dispatch_uid="gaia.at_work")
    post_execute_in_worker.connect(_ended, dispatch_uid="gaia.at_work")


def at_work() -> bool:
    """Whether any worker is at a job now."""
    with suppress(OSError), open(_lock_file(), "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def is_only_queue() -> bool:
    """Whether the daemon has started this process: then its predecessor and all of its workers have been ended."""
    return TOKEN_VARIABLE in os.environ


def take_back() -> int:
    """Let jobs that a queue which has ended had in hand be done at once, not when their time has run out.

    Only for when nobody else can be at them any more. Returns: how many there were.
    """
    now = timezone.now()
    return int(OrmQ.objects.filter(key=get_broker().list_key, lock__gt=now).update(lock=now))


_open: dict[int, Any] = {}


def _lock_file() -> Path:
    return gaia_home().locks / "jobs-at-work.lock"


def _began(**_: Any) -> None:
    with suppress(OSError):  # not knowing is no reason not to work
        fcntl.flock(_file_of_this_process(), fcntl.LOCK_SH)


def _ended(**_: Any) -> None:
    with suppress(OSError):
        fcntl.flock(_file_of_this_process(), fcntl.LOCK_UN)


def _file_of_this_process() -> Any:
    """A description of its own: one that was inherited would be let go of by whoever finishes first."""
    if os.getpid() not in _open:
        _open.clear()
        _open[os.getpid()] = open(_lock_file(), "ab")  # noqa: SIM115  for as long as the worker lives
    return _open[os.getpid()]
