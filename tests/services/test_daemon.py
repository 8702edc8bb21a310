"""Services under a real daemon, which may be killed at any moment."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from processes.models import Process
from services.actions.running import find_service, start_all, stop_all
from services.models import Service
from services.states import ServiceState
from tests.processes.conftest import Daemon, Until, running
from tests.services.house import fresh, kinds, process_of

pytestmark = pytest.mark.usefixtures("leave_nothing")
Register = Callable[..., Service]


def test_a_killed_service_comes_back(daemon: Daemon, registered: Register, until: Until) -> None:
    daemon.start()
    service = registered(start=True)
    until(lambda: fresh(service).state == ServiceState.RUNNING)
    first = process_of(service).pid

    os.killpg(first, signal.SIGKILL)

    until(lambda: fresh(service).state == ServiceState.RUNNING and process_of(service).pid != first)
    assert running(process_of(service).pid)
    assert not running(first)


def test_killing_the_daemon_is_noticed_by_nobody(daemon: Daemon, registered: Register, until: Until) -> None:
    """Of five services two die while there is no daemon: those are started again, the others are not touched."""
    daemon.start()
    services = [registered(f"s{number}") for number in range(5)]
    start_all(services)
    until(lambda: all(fresh(each).state == ServiceState.RUNNING for each in services))
    before = {each.name: process_of(each).pid for each in services}

    daemon.kill()
    for dead in services[:2]:
        os.killpg(before[dead.name], signal.SIGKILL)
    daemon.start()

    until(lambda: all(fresh(each).restarts == 1 and fresh(each).state == ServiceState.RUNNING for each in services[:2]))
    for each in services[2:]:
        assert process_of(each).pid == before[each.name]
        assert Process.objects.filter(owner=each.owner).count() == 1
    for each in services[:2]:
        assert kinds(each).count("died") == 1
        assert Process.objects.filter(owner=each.owner).count() == 2


def test_what_is_wanted_while_there_is_no_daemon_is_done_by_the_next_one(
    daemon: Daemon, registered: Register, until: Until
) -> None:
    daemon.start()
    ends, begins = registered("ends", start=True), registered("begins")
    until(lambda: fresh(ends).state == ServiceState.RUNNING)
    daemon.kill()

    stop_all([ends])
    start_all([begins])
    daemon.start()

    until(lambda: fresh(ends).state == ServiceState.STOPPED)
    until(lambda: fresh(begins).state == ServiceState.RUNNING)
    assert find_service("ends").desired == "down"


def test_a_chain_of_five_starts_in_order(daemon: Daemon, registered: Register, until: Until) -> None:
    """
    one ◀── two ◀── three ◀── four ◀── five        each waits until the one before it is ready
    """
    names = ["one", "two", "three", "four", "five"]
    chain = [registered(name, depends_on=[names[place - 1]] if place else []) for place, name in enumerate(names)]
    daemon.start()
    start_all(reversed(chain))

    until(lambda: all(fresh(each).state == ServiceState.RUNNING for each in chain))
    begun = [process_of(each).started_at for each in chain]
    assert begun == sorted(begun)
