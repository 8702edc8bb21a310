"""What GAIA sees of sessions that it did not start: rows that tell of them, and never a change to them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common.names import slugify
from events import log
from events.models import Level
from sessions.actions import record
from sessions.drivers.pane_programs import RunningNames
from sessions.drivers.tmux import PaneFacts, ServerIdentity
from sessions.fleet import Fleet
from sessions.models import Session
from sessions.patterns import Detected, detect
from sessions.programs import SHELLS, agents_of, judge, provider_of
from sessions.providers import SYSTEM, Provider
from sessions.states import Origin, SessionState

UNANSWERED = "Its tmux server does not answer; this is how it was before."
_NAMELESS = "session"


@dataclass(frozen=True)
class Seen:
    """A session of a server that is not GAIA's: the pane that stands for it, and how many it has."""

    socket: Path
    server: ServerIdentity
    pane: PaneFacts
    panes: int


class Eye:
    """Tells what a session is from its name and from what runs in it; for one look at all of them.

    Args:
        fleet: whose names and patterns give the group.
        providers: whose patterns and programs give the provider.
        thorough: whether shells are looked into though they look as they did.
    """

    def __init__(self, fleet: Fleet, providers: Mapping[str, Provider], *, thorough: bool = False) -> None:
        self.thorough = thorough
        self._fleet, self._providers = fleet, providers
        self._agents = agents_of(providers)
        self.names = RunningNames()

    def describe(self, seen: Seen) -> dict[str, Any]:
        """Its name and what it is, as fields of a row that GAIA only looks at."""
        detected = self._detect(seen.pane)
        return {**self._named(seen, detected), **self._running(seen.pane, detected.provider)}

    def describe_again(self, row: Session, seen: Seen) -> dict[str, Any]:
        """`describe`, without looking into processes when nothing suggests that others run there than before."""
        pane, detected = seen.pane, self._detect(seen.pane)
        same = (row.command, row.pane_pid) == (pane.current_command[:100], pane.pane_pid)
        again = self.thorough and pane.current_command in SHELLS
        if same and not again and detected.provider in (row.provider, SYSTEM):
            return self._named(seen, detected)
        return {**self._named(seen, detected), **self._running(pane, detected.provider)}

    def running(self, pane: PaneFacts, provider: str) -> dict[str, Any]:
        """What runs in a pane where this provider's agent should, as fields."""
        verdict = judge(self._providers.get(provider), pane.current_command, pane.pane_pid, self.names, self._agents)
        return {"runs": verdict.runs, "reason": verdict.reason[:300]}

    def _detect(self, pane: PaneFacts) -> Detected:
        return detect(pane.session_name, fleet=self._fleet, providers=self._providers)

    def _named(self, seen: Seen, detected: Detected) -> dict[str, Any]:
        return {
            **_names(seen.pane.session_name),
            "group": detected.group,
            "panes": seen.panes,
            "cwd": seen.pane.cwd[:1000],
            "tmux_server_started": seen.server.start_time,
        }

    def _running(self, pane: PaneFacts, provider: str) -> dict[str, Any]:
        """Provider, which may show only by its agent, and what runs; of an ended program only what its name says."""
        if pane.dead:
            return {"provider": provider[:40]}
        verdict = judge(self._providers.get(provider), pane.current_command, pane.pane_pid, self.names, self._agents)
        found = provider_of(provider, verdict, self._agents)
        return {"provider": found[:40], "runs": verdict.runs, "reason": verdict.reason[:300]}


def _names(tmux_name: str) -> dict[str, str]:
    """A name one can write anywhere, and the one it has in tmux when that is another."""
    name = slugify(tmux_name) or _NAMELESS
    return {"name": name, "tmux_name": "" if tmux_name == name else tmux_name[:200]}


def representative(panes: Sequence[PaneFacts], programs: Iterable[str]) -> PaneFacts:
    """The pane that stands for its session: the oldest in which an agent has the foreground, else the oldest."""
    known = frozenset(programs)
    return next((pane for pane in panes if pane.current_command in known), panes[0])


def record_seen(found: Sequence[Seen], eye: Eye) -> None:
    """Rows for sessions that nobody had seen; one that another look just wrote down is left to it."""
    rows = [_row(seen, eye) for seen in found]
    if not rows:
        return
    with log.atomic():
        Session.objects.bulk_create(rows, ignore_conflicts=True)
        ids = [row.gaia_id for row in rows]
        stored = set(Session.objects.filter(gaia_id__in=ids).values_list("gaia_id", flat=True))
        for row in rows:
            if row.gaia_id in stored:
                told = f"Session {row.name}, which GAIA did not start, is on {row.socket}"
                log.emit("session.seen", subject=row.key, message=told, socket=row.socket, gaia_id=row.gaia_id)


def _row(seen: Seen, eye: Eye) -> Session:
    return Session(
        gaia_id=secrets.token_hex(8),
        origin=Origin.FOREIGN,
        socket=str(seen.socket),
        state=SessionState.EXITED if seen.pane.dead else SessionState.RUNNING,
        started_at=datetime.fromtimestamp(seen.pane.created, UTC),
        **{
            **record.shown(seen.pane, seen.server),
            **record.process_of(seen.pane.pane_pid),
            **eye.describe(seen),
        },
    )


def record_unanswered(rows: Iterable[Session]) -> None:
    """Their server does not answer: nothing is concluded, and that is said."""
    silent = [row for row in rows if row.problem != UNANSWERED]
    record.record_shown({row: {"problem": UNANSWERED} for row in silent})


def record_adopted(session: Session, fields: Mapping[str, Any]) -> bool:
    """GAIA works with it from now on."""
    before, told = session.key, f"Session {session.tmux_name or session.name} on {session.socket} was adopted"
    with log.atomic():
        living = Session.objects.live().filter(pk=session.pk, origin=Origin.FOREIGN)
        changed = living.update(origin=Origin.ADOPTED, **fields)
        if changed:
            for name, value in {"origin": Origin.ADOPTED, **fields}.items():
                setattr(session, name, value)
            log.emit(
                "session.adopted",
                subject=session.key,
                message=told + (f" as {session.name}" if session.tmux_name else ""),
                seen_as=before,
                socket=session.socket,
                gaia_id=session.gaia_id,
            )
    return bool(changed)


def record_released(session: Session, *, why: str = "") -> bool:
    """GAIA only looks at it from now on.

    Args:
        why: when nobody asked for it here.
    """
    subject, name = session.key, session.name
    fields: dict[str, Any] = {
        "origin": Origin.FOREIGN, **_names(session.tmux_name or session.name), "environment": None,
        "role": "", "protected": False, "stop_requested_at": None, "reason": "",
    }  # fmt: skip
    with log.atomic():
        adopted = Session.objects.live().filter(pk=session.pk, origin=Origin.ADOPTED)
        changed = adopted.update(**fields)
        if changed:
            log.emit(
                "session.released",
                subject=subject,
                message=f"Session {name} was let go" + (f": {why}" if why else ""),
                level=Level.WARNING if why else Level.INFO,
                socket=session.socket,
                gaia_id=session.gaia_id,
            )
            for field, value in fields.items():
                setattr(session, field, value)
    return bool(changed)
