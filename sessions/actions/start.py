"""Starting sessions: the fleet, or one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from common.errors import Conflict, InvalidInput, NotFound, Unavailable
from common.names import check_name
from environments.actions.mcp_config import write_configs
from environments.models import Environment
from environments.states import ENVIRONMENT_ACTIVE
from events import log
from events.models import Level
from projects.models import Project
from sessions import reconcile
from sessions.actions import control
from sessions.actions.ending import end_left_over
from sessions.actions.record import record_created, record_failed
from sessions.configured import current_fleet, fleet, providers
from sessions.drivers.pane_programs import MARK
from sessions.drivers.tmux import EXISTS, Created, CreateFailed, NewSession, TmuxError, check_tmux
from sessions.fleet import FleetSession
from sessions.models import Session
from sessions.providers import SYSTEM, Launch, resolve
from sessions.server import changing, tmux_server
from sessions.states import Runs, SessionState

__all__ = ["Started", "create", "fleet", "select", "start_fleet", "stop_fleet"]

VERBS = ("groups", "start", "stop")  # what stands beside the names under /api/orchestration/sessions/
_LONGEST_ROLE = 60  # characters
_TAKEN_IN_TMUX = "a session that GAIA did not make has this name on its tmux server (gaia tmux ls)"


@dataclass
class Started:
    """What a start did: names by what became of them.

    `shells` and `notes` tell of some of the started ones why a shell runs, and what else is not as the fleet says.
    """

    started: list[str] = field(default_factory=list)
    already: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    shells: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


@dataclass
class _Start:
    """A row that is to be, and what will run in its pane; the launch may carry keys, which are not stored."""

    row: Session
    launch: Launch
    note: str = ""


def select(group: str | None = None, only: Iterable[str] = ()) -> list[FleetSession]:
    """The fleet's sessions of a group (key, label or short form), or those named.

    Raises: NotFound naming what there is, for a group or name the fleet does not have; InvalidInput for a mistake in
        the fleet's file.
    """
    loaded, names = current_fleet(), list(only)
    chosen = list(loaded.sessions)
    if group is not None:
        wanted = group.strip().lower()
        keys = {one.key for one in loaded.groups if wanted in {one.key, one.label.lower(), one.short.lower()}}
        if not keys:
            have = ", ".join(one.key for one in loaded.groups)
            raise NotFound(f"the fleet has no group {group!r}", fix=f"Groups: {have}.")
        chosen = [session for session in chosen if session.group in keys]
    unknown = set(names) - {session.name for session in chosen}
    if unknown:
        have = ", ".join(session.name for session in chosen)
        where = f"group {group} of the fleet" if group is not None else "the fleet"
        raise NotFound(f"{where} has no session {', '.join(sorted(unknown))}", fix=f"Sessions: {have}.")
    return [session for session in chosen if session.name in names] if names else chosen


def start_fleet(*, group: str | None = None, only: Iterable[str] = (), project: Project | None = None) -> Started:
    """Start what of the fleet does not run, also what has ended; what runs is left alone.

    Args:
        group: only this group. only: only these names.
        project: whose environments the workers get; default the newest.

    Raises: Unavailable without a usable tmux; NotFound for an unknown group or name; Conflict when another start
        does not come to an end.
    """
    check_tmux()
    wanted = select(group, only)
    with changing():
        reconcile.compare()
        reconcile.settle()
        rows = {row.name: row for row in Session.objects.live().managed().filter(name__in=[one.name for one in wanted])}
        ended = [row for row in rows.values() if row.state == SessionState.EXITED]
        control.end(ended)  # its program has ended and tmux only keeps the screen
        missing = [one for one in wanted if one.name not in rows or rows[one.name] in ended]
        places = _environments(project)
        done = _start([_planned(one, places.get(one.environment or "")) for one in missing])
    done.already += [one.name for one in wanted if one not in missing]
    return done


def create(
    name: str,
    *,
    provider: str = SYSTEM,
    group: str = "other",
    role: str = "",
    environment: Environment | None = None,
    cwd: str = "",
) -> Session:
    """Start one session that is not part of the fleet.

    Args:
        cwd: absolute path of the directory it works in; default the environment's, else one of its own.

    Raises: InvalidInput, Conflict when the name is taken, NotFound for an unknown provider, group or directory,
        Unavailable when tmux cannot start it.
    """
    check_name(name, what="session name")
    if name in VERBS:
        raise InvalidInput(
            f"a session cannot be called {name}", meaning="The API has a verb there.", fix="Add a number."
        )
    check_tmux()
    one = _stranger(name, group, provider, role)
    if cwd and not (os.path.isabs(cwd) and os.path.isdir(cwd)):
        raise InvalidInput(f"{cwd} is not a directory", fix="Give the absolute path of one that exists.", path=cwd)
    with changing():
        reconcile.compare()
        reconcile.settle()
        done = _start([_planned(one, environment, cwd)])
    if name in done.already:
        raise _taken(name)
    if name in done.failed:
        raise Unavailable(f"session {name} could not be started", meaning=done.failed[name])
    return Session.objects.own().filter(name=name).select_related("environment").latest("id")


def stop_fleet(*, group: str | None = None, only: Iterable[str] = ()) -> list[str]:
    """End the fleet's sessions that run, or those of a group or named ones; an adopted one only when it is named.

    Returns: the names of those ended.
    Raises: NotFound for an unknown group or name; Unavailable when tmux does not answer.
    """
    named = list(only)
    chosen = Session.objects.live().filter(name__in=[one.name for one in select(group, named)])
    return control.stop(chosen.managed() if named else chosen.own())


def _stranger(name: str, group: str, provider: str, role: str) -> FleetSession:
    loaded = current_fleet()
    if provider not in providers():
        raise NotFound(f"there is no provider {provider!r}", fix=f"Providers: {', '.join(providers())}.")
    if not loaded.has_group(group):
        raise NotFound(f"there is no group {group!r}", fix=f"Groups: {', '.join(one.key for one in loaded.groups)}.")
    role = role.strip() or "worker"
    if not role.isprintable() or len(role) > _LONGEST_ROLE:
        raise InvalidInput(
            f"{role[:80]!r} is not a role", fix=f"Use one plain word, at most {_LONGEST_ROLE} characters."
        )
    own = loaded.session(name)
    return FleetSession(name=name, group=group, provider=provider, role=role, protected=bool(own and own.protected))


def _taken(name: str) -> Conflict:
    there = Session.objects.live().managed().filter(name=name).first()
    if there is not None and there.state == SessionState.EXITED:
        return Conflict(
            f"session {name} is there, though its program has ended",
            meaning="tmux keeps its screen so that one can read why.",
            fix=f"End it first: gaia session destroy {name}.",
            name=name,
        )
    return Conflict(
        f"session {name} already runs", fix=f"Attach to it (gaia attach {name}), or choose another name.", name=name
    )


def _environments(project: Project | None) -> dict[str, Environment]:
    living = Project.objects.filter(environments__state__in=ENVIRONMENT_ACTIVE).order_by("-id")
    chosen = project or living.first()
    if chosen is None:
        return {}
    return {each.name: each for each in chosen.environments.filter(state__in=ENVIRONMENT_ACTIVE)}


def _planned(one: FleetSession, environment: Environment | None, cwd: str = "") -> _Start:
    launch = launch_of(one.provider)
    note = ""
    if environment is not None and not os.path.isdir(environment.path):
        note = f"the directory of {environment.directory} is missing, so it runs in one of its own"
        environment = None
    elif environment is None and one.environment:
        note = f"environment {one.environment} is not set up, so it runs in a directory of its own"
    row = Session(
        gaia_id=secrets.token_hex(8),
        name=one.name,
        group=one.group,
        provider=one.provider,
        role=one.role,
        protected=one.protected,
        environment=environment,
        cwd=cwd or (environment.path if environment else str(_workspaces() / one.name)),
        argv=list(launch.argv),
        runs=launch.runs,
        reason=launch.reason[:300],
        problem=note,
    )
    return _Start(row, launch, note)


def launch_of(provider: str) -> Launch:
    """What runs in the pane of a session with this provider."""
    shell = settings.GAIA["sessions.shell"] or None
    return resolve(providers()[provider], settings.GAIA["sessions.path"] or _login_path(), shell=shell)


def _pane_path() -> str:
    """PATH of a pane: first where its agent was found, which may need what lies beside it, then the usual one."""
    return os.pathsep.join(part for part in (settings.GAIA["sessions.path"], _login_path()) if part)


def _login_path() -> str:
    return tmux_server().environment["PATH"]


def _workspaces() -> Path:
    """Directories of sessions that work in no environment: one each, so that no two agents share one."""
    return Path(settings.GAIA.home.root / "workspaces")


def _start(wanted: Sequence[_Start]) -> Started:
    """Intent rows, then tmux, then what became of them. The caller holds `changing()`."""
    done = Started()
    ours = _record_intents(wanted)
    done.already = [one.row.name for one in wanted if one not in ours]
    if not ours:
        return done
    _tell_of_mcp_servers(ours)
    end_left_over(Session.objects.own().filter(name__in=[one.row.name for one in ours]))
    try:
        _workspaces().mkdir(mode=0o700, exist_ok=True)
        for one in ours:
            if one.row.cwd == str(_workspaces() / one.row.name):
                Path(one.row.cwd).mkdir(mode=0o700, exist_ok=True)
        made = tmux_server().create([_new(one) for one in ours])
    except TmuxError:  # some may be there: tmux knows, or nobody does until it answers again
        with suppress(TmuxError):
            reconcile.settle(unborn="tmux did not make it")
        raise
    except (Unavailable, OSError) as error:
        for one in ours:
            record_failed(one.row, str(error))
        if isinstance(error, OSError):
            raise Unavailable(
                f"the sessions' directories cannot be made: {error.strerror}",
                fix=f"Make room, or give yourself the right to write in {_workspaces()}.",
            ) from error
        raise
    _record_results(ours, made, done)
    return done


def _record_intents(wanted: Sequence[_Start]) -> list[_Start]:
    """Rows in state starting. Returns: those whose name no live session has."""
    with log.atomic():
        # a name that an adopted session just took is left to it
        Session.objects.bulk_create([one.row for one in wanted], ignore_conflicts=True)
        stored = Session.objects.filter(gaia_id__in=[one.row.gaia_id for one in wanted])
        keys = dict(stored.values_list("gaia_id", "pk"))
        ours = [one for one in wanted if one.row.gaia_id in keys]
        for one in ours:
            one.row.pk = keys[one.row.gaia_id]
            log.emit("session.requested", subject=one.row.key, message=f"Start of session {one.row.name} was asked for")
    return ours


def _tell_of_mcp_servers(ours: Sequence[_Start]) -> None:
    """Bring the `.mcp.json` of the checkouts they work in into line; where that cannot be, a note says so."""
    told = write_configs(one.row.environment_id for one in ours if one.row.environment_id is not None)
    for one in ours:
        one.note = "; ".join(part for part in (one.note, told.get(one.row.environment_id or 0, "")) if part)


def _record_results(ours: Sequence[_Start], made: Sequence[Created | CreateFailed], done: Started) -> None:
    now = timezone.now()
    with log.atomic():
        for one, result in zip(ours, made, strict=True):
            row = one.row
            if isinstance(result, CreateFailed):
                reason = _TAKEN_IN_TMUX if result.reason == EXISTS else result.reason
                record_failed(row, reason)
                done.failed[row.name] = reason
                continue
            record_created(row, result, now=now)
            done.started.append(row.name)
            if row.runs == Runs.SHELL and row.provider != SYSTEM:
                done.shells[row.name] = row.reason
            if one.note:
                done.notes[row.name] = one.note
                log.emit("session.note", subject=row.key, message=f"{row.name}: {one.note}", level=Level.WARNING)


def _new(one: _Start) -> NewSession:
    row = one.row
    env = {"GAIA_SESSION": row.name, MARK: row.gaia_id, "PATH": _pane_path()}
    tags = {"name": row.name, "provider": row.provider, "group": row.group, "role": row.role, "runs": row.runs}
    tags["protected"] = "yes" if row.protected else "no"
    if row.environment is not None:
        env["GAIA_ENVIRONMENT"] = tags["environment"] = row.environment.directory
    return NewSession(
        name=row.name,
        gaia_id=row.gaia_id,
        cwd=Path(row.cwd),
        argv=tuple(row.argv),
        env={**one.launch.env, **env},
        tags=tags,
    )
