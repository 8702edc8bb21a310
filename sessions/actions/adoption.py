"""Adopting a session that GAIA did not start, and letting it go; its program notices neither.

Adoption puts two options on its pane, GAIA's mark, and letting go takes them off. Nothing else of its server changes.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from django.db.models import Q

from common.errors import Conflict, InvalidInput, NotFound
from common.names import check_name
from environments.models import Environment
from environments.states import ENVIRONMENT_ACTIVE
from sessions import others
from sessions.actions import seen, start
from sessions.actions.control import LOOK_PATIENTLY, only_one
from sessions.actions.seen import Eye
from sessions.configured import fleet, providers
from sessions.drivers.tmux import NoServer, PaneFacts, ServerIdentity, TmuxError
from sessions.drivers.tmux_others import OtherServer
from sessions.models import Session
from sessions.server import changing, home_mark
from sessions.states import Origin

_LONGEST_ROLE = 60  # characters


def find_foreign(name: str, *, life: int | None = None, socket: str = "") -> Session:
    """The session of others with that name, here or in tmux, as it is now.

    Args:
        life: id of the one that is meant.
        socket: the tmux server, by the path of its socket or the last part of that.

    Raises: NotFound; Conflict when several servers have one of that name, or GAIA works with the only one already.
    """
    others.look()
    meant = Q(name=name) | Q(tmux_name=name) if life is None else Q(pk=life)
    named = Session.objects.live().select_related("environment").filter(meant)
    if socket:
        named = named.filter(Q(socket=socket) | Q(socket__endswith=f"/{socket}"))
    found = only_one(named.foreign())
    if found is not None:
        return found
    if (there := named.first()) is not None:
        raise _managed(there)
    where = f" on {socket}" if socket else ""
    raise NotFound(
        f"there is no session {name!r} of others{where}",
        meaning="Sessions on your other tmux servers are looked for.",
        fix="gaia session list shows them.",
        name=name,
    )


def adopt(
    session: Session,
    *,
    name: str = "",
    group: str = "",
    provider: str = "",
    role: str = "",
    environment: Environment | None = None,
) -> Session:
    """Work with a session that GAIA did not start: it can be typed into, attached to and ended from now on.

    Args:
        session: as `find_foreign` gave it.
        name: what GAIA shall call it; default its name.
        group: key of a group of the fleet; default the one its name is like.
        provider: whose agent runs there; default the one its name, or its program, is like.
        role: one word for what it does.
        environment: it works in; default the one its directory is in.

    Raises: Conflict when the name is taken, it is adopted already, or another one than it was; InvalidInput, NotFound
        for what cannot be; TmuxError.
    """
    if not session.foreign or not session.live:
        raise _managed(session)
    wanted = check_name(name or session.name, what="session name")
    _check(wanted, group, provider, role)
    with changing():
        if Session.objects.live().managed().filter(name=wanted).exists():
            raise Conflict(
                f"session {wanted} already runs",
                meaning="GAIA's own sessions and the adopted have one name each.",
                fix="Give it another name: --as NAME.",
                name=wanted,
            )
        server, pane = _there(session)
        driver = OtherServer(Path(session.socket))
        driver.mark(pane.pane_id, pane.process(server), session.gaia_id, home_mark())
        fields = {
            **_fields(session, wanted, pane),
            **{key: value for key, value in (("group", group), ("provider", provider), ("role", role)) if value},
            "environment": environment or _environment_at(pane.cwd),
        }
        fields |= Eye(fleet(), providers()).running(pane, str(fields["provider"]))
        if not seen.record_adopted(session, fields):
            driver.unmark(pane.pane_id, session.gaia_id)
            raise _gone(session)
    return session


def release(session: Session) -> Session:
    """Let an adopted session go: its marks are taken off, and GAIA only looks at it again.

    When its server does not answer, the marks are taken off when it does.

    Raises: Conflict for one that is not adopted.
    """
    if session.origin != Origin.ADOPTED or not session.live:
        own = session.origin == Origin.GAIA
        raise Conflict(
            f"session {session.name} is not adopted",
            meaning="GAIA started it itself." if own else "There is nothing to let go.",
            fix=f"To end it: gaia session destroy {session.name}." if own else "",
        )
    with changing():
        if not seen.record_released(session):
            raise _gone(session)
        with suppress(TmuxError):
            OtherServer(Path(session.socket)).unmark(session.tmux_pane, session.gaia_id)
    return session


def _there(session: Session) -> tuple[ServerIdentity, PaneFacts]:
    """The pane that the row tells of, on the server it tells of, with the process it tells of.

    Raises: Conflict when one of them is another by now; TmuxError.
    """
    try:
        now = OtherServer(Path(session.socket)).look(timeout=LOOK_PATIENTLY)
    except NoServer as error:
        raise _gone(session) from error
    server = now.server
    panes = now.sessions.get(session.tmux_session, ())
    pane = next((one for one in panes if one.pane_id == session.tmux_pane), None)
    if (
        server is None
        or (server.pid, server.start_time) != (session.tmux_server_pid, session.tmux_server_started)
        or pane is None
        or pane.pane_pid != session.pane_pid
    ):
        raise _gone(session)
    if pane.dead:
        raise Conflict(f"the program of session {session.name} has ended", fix="There is nothing to adopt any more.")
    return server, pane


def _fields(session: Session, name: str, pane: PaneFacts) -> dict[str, object]:
    known = fleet().session(name)
    return {
        "name": name,
        "tmux_name": "" if pane.session_name == name else pane.session_name[:200],
        "group": session.group,
        "provider": session.provider,
        "role": known.role if known else "",
        "protected": bool(known and known.protected),
        "cwd": pane.cwd[:1000],
    }


def _check(name: str, group: str, provider: str, role: str) -> None:
    if name in start.VERBS:
        raise InvalidInput(
            f"a session cannot be called {name}", meaning="The API has a verb there.", fix="Give it another: --as NAME."
        )
    if provider and provider not in providers():
        raise NotFound(f"there is no provider {provider!r}", fix=f"Providers: {', '.join(providers())}.")
    if group and not fleet().has_group(group):
        raise NotFound(f"there is no group {group!r}", fix=f"Groups: {', '.join(one.key for one in fleet().groups)}.")
    if role and (not role.isprintable() or len(role) > _LONGEST_ROLE):
        raise InvalidInput(f"{role[:80]!r} is not a role", fix=f"One plain word, at most {_LONGEST_ROLE} characters.")


def _environment_at(cwd: str) -> Environment | None:
    """The environment in whose checkout a directory is."""
    above = [cwd, *map(str, Path(cwd).parents)] if os.path.isabs(cwd) else []
    return Environment.objects.filter(state__in=ENVIRONMENT_ACTIVE, path__in=above).order_by("-path").first()


def _managed(session: Session) -> Conflict:
    how = "has ended" if not session.live else "is adopted already" if session.socket else "is GAIA's own"
    return Conflict(f"session {session.name} {how}", fix="gaia session list shows which are not GAIA's.")


def _gone(session: Session) -> Conflict:
    return Conflict(
        f"session {session.name} is not what it was a moment ago",
        meaning="It ended, its server was started again, or another program has its pane.",
        fix="Look again: gaia session list.",
    )
