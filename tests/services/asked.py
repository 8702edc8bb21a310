"""A prober over real rows, and a kind of probe whose answers are the test's."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from processes.models import Process
from processes.states import ProcessState
from services.actions import running
from services.actions.definitions import register
from services.asking import Question, Target
from services.drivers.probes import Result, bad
from services.models import Service
from services.probing import Prober
from services.spec import Probe, parse_spec
from services.states import ServiceState
from services.verdict import Health


class Said:
    """A kind of probe whose answers are the test's: by name of the service."""

    def __init__(self) -> None:
        self.answers: dict[str, Result] = {}
        self.asked: dict[str, int] = {}
        self.targets: list[Target] = []

    def kind(self, target: Target, probe: Probe) -> Question:
        self.targets.append(target)

        async def ask() -> Result:
            self.asked[target.name] = self.asked.get(target.name, 0) + 1
            return self.answers.get(target.name, bad("nothing was said"))

        return ask


def probe(purpose: str = "readiness", kind: str = "tcp", **fields: Any) -> dict[str, Any]:
    """By default one whose answers are the test's."""
    asked = {"endpoint": "said:1"} if kind == "tcp" else {}
    return {"type": kind, "purpose": purpose, "interval": 0.05, "retries": 1, **asked, **fields}


def up(name: str, *probes: dict[str, Any], state: str = ServiceState.STARTING, **fields: Any) -> Service:
    """A registered service whose process is said to run; nothing is started."""
    given = {"name": name, "command": ["sleep", "600"], "cwd": "/", "probes": list(probes)} | fields
    service = running.start(register(parse_spec(given)))
    Process.objects.filter(owner=service.owner).update(state=ProcessState.RUNNING, started_at=timezone.now())
    Service.objects.filter(pk=service.pk).update(state=state)
    service.refresh_from_db()
    return service


def process_of(service: Service) -> Process:
    return Process.objects.filter(owner=service.owner).order_by("-id")[0]


def health_of(prober: Prober, service: Service) -> Health:
    return prober.health(service.pk, process_of(service).pk)


def periods(service: Service) -> list[tuple[str, bool]]:
    return list(service.probe_periods.order_by("id").values_list("answer", "ok"))
