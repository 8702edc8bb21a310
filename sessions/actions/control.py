"""What one does with a session that runs: stop it, type into it, read its screen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from common.errors import Conflict, InvalidInput, NotFound
from environments.models import Environment
from events import log
from sessions.actions.record import record_stopped
from sessions.models import Session
from sessions.providers import load_providers
from sessions.server import tmux_server
from sessions.states import Runs, SessionState

MAX_TEXT = 200_000


def find(name: str) -> Session:
    """The live session of that name, or else its newest past life.

    Raises: NotFound.
    """
    session = (
        Session.objects.live().filter(name=name).first() or Session.objects.filter(name=name).order_by("-id").first()
    )
    if session is None:
        raise NotFound(f"there is no session {name!r}", fix="gaia session list shows them.")
    return session


def stop(sessions: Iterable[Session]) -> list[str]:
    """End sessions: the tmux windows are killed and with them what runs in them. Names of those ended."""
    chosen = [session for session in sessions if session.live]
    tmux_server().kill([session.tmux_pane for session in chosen if session.tmux_pane])
    return [session.name for session in chosen if record_stopped(session)]


def send_keys(session: Session, text: str, *, enter: bool = True) -> None:
    """Type text into a session's pane, then Enter if wanted.

    Raises: Conflict when nothing runs there; InvalidInput when there is nothing to send or too much.
    """
    _require_running(session)
    if not text and not enter:
        raise InvalidInput("there is nothing to send")
    if len(text) > MAX_TEXT:
        raise InvalidInput(f"the text has {len(text)} characters, at most {MAX_TEXT} can be sent")
    provider = load_providers().get(session.provider)
    delay = provider.enter_delay if provider and session.runs == Runs.AGENT else 0.0
    tmux_server().send_keys(session.tmux_pane, text, enter=enter, enter_delay=delay)
    with log.atomic():
        log.emit(
            "session.keys_sent", subject=session.key, message=f"{len(text)} characters were typed into {session.name}"
        )


def send_key(session: Session, key: str) -> None:
    """Press one named key, such as `Enter`, `Escape` or `C-c`."""
    _require_running(session)
    tmux_server().send_key(session.tmux_pane, key)
    with log.atomic():
        log.emit("session.key_sent", subject=session.key, message=f"{key} was pressed in {session.name}", key=key)


def capture(session: Session, *, lines: int = 0, ansi: bool = False) -> str:
    """What the pane shows; `lines` adds that much scrollback.

    Raises: Conflict when tmux no longer has the pane; InvalidInput for a bad number of lines.
    """
    if not 0 <= lines <= 50_000:
        raise InvalidInput(f"lines must be 0 to 50000, not {lines}")
    if not session.live or not session.tmux_pane:
        raise Conflict(f"session {session.name} is {session.get_state_display().lower()}: it has no screen")
    return tmux_server().capture(session.tmux_pane, lines=lines, ansi=ansi)


def _require_running(session: Session) -> None:
    if session.state != SessionState.RUNNING or not session.tmux_pane:
        raise Conflict(
            f"session {session.name} is {session.get_state_display().lower()}, so nothing was typed",
            fix=f"Start it again: gaia session start {session.name}.",
        )


def stop_everything() -> int:
    """End GAIA's tmux server with all its sessions, for `gaia down --all`; how many there were."""
    rows = list(Session.objects.live())
    tmux_server().kill_server()
    return sum(record_stopped(session) for session in rows)


def end_sessions_of(*, environment: Environment, **_: Any) -> None:
    """An environment is being removed: what works in it ends first, or it would go on in the trash."""
    stop(Session.objects.live().filter(environment=environment))
