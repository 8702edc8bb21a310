from __future__ import annotations

import signal
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from common.errors import GaiaError
from events.actor import acting_as, os_user_actor
from processes.actions.operations import run_operation
from processes.states import OperationState


class Command(BaseCommand):
    help = "Run one operation to its end; the node's daemon starts this, people rarely need to."
    requires_system_checks = ()  # whoever asked for it was checked, and they take as long as a short operation

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", type=int)

    def handle(self, *args: Any, **options: Any) -> None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # being stopped is stored like Ctrl-C
        try:
            with acting_as(os_user_actor()):
                operation = run_operation(options["id"])
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        except GaiaError as error:
            self._say(error.as_dict())
            raise SystemExit(error.exit_code) from None
        if operation.state != OperationState.SUCCEEDED:
            self._say(operation.error or {})
            raise SystemExit(1)

    def _say(self, error: dict[str, Any]) -> None:
        self.stderr.write("\n".join(error[part] for part in ("what", "meaning", "fix") if error.get(part)))
