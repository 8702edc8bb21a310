"""kill -9 of an idle worker of the job queue: it takes the queue's lock with it, and django-q2 never works again.

The canary finds out, the whole group is ended and started again, and jobs run. Its pace is quicker here than the real
one; tests/gaia_site/test_parts.py adds up the real one.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest
from django.db.models import F
from django_q.models import Task
from django_q.tasks import async_task

from events.models import Event
from gaia_site.parts import JOBS
from processes.models import Process
from services.models import Service
from services.states import ServiceState
from tests.installation import Gaia, until

pytestmark = pytest.mark.chaos


def quicker() -> None:
    """Have the canary looked at every two seconds once it has come back, and what hangs ended at once."""
    jobs = Service.objects.get(owner=JOBS)
    probes = [{**each, "interval": 2.0} if each["purpose"] == "liveness" else each for each in jobs.probes]
    Service.objects.filter(pk=jobs.pk).update(probes=probes, revision=F("revision") + 1)
    Process.objects.filter(owner=JOBS).update(stop_grace=0.5)


def runs() -> bool:
    return Service.objects.filter(owner=JOBS, state=ServiceState.RUNNING).exists()


def worker(gaia: Gaia) -> psutil.Process:
    """The only one there is: the sentinel's first child, before its monitor and its pusher."""
    [parent] = gaia.clusters()
    [sentinel] = psutil.Process(parent.pid).children()
    return min(sentinel.children(), key=lambda each: (each.create_time(), each.pid))


def test_jobs_run_again(gaia: Gaia, tmp_path: Path) -> None:
    gaia.up()
    until(runs)
    quicker()
    before = {one.pid for one in gaia.processes() if one.role == "jobs"}

    os.kill(worker(gaia).pid, signal.SIGKILL)
    async_task("tests.gaia_site.a_job.take_a_while", str(tmp_path))

    until((tmp_path / "finished").exists)
    until(runs)
    until(Task.objects.exists)  # what became of a job is written down after its end
    told = Event.objects.filter(subject=JOBS, kind="service.liveness_failed")[0]
    assert told.message.startswith("The job queue does not answer any more and is restarted: liveness: a job that was ")
    assert "has not come back, and no other got done" in told.message
    died = Event.objects.filter(subject=JOBS, kind="service.died")[0]
    assert died.data["cause"] == "liveness"
    assert before.isdisjoint({one.pid for one in gaia.processes()}), "the whole group was ended"
    assert set(Task.objects.values_list("func", flat=True)) == {"tests.gaia_site.a_job.take_a_while"}
