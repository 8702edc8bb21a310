"""A supervisor that hears of health from a real prober; its daemon is the test."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from processes.models import Node
from processes.states import PROCESS_ACTIVE
from services.models import Service
from services.probing import Prober
from services.verdict import Health
from tests.services.house import House, process_of


class Keeping(House):
    """As `House`, but what probes say is what a prober finds."""

    def __init__(self, node: Node) -> None:
        self.prober = Prober(node)
        super().__init__(node)

    def _health(self, service_id: int, process_id: int) -> Health:
        return self.prober.health(service_id, process_id)

    def until(self, question: Callable[[], Any]) -> Any:
        """Have turns until something is true; what has ended meanwhile is dealt with as the daemon does."""
        deadline = time.monotonic() + 60
        while not (answer := question()):
            assert time.monotonic() < deadline, self._how_it_is()
            self._reap_ended()
            self.tick()
            self.prober.turn()
            time.sleep(0.02)
        return answer

    def until_state(self, service: Service, state: str) -> Service:
        """Have turns until a service is in a state."""

        def is_so() -> bool:
            service.refresh_from_db()
            return service.state == state

        self.until(is_so)
        return service

    def close(self) -> None:
        """Ask nobody any more."""
        self.prober.close()

    def _reap_ended(self) -> None:
        for pk, identity in list(self.watched.items()):
            try:
                pid, status = os.waitpid(identity.pid, os.WNOHANG)
            except ChildProcessError:
                continue
            if pid:
                self.reconciler.ended(pk, os.waitstatus_to_exitcode(status))

    def _how_it_is(self) -> str:
        told = []
        for service in Service.objects.all():
            process = process_of(service) if self.node.processes.filter(owner=service.owner).exists() else None
            log = open(process.log).read()[-2000:] if process is not None else ""  # noqa: SIM115
            runs = process is not None and process.state in PROCESS_ACTIVE
            told.append(f"{service.name}: {service.state} {service.problem} (runs: {runs})\n{log}")
        return "\n".join(told)
