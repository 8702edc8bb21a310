"""Starting sessions: the fleet, or one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from common.errors import Conflict, InvalidInput, NotFound, Unavailable
from common.names import check_name
from environments.models import Environment
from environments.states import ENVIRONMENT_ACTIVE
from events import log
from events.models import Level
from projects.models import Project
from sessions import reconcile
from sessions.actions import control
from sessions.actions.record import record_created, record_failed
from sessions.drivers.tmux import CreateFailed, NewSession, check_tmux
from sessions.fleet import Fleet, FleetSession, load_fleet
from sessions.models import Session
from sessions.providers import Launch, load_providers, resolve
from sessions.server import tmux_server
from sessions.states import Runs, SessionState


@dataclass
class Started:
    """What a start did: names by what became of them."""

    started: list[str] = field(default_factory=list)
    already: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    shells: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


def fleet() -> Fleet:
    """The fleet in force: the configured file, else `fleet.yaml` in the home, else the shipped one."""
    configured = settings.GAIA["sessions.fleet"]
    own = settings.GAIA.home.root / "fleet.yaml"
    return load_fleet(Path(configured).expanduser() if configured else own if own.exists() else None)


def select(group: str | None = None, only: Iterable[str] = ()) -> list[FleetSession]:
    """The fleet's sessions of a group (key or label), or those named.

    Raises: NotFound naming what there is, for a group or name the fleet does not have.
    """
    loaded, names = fleet(), list(only)
    chosen = list(loaded.sessions)
    if group:
        keys = {
            group_.key
            for group_ in loaded.groups
            if group.lower() in {group_.key.lower(), group_.label.lower(), group_.short.lower()}
        }
        if not keys:
            raise NotFound(
                f"the fleet has no group {group!r}",
                fix="Groups: " + ", ".join(group_.key for group_ in loaded.groups) + ".",
            )
        chosen = [session for session in chosen if session.group in keys]
    if names:
        unknown = set(names) - {session.name for session in loaded.sessions}
        if unknown:
            raise NotFound(
                f"the fleet has no session {', '.join(sorted(unknown))}",
                fix="Sessions: " + ", ".join(session.name for session in loaded.sessions) + ".",
            )
        chosen = [session for session in chosen if session.name in names]
    return chosen


def start_fleet(*, group: str | None = None, only: Iterable[str] = (), project: Project | None = None) -> Started:
    """Start what of the fleet does not run yet; what runs is left alone.

    Args:
        group: only this group. only: only these names.
        project: whose environments the workers get; default the only one, or the newest.

    Raises: Unavailable without a usable tmux; NotFound for an unknown group or name.
    """
    check_tmux()
    reconcile.look()
    wanted = select(group, only)
    live = set(Session.objects.live().filter(name__in=[one.name for one in wanted]).values_list("name", flat=True))
    places = _environments(project)
    rows = [_row(one, places.get(one.environment or "")) for one in wanted if one.name not in live]
    done = _start(rows)
    done.already = [one.name for one in wanted if one.name in live]
    return done


def create(
    name: str,
    *,
    provider: str,
    group: str = "other",
    role: str = "",
    environment: Environment | None = None,
    cwd: str = "",
) -> Session:
    """Start one session that is not part of the fleet.

    Raises: InvalidInput, Conflict when the name is taken, NotFound for an unknown provider or directory,
        Unavailable when tmux cannot start it.
    """
    check_name(name, what="session name")
    check_tmux()
    if provider not in load_providers():
        raise NotFound(f"there is no provider {provider!r}", fix=f"Providers: {', '.join(load_providers())}.")
    if group not in {known.key for known in fleet().groups}:
        raise NotFound(
            f"there is no group {group!r}", fix=f"Groups: {', '.join(known.key for known in fleet().groups)}."
        )
    if cwd and not Path(cwd).is_dir():
        raise InvalidInput(f"the directory {cwd} does not exist")
    reconcile.look()
    row = _row(FleetSession(name=name, group=group, provider=provider, role=role or "worker"), environment)
    row.cwd = cwd or row.cwd
    done = _start([row])
    if name in done.already:
        raise Conflict(f"session {name} already runs", fix="Attach to it, or choose another name.", name=name)
    if name in done.failed:
        raise Unavailable(f"session {name} could not be started", meaning=done.failed[name])
    return Session.objects.live().get(name=name)


def _environments(project: Project | None) -> dict[str, Environment]:
    chosen = project or Project.objects.order_by("-id").first()
    if chosen is None:
        return {}
    return {each.name: each for each in chosen.environments.filter(state__in=ENVIRONMENT_ACTIVE)}


def _row(one: FleetSession, environment: Environment | None) -> Session:
    launch = _launch(one.provider)
    home = settings.GAIA.home
    problem = ""
    if environment is not None and Path(environment.path).is_dir():
        cwd = environment.path
    else:
        cwd = str(home.root / "workspaces" / one.name)
        if one.environment:
            problem = f"environment {one.environment} is not set up, so it runs in a directory of its own"
            environment = None
    return Session(
        gaia_id=secrets.token_hex(8),
        name=one.name,
        group=one.group,
        provider=one.provider,
        role=one.role,
        protected=one.protected,
        environment=environment,
        cwd=cwd,
        argv=list(launch.argv),
        runs=launch.runs,
        reason=launch.reason if launch.runs == Runs.SHELL else "",
        problem=problem,
    )


def _launch(provider: str) -> Launch:
    path = settings.GAIA["sessions.path"] or os.environ.get("PATH", os.defpath)
    return resolve(load_providers()[provider], path, shell=settings.GAIA["sessions.shell"] or None)


def _start(rows: Sequence[Session]) -> Started:
    """Intent rows, then tmux, then what became of them."""
    done = Started()
    with log.atomic():
        Session.objects.bulk_create(rows, ignore_conflicts=True)  # a name that somebody else just took is left to them
        ours = {
            row.gaia_id: row
            for row in Session.objects.filter(
                gaia_id__in=[row.gaia_id for row in rows], state=SessionState.STARTING
            ).select_related("environment")
        }
        for row in ours.values():
            log.emit("session.requested", subject=row.key, message=f"Start of session {row.name} was asked for")
    done.already = [row.name for row in rows if row.gaia_id not in ours]
    if not ours:
        return done
    for row in ours.values():
        if row.cwd.startswith(str(settings.GAIA.home.root / "workspaces")):
            Path(row.cwd).mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        made = tmux_server().create([_new(row) for row in ours.values()])
    except Unavailable as error:
        for row in ours.values():
            record_failed(row, error.what)
        raise
    results = {result.name: result for result in made}
    now = timezone.now()
    with log.atomic():
        for row in ours.values():
            result = results[row.name]
            if isinstance(result, CreateFailed):
                record_failed(row, result.reason)
                done.failed[row.name] = result.reason
                continue
            record_created(row, result, now=now)
            done.started.append(row.name)
            if row.runs == Runs.SHELL and row.provider != "system":
                done.shells[row.name] = row.reason
            if row.problem:
                done.notes[row.name] = row.problem
                log.emit("session.note", subject=row.key, message=f"{row.name}: {row.problem}", level=Level.WARNING)
    return done


def _new(row: Session) -> NewSession:
    env = {"GAIA_SESSION": row.name}
    if row.environment is not None:
        env["GAIA_ENVIRONMENT"] = row.environment.directory
    launch = _launch(row.provider)
    tags = {"name": row.name, "provider": row.provider, "group": row.group, "role": row.role, "runs": row.runs}
    return NewSession(
        name=row.name,
        gaia_id=row.gaia_id,
        cwd=Path(row.cwd),
        argv=tuple(row.argv),
        env={**launch.env, **env},
        tags=tags,
    )


def stop_fleet(*, group: str | None = None, only: Iterable[str] = ()) -> list[str]:
    """End the fleet's sessions that run, or those of a group or named ones; the names of those ended."""
    reconcile.look()
    names = [one.name for one in select(group, only)]
    return control.stop(Session.objects.live().filter(name__in=names))
