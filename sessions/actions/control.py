"""What one does with a session that runs: stop it, type into it, read its screen."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

from django.conf import settings
from django.db.models import Q

from common.errors import Conflict, GaiaError, InvalidInput, NotFound
from common.files import file_lock
from environments.models import Environment
from events import log
from sessions.actions.record import record_stopped, request_stop
from sessions.configured import providers
from sessions.drivers.tmux import PaneFacts
from sessions.models import Session
from sessions.server import changing, tmux_server
from sessions.states import Runs

MAX_TEXT = 200_000  # characters
MAX_LINES = 50_000
_KEYBOARD_WAIT_S = 10.0
_LONGEST_ENTER_DELAY_S = 0.5  # for an agent whose provider's file is gone or has a mistake


def find(name: str) -> Session:
    """The live session of that name, here or as tmux calls it now, or else its newest past life.

    Raises: NotFound.
    """
    sessions = Session.objects.select_related("environment")
    session = (
        sessions.live().filter(name=name).first()
        or sessions.live().filter(tmux_name=name).first()
        or sessions.filter(name=name).order_by("-id").first()
    )
    if session is None:
        raise NotFound(f"there is no session {name!r}", fix="gaia session list shows them.", name=name)
    return session


def stop(sessions: Iterable[Session]) -> list[str]:
    """End sessions: the tmux windows are killed and with them what runs in them.

    Returns: the names of those ended; one that had ended already is not among them.
    Raises: TmuxError when tmux does not answer: the daemon ends them when it does again.
    """
    keys = [session.pk for session in sessions if session.live]
    if not keys:
        return []
    with changing():
        return end(Session.objects.live().filter(pk__in=keys))


def end(sessions: Iterable[Session]) -> list[str]:
    """`stop` for a caller that holds `changing()`."""
    chosen = list(sessions)
    if not chosen:
        return []
    request_stop(chosen)
    panes = tmux_server().snapshot().by_gaia_id()
    tmux_server().kill(panes[session.gaia_id].window_id for session in chosen if session.gaia_id in panes)
    return [session.name for session in chosen if record_stopped(session)]


def pane_of(session: Session) -> PaneFacts:
    """The pane of a session, as tmux has it now.

    It is found by its tag: after a restart of the tmux server the stored number would be another session's pane.
    Raises: Conflict when the session has ended or tmux no longer has it; TmuxError.
    """
    if not session.live:
        raise Conflict(
            f"session {session.name} is {session.get_state_display().lower()}",
            meaning=session.problem,
            fix=f"Start it again: gaia session start {session.name}.",
            state=session.state,
        )
    pane = tmux_server().snapshot().by_gaia_id().get(session.gaia_id)
    if pane is None:
        raise Conflict(
            f"tmux does not have session {session.name}",
            fix=f"Start it again: gaia session start {session.name}.",
            state=session.state,
        )
    return pane


def send_keys(session: Session, text: str, *, enter: bool = True) -> None:
    """Type text into a session's pane, then Enter if wanted.

    Raises: Conflict when nothing runs there; InvalidInput when there is nothing to send or too much.
    """
    if not text and not enter:
        raise InvalidInput("there is nothing to send", fix="Give a text, or a key such as Enter.")
    if len(text) > MAX_TEXT:
        raise InvalidInput(
            f"the text has {len(text)} characters, at most {MAX_TEXT} can be sent",
            fix="Put it into a file and name the file.",
        )
    delay = _enter_delay(session) if enter and text else 0.0
    with _keyboard(session):
        tmux_server().send_keys(_running_pane(session), text, enter=enter, enter_delay=delay)
    count = f"{len(text)} characters" if text else "Enter"
    with log.atomic():
        log.emit("session.keys_sent", subject=session.key, message=f"{count} went to {session.name}")


def send_key(session: Session, key: str) -> None:
    """Press one named key, such as `Enter`, `Escape` or `C-c`.

    Raises: Conflict when nothing runs there; InvalidInput for a key that is not on the list.
    """
    with _keyboard(session):
        tmux_server().send_key(_running_pane(session), key)
    with log.atomic():
        log.emit("session.key_sent", subject=session.key, message=f"{key} was pressed in {session.name}", key=key)


def _keyboard(session: Session) -> AbstractContextManager[None]:
    """One at a time types into a session: two texts whose Enter comes later would become one prompt (invariant 6)."""
    path = settings.GAIA.home.locks / f"keyboard-{session.gaia_id}.lock"
    return file_lock(path, timeout=_KEYBOARD_WAIT_S, what=f"the keyboard of {session.name}")


def capture(session: Session, *, lines: int = 0, ansi: bool = False) -> str:
    """What the pane shows; `lines` adds that much scrollback.

    Raises: Conflict when tmux no longer has the pane; InvalidInput for a bad number of lines.
    """
    if not 0 <= lines <= MAX_LINES:
        raise InvalidInput(f"lines must be 0 to {MAX_LINES}, not {lines}")
    return tmux_server().capture(pane_of(session).pane_id, lines=lines, ansi=ansi)


def stop_everything() -> int:
    """End GAIA's tmux server with all its sessions, for `gaia down --all`; how many there were."""
    with changing():
        rows = list(Session.objects.live())
        request_stop(rows)
        tmux_server().kill_server()
        return sum(record_stopped(session) for session in rows)


def end_sessions_of(*, environment: Environment, **_: Any) -> None:
    """An environment is being removed: what works in it ends first, or it would go on in the trash."""
    inside = Q(cwd=environment.path) | Q(cwd__startswith=f"{environment.path}/")
    stop(Session.objects.live().filter(Q(environment=environment) | inside))


def _running_pane(session: Session) -> str:
    pane = pane_of(session)
    if pane.dead:
        raise Conflict(
            f"the program of session {session.name} has ended, so nothing was typed",
            meaning="tmux keeps its screen; nobody would read what is typed there.",
            fix=f"Start it again: gaia session start {session.name}.",
            state=session.state,
        )
    return pane.pane_id


def _enter_delay(session: Session) -> float:
    if session.runs != Runs.AGENT:
        return 0.0
    try:
        provider = providers().get(session.provider)
    except GaiaError:
        provider = None
    return provider.enter_delay if provider else _LONGEST_ENTER_DELAY_S
