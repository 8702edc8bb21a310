"""Who acts: every write has an actor (invariant 12). Doors set it, `events.log.emit` reads it.

An actor is a key: `user:NAME`, `token:NAME of USER`, `cli:OS-USER`, `node:NAME`, `jobs:NAME`.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_actor: ContextVar[str | Callable[[], str] | None] = ContextVar("gaia_actor", default=None)


class NoActor(RuntimeError):
    """Something was written without saying who does it: a defect in the door."""


def current_actor() -> str:
    """The actor of the running unit of work.

    Raises: NoActor when no door has set one.
    """
    actor = _actor.get()
    if actor is None:
        raise NoActor("no actor: wrap the call in events.actor.acting_as(...)")
    return actor if isinstance(actor, str) else actor()


@contextmanager
def acting_as(actor: str | Callable[[], str]) -> Iterator[None]:
    """Everything written inside is this actor's doing; a callable is asked only when something is written."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


def os_user_actor() -> str:
    """The actor for a person at a terminal, by the operating system's account."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # an account without an entry in passwd, as in some containers
        return "cli:unknown"


def act_as(actor: str) -> None:
    """For the rest of this thread: for processes that belong to one person from start to end, such as the CLI."""
    _actor.set(actor)
