"""Whether what lies in a checkout is what its layer says: files, ports, engine, MCP servers, services.

Whoever edits a layer sees here which environments do not follow it yet, and whoever edits an environment's files by
hand is told what no longer fits; one command brings both into agreement.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from common.errors import GaiaError
from common.redaction import mask_url
from environments.drivers import postgres
from environments.drivers.checks import Subject
from environments.drivers.launching import LAYER_VARIABLES
from environments.drivers.stage_env import read_assignments, read_dotenv, read_text
from environments.drivers.stage_files import Layout, env_block
from environments.findings import Finding, well
from environments.states import Verdict

ANSWER_S = 2.0
"""Seconds a shared service has to take a connection."""
_ENV_FILES = (".env.local", ".gaia/env.local")
_PORTS = {"redis": 6379, "rediss": 6379, "http": 80, "https": 443}


@dataclass(frozen=True)
class LayerFacts:
    """What a layer wants of one environment.

    Args:
        ports: the range of its stages' ports; None when they have their project's.
        foreign: ranges of other layers, which then are not theirs.
        layout: what is to be in the checkout.
        urls: of its stages' databases on its PostgreSQL server, by stage; empty for SQLite.
        problem: why it has none, as `what` and `fix`, when it should.
        needed: registered services and MCP servers that should run, by name, with their state.
        unknown: services the layer names that are not registered.
        shared: URLs of what it needs besides, by variable.
        unwatched: it is to be monitored, and nobody is told of anything.
        production: URLs of other layers' production servers with which nothing here may have to do.
    """

    name: str
    ports: range | None
    foreign: tuple[range, ...]
    layout: Layout
    urls: Mapping[str, str] = field(default_factory=dict)
    problem: tuple[str, str] = ("", "")
    needed: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    shared: Mapping[str, str] = field(default_factory=dict)
    unwatched: bool = False
    production: tuple[str, ...] = ()


def check_layer(one: Subject) -> list[Finding]:
    """Everything that does not follow the layer, each with the command that mends it."""
    facts = one.layer
    if facts is None or not one.is_there():
        return []
    found = [
        *_check_production(one, facts),
        *_check_files(one, facts),
        *_check_ports(one, facts),
        *_check_databases(one, facts),
        *_check_running(facts),
        *_check_shared(facts),
    ]
    return found or [well("layer", f"it is as layer {facts.name} says")]


def _again(one: Subject, facts: LayerFacts) -> str:
    runs = any(stage.state == "running" and stage.alive for stage in one.stages)
    return f"gaia layer set {one.directory} {facts.name}{' --restart' if runs else ''}"


def _drifted(
    fault: str, what: str, meaning: str, fix: str, about: str = "", verdict: Verdict = Verdict.WARNING
) -> Finding:
    return Finding("layer", verdict, what, meaning, fix, fault, about)


def _check_files(one: Subject, facts: LayerFacts) -> Iterator[Finding]:
    for stage in one.stages:
        with suppress(OSError, ValueError):  # a file that is missing or damaged is told by `directory`
            known = read_assignments(one.path / f".gaia/stages/{stage.name}.env")
            wanted = {"GAIA_LAYER": "local", **facts.layout.own.get(stage.name, {}), "PORT": str(stage.port)}
            there = {"GAIA_LAYER": "local", **{key: known[key] for key in ("PORT", *LAYER_VARIABLES) if key in known}}
            differing = sorted(key for key in {*wanted, *there} if wanted.get(key) != there.get(key))
            if differing:
                what = f".gaia/stages/{stage.name}.env of {one.directory} does not say what layer {facts.name} does"
                meaning = f"It differs in {', '.join(differing)}; its launch scripts would start it like that."
                yield _drifted("stage-file", what, meaning, _again(one, facts), stage.name)
    file = next((name for name in _ENV_FILES if ">>> GAIA" in read_safely(one.path / name)), None)
    if file is not None and not _has_block(read_safely(one.path / file), facts.layout):
        what = f"{file} of {one.directory} does not say what layer {facts.name} does"
        meaning = "What GAIA keeps between its marks there was edited, or the layer was changed since."
        yield _drifted("env-file", what, meaning, _again(one, facts))
    yield from _check_own_lines(one, facts)


def read_safely(file: Path) -> str:
    """A file's text, empty when it cannot be read."""
    try:
        return read_text(file)
    except OSError:
        return ""


def _has_block(text: str, layout: Layout) -> bool:
    wanted = env_block(layout)
    if wanted in text:
        return True
    # as it was before there were layers: those of the local one need not be written anew
    return layout.shared == {"GAIA_LAYER": "local"} and wanted.replace("\nGAIA_LAYER=local", "") in text


def _check_own_lines(one: Subject, facts: LayerFacts) -> Iterator[Finding]:
    """What the user wrote must not contradict the layer."""
    if facts.urls:
        return  # what GAIA says of the database wins over the user's lines
    for name in _ENV_FILES:
        url = read_dotenv(one.path / name).get("DATABASE_URL", "")
        if url.startswith(("postgres://", "postgresql://")):
            what = f"{name} of {one.directory} says DATABASE_URL={mask_url(url)}, and layer {facts.name} is on SQLite"
            fix = f"sed -i '/^\\(export \\)\\{{0,1\\}}DATABASE_URL=/d' {one.path / name}"
            yield _drifted("own-database", what, "Its stages work with another database than the layer says.", fix)


def _check_ports(one: Subject, facts: LayerFacts) -> Iterator[Finding]:
    for stage in one.stages:
        outside = facts.ports is not None and stage.port not in facts.ports
        elsewhere = facts.ports is None and any(stage.port in other for other in facts.foreign)
        if outside or elsewhere:
            its = f"{facts.ports.start} to {facts.ports.stop - 1}" if facts.ports else "those of its project"
            what = f"{stage.called} has port {stage.port}, and layer {facts.name} has {its}"
            yield _drifted("ports", what, "Others may be given that port.", _again(one, facts), stage.name)


def _check_databases(one: Subject, facts: LayerFacts) -> Iterator[Finding]:
    if facts.problem[0]:
        yield _drifted(
            "server", facts.problem[0], "Its stages cannot be started.", facts.problem[1], "", Verdict.FAILED
        )
        return
    for stage, url in facts.urls.items():
        try:
            postgres.check_database(url)
        except GaiaError as error:
            missing = error.code == "not_found"
            fix = _again(one, facts) if missing else error.fix
            meaning = "Its program finds no database." if missing else error.meaning
            yield _drifted("database", error.what, meaning, fix, stage, Verdict.FAILED)
            if not missing:
                return  # the server does not answer: once is enough


def _check_running(facts: LayerFacts) -> Iterator[Finding]:
    for name, state in facts.needed.items():
        if state != "running":
            what = f"{name}, which layer {facts.name} stands on, is {state}"
            yield _drifted("service", what, "Its environments count on it.", f"gaia service start {name}", name)
    for name in facts.unknown:
        what = f"layer {facts.name} stands on {name}, and no such service is registered"
        fix = f"gaia layer change {facts.name} --no-service {name}"
        yield _drifted("service-unknown", what, "Register it, or take it out of the layer.", fix, name)


def _check_shared(facts: LayerFacts) -> Iterator[Finding]:
    if facts.unwatched:
        what = f"layer {facts.name} is to be monitored, and nobody is told when something goes wrong"
        fix = "gaia notify add operators operators@$(hostname -f)"
        yield _drifted("unwatched", what, "A destination is a webhook or a mail address.", fix)
    for variable, url in facts.shared.items():
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 80)
        try:
            socket.create_connection((parts.hostname or "localhost", port), timeout=ANSWER_S).close()
        except OSError as error:
            what = f"{variable} of layer {facts.name} leads to {mask_url(url)}, which does not answer: {error}"
            fix = "Start that server, or set layers.redis_url or layers.vector_url right."
            yield _drifted("shared", what, "Stages that need it fail.", fix, variable)


def _check_production(one: Subject, facts: LayerFacts) -> Iterator[Finding]:
    """No file from which an environment is started leads to production's data, unless it is production."""
    if not facts.production:
        return
    files = [*_ENV_FILES, *(f".gaia/stages/{stage.name}.env" for stage in one.stages), "gaia.yaml", "gaia.yml"]
    for name in files:
        text = read_safely(one.path / name)
        for line in [line for line in text.splitlines() if _leads(line, facts.production)]:
            key = line.partition("=")[0].removeprefix("export ").strip()
            own = name.startswith(".gaia/stages")
            fix = _again(one, facts) if own else f"sed -i '/^\\(export \\)\\{{0,1\\}}{key}=/d' {one.path / name}"
            what = f"{key} in {name} of {one.directory} leads to production's data"
            meaning = f"The environment is in layer {facts.name}; no process of it may reach that."
            yield _drifted("production-data", what, meaning, fix, key, Verdict.FAILED)


def _leads(line: str, urls: tuple[str, ...]) -> bool:
    return bool(postgres.leading_to(urls, {"line": line.partition("=")[2].strip().strip("'\"")}))
