from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from events.actor import acting_as, os_user_actor
from processes.actions.operations import run_operation
from processes.states import OperationState


class Command(BaseCommand):
    help = "Run one operation to its end; the node's daemon starts this, people rarely need to."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", type=int)

    def handle(self, *args: Any, **options: Any) -> None:
        with acting_as(os_user_actor()):
            operation = run_operation(options["id"])
        if operation.state != OperationState.SUCCEEDED:
            error = operation.error or {}
            self.stderr.write("\n".join(text for text in (error.get("what"), error.get("meaning"), error.get("fix")) if text))
            raise SystemExit(1)
