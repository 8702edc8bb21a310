"""Putting an environment into a layer: databases, ports, files and MCP servers follow.

In this order, so that a kill at any moment loses nothing and the same call again finishes it:

1. what runs of its stages is stopped, if that was said; which ones is written down first
2. databases that are missing on the layer's server are made, under names that were written down before
3. row, ports and leases change in one transaction, with the event
4. the files in the checkout follow from the rows; until they do, a launch brings them into agreement
5. what was stopped is started again

No data is copied: a SQLite file stays where it is and is found again by the way back, as is a database on a server.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from common.containment import stays_inside
from common.errors import Conflict, GaiaError, Refused
from common.files import managed_block
from environments.actions import changing, mcp_config, measured, stage_services, stages
from environments.actions.changing import PATIENCE_S, while_stopped
from environments.actions.furnishing import furnish, furnish_as
from environments.actions.layer_mcp import follow_mcp, mcp_of
from environments.actions.layer_ports import moves_of
from environments.actions.layer_servers import (
    database_name,
    leading_to_production,
    mark,
    refuse_powerful,
    server_url,
)
from environments.actions.setup import requested_before
from environments.drivers import postgres
from environments.drivers.stage_env import parse_dotenv, read_text
from environments.models import Environment, Layer, Stage
from environments.overview import in_order
from environments.states import LOCAL, Engine, EnvironmentState
from events import log
from events.models import Event, Level
from processes.actions import ports as leases
from processes.actions.nodes import ensure_node
from processes.actions.operations import Progress, request_operation
from processes.models import Operation, Process

KIND = "environments.layer"
_STOPPING, _SET, _KEPT = "environment.layer_stopping", "environment.layer_set", "environment.layer_not_set"


@dataclass(frozen=True)
class LayerPlan:
    """What putting an environment into a layer would do.

    Args:
        before, layer: names of layers; the same when it is only brought into order.
        ports: `{stage, before, port}` of each stage that moves.
        databases: `{stage, engine, name, exists}`; name and exists are empty for SQLite.
        mcp: MCP servers its sessions may use then.
        running: stages that have to be stopped for it.
        notes: what one should know, a sentence each.
    """

    environment: str
    before: str
    layer: str
    engine: str
    ports: list[dict[str, Any]] = field(default_factory=list)
    databases: list[dict[str, Any]] = field(default_factory=list)
    mcp: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def plan(environment: Environment, layer: Layer) -> LayerPlan:
    """What `set_layer` would do; writes nothing.

    Raises: Conflict when the environment is not ready, or the layer has too few ports or no server; Refused when it
    would come to production's data; Unavailable when the server does not answer.
    """
    _require_ready(environment)
    _refuse_leading(environment, layer)
    chosen = _stages_of(environment)
    databases = [_database_plan(stage, layer) for stage in chosen]
    moves = moves_of(chosen, layer)
    return LayerPlan(
        environment=environment.directory,
        before=environment.layer_name,
        layer=layer.name,
        engine=layer.engine,
        ports=[{"stage": stage.name, "before": stage.port, "port": port} for stage, port in moves],
        databases=databases,
        mcp=mcp_of(layer),
        running=[stage.name for stage in chosen if stages.notice_scripts(stage)],
        notes=_notes(environment, layer),
    )


def _notes(environment: Environment, layer: Layer) -> list[str]:
    before = environment.layer
    notes = []
    if before.engine == Engine.SQLITE and layer.engine == Engine.POSTGRESQL:
        notes.append("What is in the SQLite databases stays in their files and is not copied to PostgreSQL.")
    if before.engine == Engine.POSTGRESQL and layer.name != before.name:
        notes.append(f"What is in the PostgreSQL databases stays on the server of layer {before.name}.")
    if before.engine == Engine.POSTGRESQL and layer.engine == Engine.SQLITE:
        notes.append("Its stages find the SQLite files again that they had before.")
    return notes


def request_layer(
    environment: Environment,
    layer: Layer,
    *,
    restart: bool = False,
    idempotency_key: str | None = None,
    detached: bool = True,
) -> Operation:
    """Ask for `set_layer`.

    Args:
        restart: stop the stages that run for it, and start them again.

    Raises: as `plan`; Conflict when a stage runs and `restart` was not said, or another operation is at it.
    """
    known = requested_before(idempotency_key)
    if known is None:  # what the repeated request wants may not be possible any more, because it is under way
        found = plan(environment, layer)
        if found.running and not restart:
            raise _runs(environment, layer, found.running)
    return request_operation(
        KIND,
        f"Layer {layer.name} for {environment.directory}",
        subject=environment.key,
        params={"environment": environment.pk, "layer": layer.name, "restart": restart},
        idempotency_key=idempotency_key,
        detached=detached,
    )


def _runs(environment: Environment, layer: Layer, names: list[str]) -> Conflict:
    return Conflict(
        f"{', '.join(names)} of {environment.directory} run{'s' if len(names) == 1 else ''}",
        meaning="They would go on with the ports and databases they have. Nothing was changed.",
        fix=f"Have them restarted: gaia layer set {environment.directory} {layer.name} --restart",
        stages=names,
    )


def operate(progress: Progress, *, environment: int, layer: str, restart: bool) -> dict[str, Any]:
    """The operation. Returns: `{environment, before, layer, moved, made, started, notes}`."""
    row = Environment.objects.select_related("project", "layer").filter(pk=environment).first()
    wanted = Layer.objects.filter(name=layer).first()
    if row is None or wanted is None:
        raise Conflict("the environment or the layer is gone", meaning="Nothing was changed.")
    stopped: list[str] = _interrupted(row)
    try:
        if restart:
            stopped = _stop(progress, row, wanted, stopped)
        told = set_layer(row, wanted, progress)
    except GaiaError as error:
        if stopped:
            _tell_kept(row, wanted, error)
        raise
    finally:  # whoever cancels wants them to run as before
        with ExitStack() as each:
            for name in reversed(stopped):
                each.callback(_start_again, row.pk, name)
    progress(1, 1, f"{told['environment']} is in layer {told['layer']}")
    return {**told, "started": stopped}


def _stop(progress: Progress, environment: Environment, layer: Layer, before: list[str]) -> list[str]:
    """Stop what runs; the names of what is to run afterwards, written down first."""
    running = [stage for stage in _stages_of(environment) if stages.notice_scripts(stage)]
    names = list(dict.fromkeys([*before, *(stage.name for stage in running)]))
    if running:
        with log.atomic():
            told = f"Stages of {environment.directory} stop for layer {layer.name}: {', '.join(names)}"
            log.emit(_STOPPING, subject=environment.key, message=told, stages=names)
    for number, stage in enumerate(running):
        progress(number, 2 * len(running), f"Stopping {stage.called}")
        stages.bring_down(stage, timeout=PATIENCE_S)
    return names


def _interrupted(environment: Environment) -> list[str]:
    """Stages that an earlier call stopped and did not start again, because it was killed."""
    told = Event.objects.filter(subject=environment.key, kind__in=[_STOPPING, _SET, _KEPT]).order_by("-id").first()
    return list(told.data.get("stages", [])) if told is not None and told.kind == _STOPPING else []


def _tell_kept(environment: Environment, layer: Layer, error: GaiaError) -> None:
    with log.atomic():
        told = f"{environment.directory} was not put into layer {layer.name}: {error.what}"
        log.emit(_KEPT, subject=environment.key, message=told, level=Level.ERROR)


def _start_again(pk: int, name: str) -> None:
    stage = Stage.objects.select_related("environment__project").get(environment_id=pk, name=name)
    if not Process.objects.active().filter(owner=stage.owner).exists():
        stages.bring_up(stage, timeout=PATIENCE_S)


def set_layer(environment: Environment, layer: Layer, progress: Progress | None = None) -> dict[str, Any]:
    """Put an environment whose stages do not run into a layer, or bring it into agreement with the one it is in.

    Returns: `{environment, before, layer, moved, made, mcp, notes}`. Raises: as `plan`; Conflict when a stage runs.
    """
    chosen, before = _stages_of(environment), environment.layer_name
    notes = _notes(environment, layer)
    verb = f"gaia layer set {environment.directory} {layer.name}"
    with while_stopped(environment, chosen, verb=verb):
        if progress is not None:
            progress(1, 2, f"Databases, ports and files of {environment.directory}")
        made = _make_databases(chosen, layer)
        if environment.layer.production and not layer.production:
            # first of all its files forget production's data: a script may start a stage whatever the row says
            furnish_as(environment, chosen, layer)
        moved = _record(environment, layer, chosen)
        furnish(environment)
        _end_other_definitions(chosen, layer)
    started = follow_mcp(layer)
    notes += _write_mcp(environment)
    measured.export()
    return {
        "environment": environment.directory,
        "before": before,
        "layer": layer.name,
        "moved": moved,
        "made": made,
        "mcp": mcp_of(layer),
        "mcp_started": started,
        "notes": notes,
    }


def _end_other_definitions(chosen: list[Stage], layer: Layer) -> None:
    """A stage that cannot be defined anew, say for a bad gaia.yaml, is not kept up as it was in the layer before."""
    for stage in chosen:
        service = stage_services.service_of(stage)
        if service is None:
            continue
        known = {**service.env, **service.secrets}.get("GAIA_LAYER", LOCAL)
        if known != layer.name:
            stage_services.stop(stage)


def _write_mcp(environment: Environment) -> list[str]:
    """Have the checkout's `.mcp.json` name the servers of the layer. Returns: what there is to say about it."""
    try:
        kept = mcp_config.write_config(environment).kept
    except GaiaError as error:
        kept = error.what
    return [f"Its .mcp.json was left as it is: {kept}."] if kept else []


def _make_databases(chosen: list[Stage], layer: Layer) -> list[str]:
    """Make what is missing on the layer's server; the names of those that were made."""
    if layer.engine != Engine.POSTGRESQL:
        return []
    url, made = server_url(layer), []
    refuse_powerful(layer, url)
    for stage in chosen:
        name = database_name(stage, layer)
        if stage.servers.get(layer.name) != name:
            stage.servers = {**stage.servers, layer.name: name}
            with log.atomic():
                Stage.objects.filter(pk=stage.pk).update(servers=stage.servers)
                told = f"{stage.called[0].upper()}{stage.called[1:]} has the database {name} in layer {layer.name}"
                log.emit("stage.database_named", subject=stage.owner, message=told, layer=layer.name, name=name)
        if postgres.make_database(url, name, mark()):
            made.append(name)
            with log.atomic():
                told = f"The database {name} was made for {stage.called}"
                log.emit("stage.database_made", subject=stage.owner, message=told, layer=layer.name, name=name)
    return made


def _record(environment: Environment, layer: Layer, chosen: list[Stage]) -> list[dict[str, Any]]:
    """Row, ports and leases, and the event, in one transaction. Returns: what moved."""
    moves, node = moves_of(chosen, layer), ensure_node()
    before = environment.layer_name
    moved = [{"stage": stage.name, "before": stage.port, "port": port} for stage, port in moves]
    with log.atomic():
        for stage, port in moves:
            leases.move_lease(node, stage.owner, before=stage.port, port=port)
            Stage.objects.filter(pk=stage.pk).update(port=port)
        Environment.objects.filter(pk=environment.pk).update(layer=layer)
        again = "was brought into agreement with" if before == layer.name else "is in"
        log.emit(
            _SET,
            subject=environment.key,
            message=f"{environment.directory} {again} layer {layer.name}",
            before=before,
            layer=layer.name,
            moved=moved,
        )
    for stage, port in moves:
        stage.port = port
    environment.layer = layer
    return moved


# -- what is looked at


def _require_ready(environment: Environment) -> None:
    if environment.state != EnvironmentState.READY:
        raise Conflict(
            f"environment {environment.directory} is {environment.get_state_display().lower()}",
            meaning=environment.problem,
            fix="Repair it: gaia env setup.",
        )


def _refuse_leading(environment: Environment, layer: Layer) -> None:
    """Raise Refused when what the user wrote into `.env.local` would bring the layer to production's data."""
    for name in (".env.local", ".gaia/env.local"):
        file = Path(environment.path) / name
        if not stays_inside(Path(environment.path), name):
            continue
        theirs = managed_block(read_text(file), "")  # without what GAIA wrote there
        for key in leading_to_production(layer, parse_dotenv(theirs)):
            raise Refused(
                f"{key} in {name} of {environment.directory} leads to production's data",
                meaning=f"No process of layer {layer.name} may reach it. Nothing was changed.",
                fix=f"sed -i '/^\\(export \\)\\{{0,1\\}}{key}=/d' {file}",
            )


def _stages_of(environment: Environment) -> list[Stage]:
    return in_order(environment.stages.select_related("environment__project", "environment__layer"))


def _database_plan(stage: Stage, layer: Layer) -> dict[str, Any]:
    told: dict[str, Any] = {"stage": stage.name, "engine": layer.engine, "name": stage.database, "exists": True}
    if layer.engine != Engine.POSTGRESQL:
        return told
    url, name = server_url(layer), database_name(stage, layer)
    refuse_powerful(layer, url)
    try:
        postgres.check_database(postgres.url_of(url, name))
    except GaiaError as error:
        if error.code != "not_found":
            raise
        return {**told, "name": name, "exists": False}
    return {**told, "name": name}


def described(environment: Environment) -> list[dict[str, Any]]:
    """Its stages as every door shows them."""
    return changing.described(_stages_of(environment))
