"""How a state looks: icon, word and colour, defined once (CONSOLE.md).

The icons and colours of the looks are in `static/gaia/states.css`, one class per look.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Look(Enum):
    """What a person sees, whatever the thing is. The value is the class in the style sheet."""

    WORKING = "working"  # blue pulse
    RUNNING = "running"  # green dot: up, and nothing to say about what it does
    WAITING = "waiting"  # amber hand: for a person
    IDLE = "idle"  # grey dot
    FAILED = "failed"  # red cross
    DONE = "done"  # green tick
    STOPPED = "stopped"  # hollow
    DETECTING = "detecting"  # dotted: on its way, or not known yet
    PROTECTED = "protected"  # shield
    WARNING = "warning"  # amber triangle


@dataclass(frozen=True)
class State:
    """A state as it is shown."""

    look: Look
    word: str


def _state(look: Look, word: str) -> State:
    return State(look, word)


UNKNOWN = _state(Look.DETECTING, "unknown")

STATES: dict[str, State] = {
    # sessions, stages, processes
    "starting": _state(Look.DETECTING, "starting"),
    "running": _state(Look.RUNNING, "running"),
    "stopping": _state(Look.WORKING, "stopping"),
    "exited": _state(Look.FAILED, "ended"),
    "stopped": _state(Look.STOPPED, "stopped"),
    "gone": _state(Look.STOPPED, "gone"),
    "failed": _state(Look.FAILED, "failed"),
    "lost": _state(Look.FAILED, "lost"),
    "not_started": _state(Look.FAILED, "not started"),
    "protected": _state(Look.PROTECTED, "protected"),
    # services
    "held": _state(Look.DETECTING, "held"),
    "unready": _state(Look.WARNING, "not ready"),
    "backoff": _state(Look.WARNING, "waiting to restart"),
    "crash_loop": _state(Look.FAILED, "crash loop"),
    "completed": _state(Look.DONE, "completed"),
    # environments
    "creating": _state(Look.WORKING, "being made"),
    "ready": _state(Look.DONE, "ready"),
    "damaged": _state(Look.FAILED, "damaged"),
    "removing": _state(Look.WORKING, "being removed"),
    "removed": _state(Look.STOPPED, "removed"),
    # backups
    "taking": _state(Look.WORKING, "being taken"),
    "verified": _state(Look.DONE, "verified"),
    "deleted": _state(Look.STOPPED, "deleted"),
    # health
    "ok": _state(Look.DONE, "healthy"),
    "unknown": UNKNOWN,
    # operations
    "queued": _state(Look.DETECTING, "queued"),
    "working": _state(Look.WORKING, "working"),
    "succeeded": _state(Look.DONE, "done"),
    "cancelled": _state(Look.STOPPED, "cancelled"),
    # events
    "info": _state(Look.IDLE, "info"),
    "warning": _state(Look.WARNING, "warning"),
    "error": _state(Look.FAILED, "error"),
    # ports
    "taken": _state(Look.FAILED, "taken"),
    "silent": _state(Look.DETECTING, "not listening"),
    "serving": _state(Look.RUNNING, "serving"),
    "free": _state(Look.STOPPED, "free"),
    # notifications, destinations, jobs
    "trying": _state(Look.DETECTING, "waiting"),
    "delivered": _state(Look.DONE, "delivered"),
    "given_up": _state(Look.FAILED, "given up"),
    "on": _state(Look.RUNNING, "on"),
    "off": _state(Look.STOPPED, "off"),
    "failing": _state(Look.WARNING, "failing"),
    "not_run": _state(Look.IDLE, "not run yet"),
    # nodes, tokens, people
    "up": _state(Look.RUNNING, "up"),
    "down": _state(Look.FAILED, "down"),
    "active": _state(Look.DONE, "active"),
    "expired": _state(Look.STOPPED, "expired"),
}


def look_of(name: str) -> State:
    """How the state of that name is shown; an unknown one is dotted and keeps its own word."""
    return STATES.get(name) or State(UNKNOWN.look, name.replace("_", " ") or UNKNOWN.word)
