"""What one does with a session that runs: stop it, type into it, read its screen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Q

from common.errors import Conflict, GaiaError, InvalidInput, NotFound
from environments.models import Environment
from sessions.actions.ending import finish_stop, finish_stop_of_all
from sessions.actions.keyboard import Keys, type_once
from sessions.actions.record import request_stop
from sessions.configured import providers
from sessions.drivers.tmux import PaneFacts
from sessions.drivers.tmux_keys import check_key
from sessions.models import Session
from sessions.server import changing, tmux_server
from sessions.states import Runs

MAX_TEXT = 200_000  # characters
MAX_LINES = 50_000
_LONGEST_ENTER_DELAY_S = 0.5  # for an agent whose provider's file is gone or has a mistake


def find(name: str, *, life: int | None = None) -> Session:
    """The live session of that name, here or as tmux calls it now, or else its newest past life.

    Args:
        life: id of the one that is meant, over or not.

    Raises: NotFound.
    """
    sessions = Session.objects.select_related("environment")
    if life is not None:
        session = sessions.filter(Q(name=name) | Q(tmux_name=name), pk=life).first()
    else:
        session = (
            sessions.live().filter(name=name).first()
            or sessions.live().filter(tmux_name=name).first()
            or sessions.filter(name=name).order_by("-id").first()
        )
    if session is None:
        which = "" if life is None else f" with the id {life}"
        raise NotFound(f"there is no session {name!r}{which}", fix="gaia session list shows them.", name=name)
    return session


def stop(sessions: Iterable[Session]) -> list[str]:
    """End sessions: the tmux windows are killed and with them what runs in them, also what ignores that.

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
    return finish_stop(chosen)


def pane_of(session: Session) -> PaneFacts:
    """The pane of a session, as tmux has it now.

    It is found by its tag: after a restart of the tmux server the stored number would be another session's pane.
    Raises: Conflict when the session has ended or tmux no longer has it; TmuxError.
    """
    if not session.live:
        again = Session.objects.live().filter(name=session.name).exists()
        raise Conflict(
            f"session {session.name} is {session.get_state_display().lower()}",
            meaning=session.problem,
            fix=f"{session.name} runs again: ask for it by its name alone."
            if again
            else f"Start it again: gaia session start {session.name}.",
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


def send_keys(session: Session, text: str, *, enter: bool = True, idempotency_key: str | None = None) -> None:
    """Type text into a session's pane, then Enter if wanted.

    Args:
        idempotency_key: a repetition of a request with it types nothing.

    Raises: Conflict when nothing runs there, or the key was used for something else; NotSubmitted when the text was
        typed, but not the Enter; InvalidInput when there is nothing to send or too much; TmuxError: nobody knows.
    """
    if not text and not enter:
        raise InvalidInput("there is nothing to send", fix="Give a text, or a key such as Enter.")
    if len(text) > MAX_TEXT:
        raise InvalidInput(
            f"the text has {len(text)} characters, at most {MAX_TEXT} can be sent",
            fix="Put it into a file and name the file.",
        )
    delay = _enter_delay(session) if enter and text else 0.0

    def write(pane: PaneFacts) -> None:
        tmux_server().send_keys(pane.pane_id, text, enter=enter, enter_delay=delay, gaia_id=pane.gaia_id)

    keys = Keys("session.keys_sent", f"{len(text)} characters go" if text else "Enter goes", ("text", text, enter))
    type_once(session, keys, _running_pane, write, idempotency_key=idempotency_key)


def send_key(session: Session, key: str, *, idempotency_key: str | None = None) -> None:
    """Press one named key, such as `Enter`, `Escape` or `C-c`.

    Raises: as `send_keys`; InvalidInput for a key that is not on the list.
    """
    check_key(key)

    def write(pane: PaneFacts) -> None:
        tmux_server().send_key(pane.pane_id, key, gaia_id=pane.gaia_id)

    keys = Keys("session.key_sent", f"{key} goes", ("key", key))
    type_once(session, keys, _running_pane, write, idempotency_key=idempotency_key)


def capture(session: Session, *, lines: int = 0, ansi: bool = False) -> str:
    """What the pane shows; `lines` adds that much scrollback.

    Raises: Conflict when tmux no longer has the pane; InvalidInput for a bad number of lines.
    """
    if not 0 <= lines <= MAX_LINES:
        raise InvalidInput(f"lines must be 0 to {MAX_LINES}, not {lines}")
    pane = pane_of(session)
    return tmux_server().capture(pane.pane_id, lines=lines, ansi=ansi, gaia_id=pane.gaia_id)


def stop_everything() -> int:
    """End GAIA's tmux server with all its sessions, for `gaia down --all`; how many there were."""
    with changing():
        rows = list(Session.objects.live())
        request_stop(rows)
        return len(finish_stop_of_all(rows))


def end_sessions_of(*, environment: Environment, **_: Any) -> None:
    """An environment is being removed: what works in it ends first, or it would go on in the trash."""
    inside = Q(cwd=environment.path) | Q(cwd__startswith=f"{environment.path}/")
    stop(Session.objects.live().filter(Q(environment=environment) | inside))


def _running_pane(session: Session) -> PaneFacts:
    pane = pane_of(session)
    if pane.dead:
        raise Conflict(
            f"the program of session {session.name} has ended, so nothing was typed",
            meaning="tmux keeps its screen; nobody would read what is typed there.",
            fix=f"Start it again: gaia session start {session.name}.",
            state=session.state,
        )
    return pane


def _enter_delay(session: Session) -> float:
    if session.runs != Runs.AGENT:
        return 0.0
    try:
        provider = providers().get(session.provider)
    except GaiaError:
        provider = None
    return provider.enter_delay if provider else _LONGEST_ENTER_DELAY_S
