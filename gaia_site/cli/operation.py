"""`gaia operation …` and `gaia events`."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import Conflict, NotFound
from gaia_site.cli import pictures
from gaia_site.cli.ground import ready

if TYPE_CHECKING:
    from processes.models import Operation


def list_(arguments: Namespace) -> int:
    """The last operations. Returns: the exit code."""
    ready()
    from processes.models import Operation

    operations = list(Operation.objects.all()[:30])
    if arguments.json:
        print(json.dumps([operation.as_dict() for operation in operations]))
        return 0
    if not operations:
        print("No operations yet.")
    for operation in operations:
        state = f"{pictures.icon(operation.state)} {operation.state:<9} {operation.fraction:>4.0%}"
        print(f"{operation.pk:>5} {state} {operation.title}")
    return 0


def follow(arguments: Namespace) -> int:
    """Follow one to its end. Returns: the exit code."""
    ready()
    from gaia_site.cli import following
    from processes.states import OperationState

    done = following.follow(_find(arguments.id), following.progress_line())
    failure = None if done.state == OperationState.SUCCEEDED else following.error_of(done)
    if arguments.json:  # the operation says what went wrong: one document, whatever became of it
        print(json.dumps(done.as_dict()))
        return failure.exit_code if failure else 0
    if failure is not None:
        raise failure
    return 0


def cancel(arguments: Namespace) -> int:
    """Ask one to stop. Returns: the exit code."""
    ready()
    from processes.actions.operations import request_cancel

    operation = _find(arguments.id)
    if not request_cancel(operation) and not operation.active:
        raise Conflict(f"operation {operation.pk} is already {operation.state}", meaning="There is nothing to cancel.")
    operation.refresh_from_db()
    print(json.dumps(operation.as_dict()) if arguments.json else f"{operation.title} stops at its next safe point.")
    return 0


def log(arguments: Namespace) -> int:
    """Print what it wrote. Returns: the exit code."""
    ready()
    from processes.actions.logs import read_all

    text = read_all(Path(_find(arguments.id).log))
    print(json.dumps({"text": text}) if arguments.json else text.rstrip("\n"))
    return 0


def events(arguments: Namespace) -> int:
    """What happened, oldest first. Returns: the exit code."""
    ready()
    from events.models import Event

    chosen = Event.objects.order_by("-id")
    if arguments.subject:
        chosen = chosen.filter(subject=arguments.subject)
    shown = list(reversed(chosen[: arguments.limit]))
    if arguments.json:
        print(json.dumps([event.as_dict() for event in shown]))
        return 0
    for event in shown:
        print(f"{event.at:%Y-%m-%d %H:%M:%S}  {event.actor:<20} {event.message}")
    return 0


def _find(pk: int) -> Operation:
    from processes.models import Operation

    operation = Operation.objects.filter(pk=pk).first()
    if operation is None:
        raise NotFound(f"there is no operation {pk}", fix="gaia operation list shows them.")
    return operation
