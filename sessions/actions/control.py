"""What one does with a session that runs: stop it, type into it, read its screen."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.db.models import Q

from common.errors import Conflict, GaiaError, InvalidInput, NotFound
from environments.models import Environment
from policy.panic import check_calm
from sessions.actions.ending import finish_stop, finish_stop_of_all
from sessions.actions.keyboard import Keys, type_once
from sessions.actions.record import request_stop
from sessions.configured import providers
from sessions.drivers.tmux import NoServer, PaneFacts, PaneMissing
from sessions.drivers.tmux_keys import check_key
from sessions.drivers.tmux_others import OtherServer
from sessions.models import Session
from sessions.querysets import SessionQuerySet
from sessions.server import changing, server_of, tmux_server
from sessions.states import Runs

MAX_TEXT = 200_000  # characters
MAX_LINES = 50_000
LOOK_PATIENTLY = 2.0  # seconds for a server of others, when somebody waits for just that one
_AMBIGUOUS = 9
_LONGEST_ENTER_DELAY_S = 0.5  # for an agent whose provider's file is gone or has a mistake


def find(name: str, *, life: int | None = None, socket: str = "") -> Session:
    """The live session of that name, here or as tmux calls it now, or else its newest past life.

    GAIA's own and adopted ones come first, then those it only looks at.

    Args:
        life: id of the one that is meant, over or not.
        socket: only of this tmux server, by the path of its socket or the last part of that.

    Raises: NotFound; Conflict when several tmux servers have one of that name.
    """
    everybody = Session.objects.select_related("environment")
    sessions = everybody.filter(Q(name=name) | Q(tmux_name=name))
    if socket:
        sessions = sessions.filter(Q(socket=socket) | Q(socket__endswith=f"/{socket}"))
    if life is not None:  # those of others may have been renamed since their name was read
        session = sessions.filter(pk=life).first() or everybody.of_others().filter(pk=life).first()
    else:
        managed = sessions.live().managed()
        session = (
            managed.filter(name=name).first()
            or managed.first()
            or only_one(sessions.live().foreign())
            or sessions.filter(name=name).order_by("-id").first()
        )
    if session is None:
        which = f" on {socket}" if socket else "" if life is None else f" with the id {life}"
        raise NotFound(f"there is no session {name!r}{which}", fix="gaia session list shows them.", name=name)
    return session


def only_one(sessions: SessionQuerySet) -> Session | None:
    """The one session of others that is meant; None when there is none.

    Raises: Conflict that names their sockets when there are several.
    """
    found = list(sessions[:_AMBIGUOUS])
    if len(found) > 1:
        raise Conflict(
            f"several tmux servers have a session {found[0].name}",
            meaning=", ".join(one.socket for one in found),
            fix="Say which: --socket PATH, or with the API ?life=ID.",
            sockets=[one.socket for one in found],
        )
    return found[0] if found else None


def check_managed(sessions: Iterable[Session]) -> None:
    """Raise Conflict for the first of them that GAIA only looks at."""
    for session in sessions:
        if session.foreign and session.live:
            raise Conflict(
                f"session {session.name} is not GAIA's",
                meaning=f"Somebody else started it, on {session.socket}: GAIA looks at it and changes nothing.",
                fix=f"Adopt it first: gaia session adopt {shlex.quote(session.tmux_name or session.name)}.",
                socket=session.socket,
            )


def stop(sessions: Iterable[Session]) -> list[str]:
    """End sessions: the tmux windows are killed and with them what runs in them, also what ignores that.

    Of an adopted one it is its pane that is closed: what else its tmux session has is not GAIA's.

    Returns: the names of those ended; one that had ended already is not among them.
    Raises: Conflict when one of them is not GAIA's: then none is ended; TmuxError when tmux does not answer: the daemon
        ends them when it does again.
    """
    chosen = list(sessions)
    check_managed(chosen)
    keys = [session.pk for session in chosen if session.live]
    if not keys:
        return []
    with changing():
        return end(Session.objects.live().managed().filter(pk__in=keys))


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
        again = Session.objects.live().managed().filter(name=session.name).exists()
        raise Conflict(
            f"session {session.name} is {session.get_state_display().lower()}",
            meaning=session.problem,
            fix=f"{session.name} runs again: ask for it by its name alone."
            if again
            else f"Start it again: gaia session start {session.name}.",
            state=session.state,
        )
    pane = _pane_of_others(session) if session.socket else tmux_server().snapshot().by_gaia_id().get(session.gaia_id)
    if pane is None:
        raise _not_there(session)
    return pane


def _not_there(session: Session) -> Conflict:
    return Conflict(
        f"tmux does not have session {session.name}",
        meaning=f"It was on {session.socket}." if session.socket else "",
        fix="gaia session list shows what there is."
        if session.socket
        else f"Start it again: gaia session start {session.name}.",
        state=session.state,
    )


def _pane_of_others(session: Session) -> PaneFacts | None:
    """By its mark when it is adopted; else by the numbers of its server, pane and process, of which none may differ."""
    try:
        seen = OtherServer(Path(session.socket)).look(timeout=LOOK_PATIENTLY)
    except NoServer:
        return None
    if not session.foreign:
        return next((pane for pane in seen.panes() if pane.gaia_id == session.gaia_id), None)
    server = seen.server
    if server is None or (server.pid, server.start_time) != (session.tmux_server_pid, session.tmux_server_started):
        return None
    panes = seen.sessions.get(session.tmux_session, ())
    return next((one for one in panes if (one.pane_id, one.pane_pid) == (session.tmux_pane, session.pane_pid)), None)


def send_keys(session: Session, text: str, *, enter: bool = True, idempotency_key: str | None = None) -> None:
    """Type text into a session's pane, then Enter if wanted.

    Args:
        idempotency_key: a repetition of a request with it types nothing.

    Raises: Conflict when nothing runs there, it is not GAIA's, or the key was used for something else; NotSubmitted
        when the text was typed, but not the Enter; InvalidInput when there is nothing to send or too much; TmuxError:
        nobody knows.
    """
    check_text(text, enter=enter)
    delay = enter_delay(session) if enter and text else 0.0

    def write(pane: PaneFacts) -> None:
        server_of(session).send_keys(pane.pane_id, text, enter=enter, enter_delay=delay, gaia_id=pane.gaia_id)

    keys = Keys("session.keys_sent", f"{len(text)} characters go" if text else "Enter goes", ("text", text, enter))
    type_once(session, keys, _running_pane, write, idempotency_key=idempotency_key)


def check_text(text: str, *, enter: bool) -> None:
    """Raise InvalidInput when there is nothing to type, or too much."""
    if not text and not enter:
        raise InvalidInput("there is nothing to send", fix="Give a text, or a key such as Enter.")
    if len(text) > MAX_TEXT:
        raise InvalidInput(
            f"the text has {len(text)} characters, at most {MAX_TEXT} can be sent",
            fix="Put it into a file and name the file.",
        )


def send_key(session: Session, key: str, *, idempotency_key: str | None = None) -> None:
    """Press one named key, such as `Enter`, `Escape` or `C-c`.

    Raises: as `send_keys`; InvalidInput for a key that is not on the list.
    """
    check_key(key)

    def write(pane: PaneFacts) -> None:
        server_of(session).send_key(pane.pane_id, key, gaia_id=pane.gaia_id)

    keys = Keys("session.key_sent", f"{key} goes", ("key", key))
    type_once(session, keys, _running_pane, write, idempotency_key=idempotency_key)


def capture(session: Session, *, lines: int = 0, ansi: bool = False) -> str:
    """What the pane shows; `lines` adds that much scrollback.

    Raises: Conflict when tmux no longer has the pane; InvalidInput for a bad number of lines.
    """
    if not 0 <= lines <= MAX_LINES:
        raise InvalidInput(f"lines must be 0 to {MAX_LINES}, not {lines}")
    pane = pane_of(session)
    process = f"{session.tmux_server_pid}/{session.tmux_server_started}/{session.pane_pid}"
    which = {"process": process} if session.foreign else {"gaia_id": pane.gaia_id}
    try:
        return server_of(session).capture(pane.pane_id, lines=lines, ansi=ansi, **which)
    except PaneMissing as error:  # it ended, or was let go, since its pane was found
        raise _not_there(session) from error


def attach_argv(session: Session, *, read_only: bool = False) -> list[str]:
    """The command that gives a terminal to tmux, attached to a session; by number, as it may have been renamed.

    Args:
        read_only: the terminal only shows; nothing but detaching is possible.

    Raises: Conflict when tmux no longer has it, or it is not GAIA's; PanicHolds unless it only shows; TmuxError.
    """
    check_managed([session])
    if not read_only:
        check_calm("only attaching with --read-only is possible")
    target = pane_of(session).session_id
    if session.socket:
        return OtherServer(Path(session.socket)).attach_argv(target, read_only=read_only)
    return tmux_server().passthrough_argv(["attach-session", *(["-r"] if read_only else []), "-t", target])


def stop_everything() -> int:
    """End GAIA's tmux server with all its sessions, for `gaia down --all`; how many there were.

    Adopted ones are not on it: others started them, and they stay.
    """
    with changing():
        rows = list(Session.objects.live().own())
        request_stop(rows)
        return len(finish_stop_of_all(rows))


def end_sessions_of(*, environment: Environment, **_: Any) -> None:
    """An environment is being removed: what works in it ends first, or it would go on in the trash."""
    inside = Q(cwd=environment.path) | Q(cwd__startswith=f"{environment.path}/")
    stop(Session.objects.live().managed().filter(Q(environment=environment) | inside))


def _running_pane(session: Session) -> PaneFacts:
    check_managed([session])
    pane = pane_of(session)
    if pane.dead:
        raise Conflict(
            f"the program of session {session.name} has ended, so nothing was typed",
            meaning="tmux keeps its screen; nobody would read what is typed there.",
            fix=f"Start it again: gaia session start {session.name}.",
            state=session.state,
        )
    return pane


def enter_delay(session: Session) -> float:
    """Seconds between a text and its Enter, which agents would take for part of a paste."""
    if session.runs != Runs.AGENT:
        return 0.0
    try:
        provider = providers().get(session.provider)
    except GaiaError:
        provider = None
    return provider.enter_delay if provider else _LONGEST_ENTER_DELAY_S
