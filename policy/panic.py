"""The operator's emergency brake: while a panic holds, nobody types into anything.

It is a row, so every process of every host sees it with its next step, and it outlives them all. What it stops is up
to the rooms that know how: each asks `check_calm` before it lets something happen, and hears `panic_declared` when
something under way must end. Terminals do so today (`sessions.actions.panic`).
"""

from __future__ import annotations

import logging
from typing import Any

from django.db import IntegrityError
from django.utils import timezone

from common.errors import InvalidInput, Refused
from events import log
from events.actor import current_actor
from events.models import Level
from policy.models import Panic
from policy.signals import panic_declared
from policy.states import PanicState

LONGEST_REASON = 500  # characters
_log = logging.getLogger(__name__)


class PanicHolds(Refused):
    """Somebody has declared a panic: what was asked for is not done until it is lifted."""

    code = "panic"


def standing() -> Panic | None:
    """The panic that holds now; None when none does. One query."""
    return Panic.objects.filter(state=PanicState.DECLARED).first()


def declare(reason: str = "") -> tuple[Panic, bool]:
    """Have everybody stop typing, from now on, until `lift`.

    Args:
        reason: why, for those who find everything refused.

    Returns: the panic that holds, and whether it is this one: somebody may have been first.
    Raises: InvalidInput for a reason that is none.
    """
    reason = reason.strip()
    if len(reason) > LONGEST_REASON or not reason.isprintable():
        raise InvalidInput(f"a reason is one line of at most {LONGEST_REASON} characters", fix="Say it shorter.")
    panic, is_first = _declared(reason)
    for receiver, answer in panic_declared.send_robust(sender=Panic, panic=panic):
        if isinstance(answer, Exception):  # the panic holds all the same
            _log.error("%s did not come to an end: %s", getattr(receiver, "__name__", receiver), answer)
    return panic, is_first


def _declared(reason: str) -> tuple[Panic, bool]:
    for _ in range(2):  # whoever was first may have lifted it by now
        try:
            with log.atomic():
                panic = Panic.objects.create(declared_by=current_actor(), reason=reason)
                log.emit(
                    "panic.declared", subject=panic.key, level=Level.ERROR,
                    message=f"Panic: nobody can type into any session{f': {reason}' if reason else ''}",
                )  # fmt: skip
            return panic, True
        except IntegrityError:
            first = standing()
        if first is not None:
            return first, False
    raise Refused("the panic was declared and lifted at the same time, again and again", fix="Declare it again.")


def lift() -> Panic | None:
    """Let people and programs type again.

    Returns: the panic that was lifted; None when none held.
    """
    panic = standing()
    if panic is None:
        return None
    told = f"The panic of {panic.declared_by} was lifted: sessions take input again"
    fields = {"lifted_at": timezone.now(), "lifted_by": current_actor()}
    lifted = log.change(panic, PanicState.LIFTED, kind="panic.lifted", message=told, fields=fields)
    return panic if lifted else None


def check_calm(what: str) -> None:
    """Refuse while a panic holds.

    Args:
        what: what is not done now, as a sentence's beginning: `nothing was typed`.

    Raises: PanicHolds.
    """
    panic = standing()
    if panic is not None:
        raise PanicHolds(
            f"{panic.declared_by} has declared a panic, so {what}",
            meaning=panic.reason or "No reason was given.",
            fix="Once it is safe again: gaia panic --lift.",
            **describe(panic),
        )


def describe(panic: Panic | None) -> dict[str, Any]:
    """A panic as every door shows it; None is calm."""
    return {
        "panic": panic is not None and panic.state == PanicState.DECLARED,
        "by": panic.declared_by if panic else None,
        "at": panic.declared_at.isoformat() if panic else None,
        "reason": panic.reason if panic else None,
        "lifted_by": (panic.lifted_by or None) if panic else None,
        "lifted_at": panic.lifted_at.isoformat() if panic and panic.lifted_at else None,
    }
