"""Which server a layer's databases are on, and what keeps production's data from everybody else (invariant 11)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from django.conf import settings
from django.utils.crypto import salted_hmac

from common import config
from common.errors import Conflict, GaiaError, Refused
from environments.drivers import postgres
from environments.models import Environment, Layer, Stage
from environments.states import LOCAL, Engine, McpSet, Need

URLS = {Need.REDIS: ("layers.redis_url", "REDIS_URL"), Need.VECTOR: ("layers.vector_url", "VECTOR_URL")}
"""Where a shared service is configured, and the variable in which stages find it."""


def mark() -> str:
    """By which this GAIA knows its own databases on a server."""
    return f"gaia {_digest()}"


def _digest() -> str:
    return salted_hmac("gaia.layers", "databases").hexdigest()[:8]


def configured_url(layer: Layer) -> str:
    """URL of the layer's PostgreSQL server; production's is its own, or none. Empty: none is configured."""
    if layer.postgresql_url or layer.production:
        return layer.postgresql_url
    return _setting("layers.postgresql_url")


def _setting(key: str) -> str:
    """As it is now: it may have been written while the console and the daemon run, and every door must say the same."""
    return str(config.load(settings.GAIA.home)[key])


def server_url(layer: Layer) -> str:
    """URL of the PostgreSQL server on which the layer's databases are.

    Raises: Conflict when none is configured; Refused when production's data could be read there.
    """
    url = configured_url(layer)
    if not url:
        own = f"gaia layer change {layer.name} --postgresql-url URL"
        raise Conflict(
            f"layer {layer.name} has no PostgreSQL server",
            meaning="It keeps production's data, so it has one of its own."
            if layer.production
            else "Each of its stages gets a database there.",
            fix=own if layer.production else f"Set layers.postgresql_url in config.toml, or: {own}",
        )
    url = postgres.check_url(url)
    if not layer.production:
        refuse_production(layer.name, url)
    return url


def refuse_production(name: str, url: str) -> None:
    """Raise Refused when a URL leads to where a production layer's data can be read by the same account."""
    for other in Layer.objects.filter(production=True).exclude(postgresql_url="").exclude(name=name):
        if postgres.same_account(url, postgres.check_url(other.postgresql_url)):
            raise production_refused(name, other.name)


def refuse_powerful(layer: Layer, url: str) -> None:
    """As `refuse_production`, for an account that has the rights of production's; asks the server.

    Raises: Refused; Unavailable when the server does not answer.
    """
    for other in Layer.objects.filter(production=True).exclude(postgresql_url="").exclude(name=layer.name):
        theirs = postgres.check_url(other.postgresql_url)
        if not layer.production and postgres.same_server(url, theirs) and postgres.may_read_as(url, theirs):
            raise production_refused(layer.name, other.name)


def production_refused(name: str, production: str) -> Refused:
    """The error for a layer whose account could read production's data."""
    return Refused(
        f"the account of layer {name} could read the data of layer {production}",
        meaning="No process of another layer may reach production's data.",
        fix=f"Give one of them a server, or an account, of its own: gaia layer change {name} --postgresql-url URL",
    )


def database_name(stage: Stage, layer: Layer) -> str:
    """Name of a stage's database on the server of a layer; the one on record, else a new one."""
    known = stage.servers.get(layer.name)
    if known:
        return str(known)
    told = re.sub(r"[^a-z0-9]+", "_", f"{layer.name}_{stage.environment.directory}_{stage.name}".lower())
    tail = f"_{_digest()}_{stage.pk}"
    return told[: postgres.LONGEST_NAME - len(tail)] + tail


def stage_url(stage: Stage, layer: Layer) -> str:
    """URL of a stage's database on its layer's server. Raises: as `server_url`."""
    return postgres.url_of(server_url(layer), database_name(stage, layer))


def usable_url(layer: Layer) -> str:
    """As `server_url`; empty where there is none, because what else is written must not fail for it."""
    if layer.engine != Engine.POSTGRESQL:
        return ""
    try:
        return server_url(layer)
    except GaiaError:  # a launch says so
        return ""


def stage_variables(
    environment: Environment, layer: Layer, stages: Sequence[Stage], url: str
) -> dict[str, dict[str, str]]:
    """What the layer says to each stage's program, by stage.

    Args:
        url: as `usable_url` gives it; without one there is no DATABASE_URL.
    """
    own = {stage.name: {"GAIA_LAYER": layer.name} for stage in stages}
    if layer.engine != Engine.POSTGRESQL:
        return own
    for stage in stages:
        stage.environment = environment
        own[stage.name]["DATABASE_ENGINE"] = Engine.POSTGRESQL.value
        if url:
            own[stage.name]["DATABASE_URL"] = postgres.url_of(url, database_name(stage, layer))
    return own


def shared_services(layer: Layer) -> dict[str, str]:
    """Variables with the URLs of what the layer needs and shares; production shares nothing with other layers."""
    wanted = [] if layer.production else [URLS[Need(need)] for need in layer.needs if need in URLS]
    found = {variable: _setting(key) for key, variable in wanted}
    return {variable: url for variable, url in found.items() if url}


def shared_variables(layer: Layer, own: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """What the layer says to everything in a checkout, for its `.env.local`.

    Args:
        own: as `stage_variables` gives it; what is different for each stage is written under its name.
    """
    shared = {"GAIA_LAYER": layer.name}
    if layer.mcp != McpSet.OFF:
        shared["GAIA_MCP"] = layer.mcp
    if layer.mcp == McpSet.BASIC:
        shared["GAIA_MCP_SERVERS"] = ",".join(layer.mcp_servers)
    shared |= shared_services(layer)
    for stage, variables in own.items():
        prefix = re.sub("[^A-Z0-9]", "_", stage.upper())
        shared |= {f"{prefix}_{name}": value for name, value in variables.items() if name == "DATABASE_URL"}
    return {**{str(name): str(value) for name, value in layer.variables.items()}, **shared}


def agrees(stage: Stage, env: Mapping[str, str]) -> bool:
    """Whether what a stage would be started with is what its layer says.

    Args:
        env: as `stage_start` gives it.
    """
    layer = stage.environment.layer
    wanted = stage_variables(stage.environment, layer, [stage], usable_url(layer))[stage.name]
    if wanted["GAIA_LAYER"] != env.get("GAIA_LAYER", LOCAL):
        return False
    return layer.engine != Engine.POSTGRESQL or wanted.get("DATABASE_URL") == env.get("DATABASE_URL")


def require_server(layer: Layer) -> None:
    """Raise as `server_url` for a layer that should have a server and has none."""
    if layer.engine == Engine.POSTGRESQL:
        server_url(layer)


def require_apart(stage: Stage, env: Mapping[str, str]) -> None:
    """Keep production's data from a stage of another layer (invariant 11), wherever its variables come from.

    Raises: Refused when one of them leads there; Conflict when its own layer has no server for it.
    """
    layer = stage.environment.layer
    require_server(layer)
    for name in leading_to_production(layer, env):
        raise Refused(
            f"{name} of {stage.called} leads to production's data",
            meaning="No process of another layer may reach it, so the stage was not started.",
            fix=f"Remove it from {stage.environment.path}/.env.local or gaia.yaml.",
        )


def leading_to_production(layer: Layer, env: Mapping[str, str]) -> list[str]:
    """Names of variables through which an environment of that layer would come to another's production data."""
    others = Layer.objects.filter(production=True).exclude(postgresql_url="").exclude(name=layer.name)
    return postgres.leading_to([other.postgresql_url for other in others], env)
