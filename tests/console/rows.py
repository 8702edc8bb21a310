"""Rows as the rooms' actions leave them, for pages that only show them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from environments.models import Backup, Environment, GitState, Health, Stage
from environments.states import STAGE_PORT_OFFSETS, EnvironmentState
from events import log
from events.actor import acting_as
from processes.actions.nodes import ensure_node
from processes.models import Node, Operation, PortLease, Process, Sample
from projects.models import Project
from services.models import Dependency, ProbePeriod, Service
from sessions.models import Session
from sessions.states import SessionState


def sessions(count: int, **more: Any) -> list[Session]:
    """Live sessions, spread over the fleet's groups."""
    groups = ("high_level", "dev_workers", "pr_review", "pr_implementation", "pr_integration", "existing", "other")
    now = timezone.now()
    rows = [
        Session(
            gaia_id=f"{number:016x}",
            name=f"worker{number}",
            group=groups[number % len(groups)],
            provider="ollama",
            cwd="/",
            reason="ollama is not installed (looked for: opencode, codex)",
            tmux_pane=f"%{number}",
            started_at=now,
            active_at=now,
            **{"state": SessionState.RUNNING, **more},
        )
        for number in range(count)
    ]
    return Session.objects.bulk_create(rows)


def environments(count: int) -> list[Environment]:
    """Ready environments of one project, with git facts and three stages each, of which dev runs."""
    project = Project.objects.create(name="demo", source="/src/demo", root="/src", base_port=8081)
    made = []
    for number in range(1, count + 1):
        environment = Environment.objects.create(
            project=project,
            name=f"dev{number}",
            number=number,
            path=f"/src/demo-dev{number}",
            branch=f"env/dev{number}",
            state=EnvironmentState.READY,
        )
        GitState.objects.create(environment=environment, branch=f"env/dev{number}", head="a" * 40, ahead=number)
        for name, offset in STAGE_PORT_OFFSETS.items():
            stage = Stage.objects.create(
                environment=environment, name=name, port=8080 + offset + number, database=f"data/{name}/demo.db"
            )
            PortLease.objects.create(node=node(), port=stage.port, owner=stage.owner)
        process(f"{environment.key}/dev")
        made.append(environment)
    return made


def health(environments: list[Environment]) -> list[Health]:
    """How they were and are: every third one is not well."""
    fine = {
        "check": "git",
        "key": "git.ok",
        "verdict": "ok",
        "what": "git answers",
        "meaning": "",
        "fix": "",
        "note": False,
    }
    fault = {
        **fine, "check": "databases", "key": "databases.damaged/qa", "verdict": "failed",
        "what": "a database is damaged", "meaning": "It cannot be read.", "fix": "gaia env repair-database dev1 qa",
    }  # fmt: skip
    then = timezone.now() - timedelta(hours=1)
    before = [
        Health(environment=each, verdict="ok", findings=[fine], since=then, checked_at=then) for each in environments
    ]
    now = [Health(environment=each, verdict="failed", findings=[fault, fine]) for each in environments[::3]]
    now += [
        Health(environment=each, verdict="ok", findings=[fine])
        for each in environments
        if each not in environments[::3]
    ]
    return Health.objects.bulk_create([*before, *now])


def node() -> Node:
    """This host."""
    with acting_as("node:local"):
        return ensure_node()


def process(owner: str, **more: Any) -> Process:
    """A start of a process, running unless told otherwise."""
    attempt = Process.objects.filter(owner=owner).count() + 1
    facts = {"state": "running", "pid": 4711, "started_at": timezone.now(), "env": {"SECRET": "hunter2"}, **more}
    return Process.objects.create(
        node=node(),
        owner=owner,
        attempt=attempt,
        token=f"{owner}#{attempt}",
        argv=["/bin/sh", "-c", "true"],
        cwd="/",
        log="/nowhere",
        lock="/nowhere",
        journal="/nowhere",
        **facts,
    )


def ended(owner: str, code: int, **more: Any) -> Process:
    """A process that ended by itself."""
    return process(owner, state="exited", exit_code=code, exit_source="wait", ended_at=timezone.now(), **more)


def operation(state: str, subject: str, **more: Any) -> Operation:
    """An operation, a minute old."""
    begun = timezone.now() - timedelta(minutes=1)
    return Operation.objects.create(
        kind="environments.setup",
        title=f"Set-up of {subject}",
        subject=subject,
        actor="user:tester",
        state=state,
        created_at=begun,
        started_at=begun,
        ended_at=None if state in {"queued", "running"} else timezone.now(),
        log="/nowhere",
        **more,
    )


def events(count: int) -> None:
    """Things that happened."""
    with acting_as("user:tester"), log.atomic():
        for number in range(count):
            log.emit("session.started", subject=f"session/worker{number}", message=f"Session worker{number} runs")


def backups(count: int) -> None:
    """Verified backups of the stages there are, one after the other."""
    stages = list(Stage.objects.all())
    Backup.objects.bulk_create(
        Backup(
            stage=stages[number % len(stages)],
            name=f"demo-{number}",
            reason="schedule",
            state="verified",
            path=f"/nowhere/demo-{number}.sqlite3.gz",
            size=4711,
            sha256="a" * 64,
            verified_at=timezone.now(),
        )
        for number in range(count)
    )


def services(count: int, **more: Any) -> list[Service]:
    """Services that run, with a probe, figures, a limit and a secret; each depends on the one before it."""
    made = []
    for number in range(count):
        name = f"service{number:03}"
        one = Service.objects.create(
            node=node(),
            name=name,
            owner=f"service/{name}",
            argv=["/bin/sh", "-c", "exec sleep 600"],
            cwd="/",
            secrets={"API_KEY": "hunter2-secret"},
            probes=[{"name": "health", "purpose": "readiness", "kind": "http", "endpoint": "http://localhost/"}],
            limits={"memory_mb": 512},
            **{"state": "running", "desired": "up", **more},
        )
        running = process(one.owner, limits={"memory_mb": 512}, enforcement={"memory_mb": "cgroup"})
        answer(one, ok=True, since=running.started_at)
        Sample.objects.bulk_create(_samples(one, 8))
        if made:
            Dependency.objects.create(service=one, on=made[-1])
        made.append(one)
    return made


def answer(service: Service, *, ok: bool, since: Any = None, said: str = "200 in time") -> ProbePeriod:
    """What its probe says, for a minute by now."""
    then = since or timezone.now() - timedelta(minutes=1)
    return ProbePeriod.objects.create(
        service=service, probe="health", purpose="readiness", ok=ok, answer=said, took_ms=3.2, checks=6, since=then
    )


def _samples(service: Service, count: int) -> list[Sample]:
    now = timezone.now()
    return [
        Sample(
            node=service.node, owner=service.owner, seconds=10, at=now - timedelta(seconds=10 * (count - number)),
            cpu=number, cpu_most=number + 1, memory=(50 + number) << 20, memory_most=(60 + number) << 20, processes=1,
        )
        for number in range(count)
    ]  # fmt: skip
