"""Asks services how they are: aside from everything else, in one thread with one event loop.

`turn` is called by the daemon and looks in the database for what runs; the loop asks each probe when it is due,
whatever the others do; `health` tells the supervisor, from memory, what was found; and what was found is written down
by a third thread: at once when an answer turns, else a batch every few seconds. So a probe that hangs, a database that
does not answer and a supervisor that is busy do not hold each other up.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from django.db import DatabaseError, InterfaceError, close_old_connections, connections
from django.utils import timezone

from common.redaction import mask_cut, mask_values
from processes.models import Node, Process
from processes.states import ProcessState
from services.actions.health import Finding, record
from services.asking import KINDS, Kind, Question, Target, target_of
from services.courses import Course, verdict
from services.drivers.probes import Result, ask, bad, short
from services.mcp import runs_for_clients_only
from services.models import Service
from services.spec import Probe
from services.states import Desired, ProbeKind, ProbePurpose, ServiceState
from services.verdict import UNKNOWN, Health

logger = logging.getLogger(__name__)

_WRITE_EVERY_S = 5.0
_MOST_UNWRITTEN = 10_000  # a database that stays away: then the oldest are dropped
_THREADS = 32  # for names that have to be looked up and logs that have to be read
_ASKED = (ServiceState.STARTING, ServiceState.RUNNING, ServiceState.UNREADY)

Key = tuple[int, int, int]
"""Service, process (0: none runs), revision of the definition."""


class Prober:
    """Asks the services of one node.

    Args:
        node: whose.
        kinds: how each kind of probe is asked.
        clock: seconds that only ever grow.
        uniform: a random number between two others.
    """

    def __init__(
        self,
        node: Node,
        *,
        kinds: Mapping[str, Kind] = KINDS,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._node = node
        self._kinds = kinds
        self._clock = clock
        self._uniform = uniform
        self._health: dict[tuple[int, int], Health] = {}
        self._notes = Notes()
        self._known: set[Key] = set()
        self._refused: dict[int, str] = {}  # services that cannot be asked, and why
        self._watches: dict[Key, _Watch] = {}  # the loop's own
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="probe results")
        self._lookups = ThreadPoolExecutor(_THREADS, thread_name_prefix="probe")

    # -- asked and told from other threads

    def health(self, service_id: int, process_id: int) -> Health:
        """What the probes say of a start; from memory.

        Args:
            process_id: 0 for a service of which no process runs.
        """
        return self._health.get((service_id, process_id), UNKNOWN)

    def turn(self) -> None:
        """See what runs, and have it asked; what does not run any more is let go."""
        wanted = self._wanted()
        gone, new = self._known - wanted.keys(), wanted.keys() - self._known
        if not gone and not new:
            return
        targets = self._targets([wanted[key] for key in new]) if new else []
        loop = self._running_loop()
        for key in gone:
            loop.call_soon_threadsafe(self._let_go, key)
        for key, target in targets:
            if key not in self._known:  # its definition may have changed between the two looks
                loop.call_soon_threadsafe(self._take_up, key, target)
        self._known = (self._known - gone) | {key for key, _ in targets}

    def close(self) -> None:
        """Ask nobody any more, write down what was found, and let go of threads and connections."""
        if self._loop is not None and self._thread is not None:
            asyncio.run_coroutine_threadsafe(self._end_all(), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop = self._thread = None
        self._lookups.shutdown(wait=False)
        with suppress(RuntimeError):  # it is closed already
            self._writer.submit(self._write)
            self._writer.submit(connections.close_all)
        self._writer.shutdown()

    # -- what runs

    def _wanted(self) -> dict[Key, tuple[int, int]]:
        """Two small queries, as this comes often: by key the ids of service and process."""
        services = Service.objects.filter(node=self._node, state__in=_ASKED, desired=Desired.UP).exclude(
            probes=[], started_as={}
        )
        rows = list(services.values_list("pk", "owner", "revision", "kind", "details", "started_as"))
        if not rows:
            return {}
        running = Process.objects.filter(node=self._node, state=ProcessState.RUNNING, stop_requested_at=None)
        pids = dict(running.values_list("owner", "pk"))
        wanted = {}
        for pk, owner, revision, kind, details, as_started in rows:
            stands_by = runs_for_clients_only(as_started.get("kind", kind), as_started.get("details", details))
            process = 0 if stands_by else pids.get(owner)
            if process is not None:
                wanted[pk, process, as_started.get("revision", revision)] = (pk, process)
        return wanted

    def _targets(self, pairs: Sequence[tuple[int, int]]) -> list[tuple[Key, Target]]:
        services = Service.objects.in_bulk([service for service, _ in pairs])
        processes = Process.objects.in_bulk([process for _, process in pairs])
        targets = []
        for service_id, process_id in pairs:
            service = services.get(service_id)
            if service is None:
                continue
            try:
                target = target_of(service, processes.get(process_id))
            except Exception as error:  # one that cannot be asked does not keep the others from being asked
                if self._refused.get(service_id) != str(error):
                    logger.error("%s cannot be asked how it is: %s", service.called, error)
                self._refused[service_id] = str(error)  # the next turn tries again
                continue
            self._refused.pop(service_id, None)
            targets.append(((service_id, process_id, target.revision), target))
        return targets

    # -- the loop's thread

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        """Started with the first service that has something to ask."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._loop.set_default_executor(self._lookups)
            self._thread = threading.Thread(target=self._run, args=(self._loop,), name="probes", daemon=True)
            self._thread.start()
        return self._loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.create_task(self._write_regularly())
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    def _take_up(self, key: Key, target: Target) -> None:
        self._notes.renew(key[0])
        watch = _Watch(target, self._kinds, self._clock, self._uniform, self._told(key))
        self._watches[key] = watch
        watch.start()
        if not watch.tasks:  # it has started up, or its line was found: nobody is asked, so nothing would be told
            self._health[key[:2]] = watch.health

    def _let_go(self, key: Key) -> None:
        watch = self._watches.pop(key, None)
        if watch is not None:
            watch.end()
        if not any(each[:2] == key[:2] for each in self._watches):
            self._health.pop(key[:2], None)
            self._notes.renew(key[0])

    async def _end_all(self) -> None:
        for key in list(self._watches):
            self._let_go(key)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _told(self, key: Key) -> Callable[[Course, Result, Health], None]:
        def tell(course: Course, result: Result, health: Health) -> None:
            if key not in self._watches:
                return
            self._health[key[:2]] = health
            if self._notes.add(key[0], course, result):
                self._writer.submit(self._write)

        return tell

    # -- writing down

    async def _write_regularly(self) -> None:
        while True:
            await asyncio.sleep(_WRITE_EVERY_S)
            if self._notes:
                with suppress(RuntimeError):  # it is being closed
                    self._writer.submit(self._write)

    def _write(self) -> None:
        """In the writer's thread. What cannot be written now is kept for the next time."""
        findings = self._notes.take()
        if not findings:
            return
        close_old_connections()
        try:
            record(findings)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("what probes found cannot be written down now: %s", error)
            self._notes.put_back(findings)
        except Exception:  # a defect: nobody looks at what this thread raises
            logger.exception("what probes found cannot be written down")
        finally:
            close_old_connections()


class Notes:
    """What was found and is not written down yet; used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._findings: list[Finding] = []
        self._newest: dict[tuple[int, str], Finding] = {}
        self._turned: dict[tuple[int, str], tuple[bool, bool]] = {}

    def __bool__(self) -> bool:
        return bool(self._findings)

    def add(self, service_id: int, course: Course, result: Result) -> bool:
        """Note an answer. Returns: whether it is another one than the last time, or the first one."""
        probe, coming_up = course.probe, course.coming_up and not result.ok
        now, key, sort = timezone.now(), (service_id, probe.name), (result.ok, coming_up)
        with self._lock:
            turned = self._turned.get(key) != sort
            self._turned[key] = sort
            newest = self._newest.get(key)
            if newest is not None and newest.sort == (probe.purpose, *sort):
                newest.checks, newest.until = newest.checks + 1, now
                newest.answer, newest.took_ms = result.answer, result.took_ms
                newest.facts = result.facts or newest.facts
            else:
                finding = Finding(
                    service_id=service_id, probe=probe.name, purpose=probe.purpose, ok=result.ok, coming_up=coming_up,
                    since=now, until=now, answer=result.answer, took_ms=result.took_ms, facts=result.facts,
                )  # fmt: skip
                self._newest[key] = finding
                self._findings.append(finding)
        return turned

    def renew(self, service_id: int) -> None:
        """Another start begins, or the last one is over: its first answers are news."""
        with self._lock:
            self._turned = {key: ok for key, ok in self._turned.items() if key[0] != service_id}

    def take(self) -> list[Finding]:
        """All of it, in the order of time; from now on it is somebody else's."""
        with self._lock:
            findings, self._findings, self._newest = self._findings, [], {}
        return findings

    def put_back(self, findings: Sequence[Finding]) -> None:
        """It could not be written down."""
        with self._lock:
            self._findings = [*findings, *self._findings][-_MOST_UNWRITTEN:]


class _Watch:
    """One start of one service, in the loop's thread: a task for each question, as long as it runs."""

    def __init__(
        self,
        target: Target,
        kinds: Mapping[str, Kind],
        clock: Callable[[], float],
        uniform: Callable[[float, float], float],
        tell: Callable[[Course, Result, Health], None],
    ) -> None:
        self._target = target
        self._kinds = kinds
        self._clock = clock
        self._uniform = uniform
        self._tell = tell
        startup = [probe for probe in target.probes if probe.purpose == ProbePurpose.STARTUP]
        self._started = target.started or not startup
        self._courses: list[Course] = []
        self.tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Ask what is to be asked first: the start-up probes, or all others when it is up."""
        self._begin([each for each in self._target.probes if (each.purpose == ProbePurpose.STARTUP) != self._started])

    def end(self) -> None:
        for task in self.tasks:
            task.cancel()

    @property
    def health(self) -> Health:
        """The verdict, as far as it is known."""
        return verdict(self._courses, started=self._started)

    def _begin(self, asked: Sequence[Probe]) -> None:
        now = self._clock()
        groups: dict[str, list[Course]] = {}
        for probe in asked:
            course = Course(probe, now, self._target.ready, self._uniform)
            self._courses.append(course)
            if probe.kind == ProbeKind.LOG and self._target.ready:
                course.passed = True  # a line that was found stays found
            else:
                groups.setdefault(_asks(probe), []).append(course)
        for courses in groups.values():
            task = asyncio.get_running_loop().create_task(self._follow(courses))
            task.add_done_callback(self._report)
            self.tasks.append(task)

    def _report(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("service %s is not asked any more", self._target.name, exc_info=error)

    async def _follow(self, courses: Sequence[Course]) -> None:
        """Ask one question as often as it is due, for all probes that ask it."""
        probe = courses[0].probe
        question = self._question(probe)
        while not self._is_settled(courses):
            await asyncio.sleep(max(0.0, min(course.due for course in courses) - self._clock()))
            result = self._masked(await ask(question(), probe.timeout))
            now = self._clock()
            for course in courses:
                course.note(result.ok, result.answer, now)
            self._conclude(courses, result)

    def _question(self, probe: Probe) -> Question:
        try:
            return self._kinds[probe.kind](self._target, probe)
        except Exception as error:  # a kind that nobody has plugged in, a pattern of older times
            answer = f"it cannot be asked: {type(error).__name__}: {error}"

            async def refuse() -> Result:
                return bad(answer)

            return refuse

    def _is_settled(self, courses: Sequence[Course]) -> bool:
        """Whether the answer cannot change any more: starting up happens once, and a line stays in its log."""
        probe = courses[0].probe
        once = probe.purpose == ProbePurpose.STARTUP or probe.kind == ProbeKind.LOG
        return once and all(course.passed for course in courses)

    def _conclude(self, courses: Sequence[Course], result: Result) -> None:
        if not self._started:
            startup = [each for each in self._courses if each.probe.purpose == ProbePurpose.STARTUP]
            if all(each.passed for each in startup):
                self._started = True
                self._begin([each for each in self._target.probes if each.purpose != ProbePurpose.STARTUP])
        health = self.health
        for course in courses:
            self._tell(course, result, health)

    def _masked(self, result: Result) -> Result:
        answer = short(mask_cut(mask_values(result.answer, self._target.secrets), self._target.secrets))
        return Result(result.ok, answer, result.took_ms, result.facts)


def _asks(probe: Probe) -> str:
    """What two probes have in common that ask the same at the same times."""
    differs = {"purpose", "name", "retries", "successes"}
    return probe.model_dump_json(exclude=differs) + str(probe.purpose == ProbePurpose.STARTUP)
