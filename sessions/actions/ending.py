"""The end of sessions whose end was asked for: their windows, and whatever of their programs ignores that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path

from events import log
from events.models import Level
from processes.drivers.liveness import Identity, alive, boot_id
from sessions.actions.record import record_stopped
from sessions.drivers.pane_programs import Program, ended_for_sure, program_of
from sessions.drivers.tmux import NoServer, PaneFacts, Snapshot, TmuxError
from sessions.drivers.tmux_others import OtherServer
from sessions.models import Session
from sessions.server import tmux_server
from sessions.states import SessionState


def finish_stop(sessions: Sequence[Session]) -> list[str]:
    """End sessions whose stop has been recorded as asked for. The caller holds `changing()`.

    Returns: the names of those that this call ended.
    Raises: TmuxError when tmux does not answer.
    """
    own = [session for session in sessions if not session.socket]
    names = _finish_own(own) if own else []
    others: dict[str, list[Session]] = {}
    for session in sessions:
        if session.socket:
            others.setdefault(session.socket, []).append(session)
    for socket, adopted in others.items():
        server = OtherServer(Path(socket))
        names += _finish(adopted, _marked(server), server.kill_panes)
    return [session.name for session in sessions if session.name in names]


def _finish_own(sessions: Sequence[Session]) -> list[str]:
    """With whatever else their tmux sessions have: what is left of one would keep its name."""
    snapshot = tmux_server().snapshot()
    beside = _beside(snapshot, {session.gaia_id for session in sessions})

    def close(panes: list[PaneFacts]) -> None:
        tmux_server().kill(pane.window_id for pane in (*panes, *(pane for _, pane in beside)))

    return _finish(sessions, snapshot.by_gaia_id(), close, _programs(beside))


def _beside(snapshot: Snapshot, gaia_ids: Set[str]) -> list[tuple[str, PaneFacts]]:
    """The panes that the tmux sessions of these have besides, each with the session's @gaia_id.

    Not those of a window in which another session's pane is, too.
    """
    homes = {pane.session_id: gaia_id for gaia_id, pane in snapshot.by_gaia_id().items() if gaia_id in gaia_ids}
    spared = {pane.window_id for pane in snapshot.panes if pane.gaia_id and pane.gaia_id not in gaia_ids}
    unmarked = [pane for pane in snapshot.panes if not pane.gaia_id and pane.window_id not in spared]
    return [(homes[pane.session_id], pane) for pane in unmarked if pane.session_id in homes]


def _programs(beside: Sequence[tuple[str, PaneFacts]]) -> list[Program]:
    """As the session's: what they start carries its mark, too."""
    found = [(gaia_id, program_of(pane)) for gaia_id, pane in beside if not pane.dead]
    return [Program(gaia_id, program.pid, program.start_ticks) for gaia_id, program in found]


def _finish(
    sessions: Sequence[Session],
    panes: Mapping[str, PaneFacts],
    close: Callable[[list[PaneFacts]], object],
    beside: Sequence[Program] = (),
) -> list[str]:
    there = [panes[session.gaia_id] for session in sessions if session.gaia_id in panes]
    with ended_for_sure([*_recorded(sessions), *map(program_of, there), *beside]) as survivors:
        close(there)
    return _record(sessions, survivors)


def _marked(server: OtherServer) -> dict[str, PaneFacts]:
    """The panes with a mark on a server of somebody else's, by that; of one that has ended none."""
    try:
        return {pane.gaia_id: pane for pane in server.look().panes() if pane.gaia_id}
    except NoServer:
        return {}


def finish_stop_of_all(sessions: Sequence[Session]) -> list[str]:
    """`finish_stop` of all there are together with their tmux server, even one that does not answer.

    What earlier sessions have left running ends, too.
    Raises: TmuxError when the server does not end.
    """
    there: list[Program] = []
    with suppress(TmuxError):
        snapshot = tmux_server().snapshot()
        marked = snapshot.by_gaia_id()
        there = [*map(program_of, marked.values()), *_programs(_beside(snapshot, marked.keys()))]
    with ended_for_sure([*_recorded(sessions), *there]) as survivors:
        tmux_server().kill_server()
    end_left_over(Session.objects.own())
    return _record(sessions, survivors)


def end_left_over(sessions: Iterable[Session]) -> None:
    """End what went on without a terminal when tmux let go of these sessions; nobody can see or reach it any more."""
    gone = [session for session in sessions if session.state == SessionState.GONE and _lives(session)]
    if not gone:
        return
    with log.atomic():
        for session in gone:
            told = f"What session {session.name} had left running is ended (pid {session.pane_pid})"
            log.emit(
                "session.left_over", subject=session.key, message=told, level=Level.WARNING, gaia_id=session.gaia_id
            )
    with ended_for_sure(_recorded(gone)):
        pass


def _record(sessions: Sequence[Session], survivors: Mapping[str, tuple[int, ...]]) -> list[str]:
    return [one.name for one in sessions if record_stopped(one, left=survivors.get(one.gaia_id, ()))]


def _recorded(sessions: Iterable[Session]) -> list[Program]:
    """Their programs by what was written down: whoever was killed while ending them may have ended their panes."""
    return [
        Program(one.gaia_id, one.pane_pid, one.pane_start_ticks)
        for one in sessions
        if one.pane_pid and one.boot_id == boot_id()
    ]


def _lives(session: Session) -> bool:
    if session.pane_pid is None or session.pane_start_ticks is None:
        return False
    return alive(Identity(session.boot_id, session.pane_pid, session.pane_start_ticks))
