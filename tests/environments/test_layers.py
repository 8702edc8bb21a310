"""Layers as data, and an environment that is put into one: ports, databases, files and MCP servers follow."""

from __future__ import annotations

import dataclasses
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings

from common import config_edit
from common.errors import Conflict, GaiaError, InvalidInput, NotFound, Refused, Unavailable
from environments.actions import health, layer_change, layers, stages
from environments.actions.layer_servers import stage_url
from environments.actions.layers import find_layer
from environments.drivers.stage_env import read_assignments, read_dotenv
from environments.models import Environment, Layer, Stage
from events.models import Event
from processes.actions.nodes import ensure_node
from processes.actions.operations import run_operation
from processes.actions.ports import lease_ports
from processes.models import Operation, PortLease
from processes.states import OperationState, ProcessState
from tests.environments.places import Place, until
from tests.environments.postgres_server import account, databases, drop_databases, running_server

STAGES = ("dev", "qa", "staging")


@pytest.fixture(scope="session")
def started_server() -> Iterator[str]:
    with running_server() as url:
        yield url


@pytest.fixture
def postgres(started_server: str) -> Iterator[str]:
    """URL of a server with nothing on it, of an account that may do everything."""
    yield started_server
    drop_databases(started_server)


@pytest.fixture
def server(postgres: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A PostgreSQL server that is configured for layers, with an account of their own."""
    url = account(postgres, "layers")
    monkeypatch.setenv("GAIA_LAYERS_POSTGRESQL_URL", url)
    return url


@pytest.fixture
def shop(place: Place) -> Environment:
    """One environment; layer integration has ports that no other test uses."""
    place.ready(1)
    layers.change(find_layer("integration"), ports_from(place.base_port + 400))
    return place.environment(1)


def ports_from(first: int, count: int = 6) -> dict[str, int]:
    return {"first_port": first, "last_port": first + count - 1}


def put(place: Place, layer: str, *, restart: bool = False) -> Operation:
    asked = layer_change.request_layer(place.environment(1), find_layer(layer), restart=restart, detached=False)
    return run_operation(asked.pk)


def ports_of(place: Place) -> list[int]:
    return [place.stage(1, name).port for name in STAGES]


def variables(place: Place, stage: str = "qa") -> dict[str, str]:
    return read_assignments(place.path(1) / f".gaia/stages/{stage}.env")


def local(place: Place) -> dict[str, str]:
    return read_dotenv(place.path(1) / ".env.local")


# -- what there is


def test_four_come_with_gaia(transactional_db: None) -> None:
    told = {one["name"]: one for one in layers.layers_overview()}
    assert list(told) == ["local", "integration", "staging", "production"]
    assert [told[name]["engine"] for name in told] == ["sqlite", "postgresql", "postgresql", "postgresql"]
    assert [told[name]["mcp"] for name in told] == ["off", "basic", "all", "all"]
    assert (told["local"]["ports"], told["integration"]["ports"]) == (None, [8000, 8014])
    assert told["staging"]["needs"] == ["redis", "vector"]
    assert told["production"]["needs"] == ["redis", "vector", "backups", "monitoring"]
    assert [name for name in told if told[name]["production"]] == ["production"]


def test_one_is_added_changed_and_removed(transactional_db: None, acting: str) -> None:
    demo = layers.add("demo", {"engine": "postgresql", "variables": {"LOG_LEVEL": "debug"}, **ports_from(9100)})
    assert layers.change(demo, {"mcp": "all", "purpose": "Shown to clients"}) == ["mcp", "purpose"]
    assert layers.change(demo, {"mcp": "all"}) == []
    told = layers.describe(find_layer("demo"))
    assert (told["mcp"], told["ports"], told["variables"]) == ("all", [9100, 9105], {"LOG_LEVEL": "debug"})
    layers.remove(demo)
    with pytest.raises(NotFound):
        find_layer("demo")
    events = Event.objects.filter(subject="layer/demo").order_by("id")
    assert [event.kind for event in events] == ["layer.added", "layer.changed", "layer.removed"]
    assert {event.actor for event in events} == {"user:tester"}


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"engine": "mysql"}, InvalidInput, "engine is none of sqlite, postgresql"),
        ({"first_port": 8000}, InvalidInput, "8000 to None is no range"),
        ({"first_port": 9000, "last_port": 8999}, InvalidInput, "no range"),
        ({"first_port": 80, "last_port": 90}, InvalidInput, "no range"),
        ({"first_port": 8010, "last_port": 8020}, Conflict, "overlap with those of layer integration"),
        ({"variables": {"A B": "x"}}, InvalidInput, "no name of a variable"),
        ({"variables": {"DATABASE_URL": "x"}}, InvalidInput, "decided by GAIA"),
        ({"variables": {"QA_PORT": "1"}}, InvalidInput, "decided by GAIA"),
        ({"variables": {"A": "x\ny"}}, InvalidInput, "one line"),
        ({"needs": ["luck"]}, InvalidInput, "needs are some of"),
        ({"mcp_servers": ["no good"]}, InvalidInput, "not a valid"),
        ({"postgresql_url": "mysql://me:secret@host"}, InvalidInput, "not the URL of a PostgreSQL server"),
        ({"colour": "red"}, InvalidInput, "has no colour"),
        ({"position": True}, InvalidInput, "whole number"),
        ({"production": "yes"}, InvalidInput, "true or false"),
    ],
)
def test_what_cannot_be_is_refused(
    transactional_db: None, acting: str, changes: dict[str, Any], error: type[GaiaError], says: str
) -> None:
    with pytest.raises(error, match=says) as raised:
        layers.add("demo", changes)
    assert "secret" not in str(raised.value)
    assert not Layer.objects.filter(name="demo").exists()
    assert not Event.objects.filter(kind__startswith="layer.").exists()


def test_local_stays_what_new_environments_need(transactional_db: None, acting: str) -> None:
    with pytest.raises(Conflict, match="works with SQLite"):
        layers.change(find_layer("local"), {"engine": "postgresql"})
    with pytest.raises(Conflict, match="layer local stays"):
        layers.remove(find_layer("local"))


def test_passwords_are_not_shown(transactional_db: None, acting: str) -> None:
    layers.change(
        find_layer("staging"),
        {
            "postgresql_url": "postgresql://me:hush-hush@db",
            "variables": {"API_TOKEN": "hush", "CACHE": "http://a:hush@b"},
        },
    )
    told = json.dumps(layers.layers_overview()) + json.dumps([event.as_dict() for event in Event.objects.all()])
    assert "postgresql://me:***@db" in told
    assert "hush" not in told


# -- an environment in a layer


def test_engine_ports_and_files_follow_and_back_to_local(place: Place, shop: Environment, server: str) -> None:
    before, first = ports_of(place), place.base_port + 400
    with closing(sqlite3.connect(place.path(1) / "data/qa/shop.db")) as database, database:
        database.execute("CREATE TABLE mine (id INTEGER)")

    planned = layer_change.plan(shop, find_layer("integration"))
    assert [each["port"] for each in planned.ports] == [first, first + 1, first + 2]
    assert [each["exists"] for each in planned.databases] == [False] * 3
    assert "stays in their files and is not copied" in planned.notes[0]
    assert databases(server) == set(), "a plan makes nothing"

    told = put(place, "integration").result
    assert (told["before"], told["layer"], len(told["made"])) == ("local", "integration", 3)
    assert ports_of(place) == [first, first + 1, first + 2]
    assert [PortLease.objects.get(owner=f"environment/shop-dev1/{name}").port for name in STAGES] == ports_of(place)
    assert databases(server) == set(told["made"])
    assert [one["database"] for one in layer_change.described(place.environment(1))] == told["made"]
    own = variables(place)
    assert (own["GAIA_LAYER"], own["DATABASE_ENGINE"], own["PORT"]) == ("integration", "postgresql", str(first + 1))
    assert own["DATABASE_PATH"] == "data/qa/shop.db", "the file is still where it was"
    with psycopg.connect(own["DATABASE_URL"]) as connection:
        connection.execute("CREATE TABLE theirs (id integer)")
        assert connection.info.dbname in told["made"]
    shared = local(place)
    assert (shared["GAIA_LAYER"], shared["GAIA_MCP"], shared["QA_PORT"]) == ("integration", "basic", str(first + 1))
    assert shared["QA_DATABASE_URL"] == own["DATABASE_URL"]
    assert shared["GAIA_MCP_SERVERS"].startswith("memory,")
    assert (place.path(1) / ".gaia/stages/qa.env").stat().st_mode & 0o777 == 0o600
    [event] = Event.objects.filter(kind="environment.layer_set")
    assert (event.actor, event.subject) == ("user:tester", "environment/shop-dev1")
    assert "layers-password" not in json.dumps([each.as_dict() for each in Event.objects.all()])

    back = put(place, "local").result
    assert ports_of(place) == before
    assert layer_change.described(place.environment(1))[1]["database"] == "data/qa/shop.db"
    assert "Its stages find the SQLite files again that they had before." in back["notes"]
    assert not {"DATABASE_URL", "DATABASE_ENGINE"} & set(variables(place))
    assert not {"QA_DATABASE_URL", "GAIA_MCP"} & set(local(place))
    with closing(sqlite3.connect(place.path(1) / "data/qa/shop.db")) as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]

    assert put(place, "integration").result["made"] == [], "its databases are found again"
    with psycopg.connect(variables(place)["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT to_regclass('theirs')").fetchone() == ("theirs",)
    assert health.drift()[0]["findings"] == []


def test_the_same_again_changes_nothing(place: Place, shop: Environment, server: str) -> None:
    put(place, "integration")
    files = {file: file.stat().st_mtime_ns for file in place.path(1).rglob("*") if file.is_file()}
    told = put(place, "integration").result
    assert (told["moved"], told["made"]) == ([], [])
    assert {file: file.stat().st_mtime_ns for file in files} == files


def test_a_stage_that_runs_is_in_the_way_or_restarted(place: Place, shop: Environment, server: str) -> None:
    stages.launch_by_script(place.stage(1, "qa"))
    with pytest.raises(Conflict, match="qa of shop-dev1 runs") as raised:
        put(place, "integration")
    assert raised.value.fix == "Have them restarted: gaia layer set shop-dev1 integration --restart"
    assert place.environment(1).layer_name == "local"

    done = put(place, "integration", restart=True)
    assert done.state == OperationState.SUCCEEDED, done.error
    assert done.result["started"] == ["qa"]
    process = stages.notice_scripts(place.stage(1, "qa"))
    assert process is not None
    environ = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    assert f"DATABASE_URL={stage_url(place.stage(1, 'qa'), find_layer('integration'))}".encode() in environ
    assert b"GAIA_LAYER=integration" in environ
    stages.bring_down(place.stage(1, "qa"), timeout=10)


def test_what_was_stopped_before_a_kill_is_started_by_the_next_call(
    place: Place, shop: Environment, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages.launch_by_script(place.stage(1, "qa"))

    class Killed(BaseException):
        """As if the process had been gone at this point."""

    def killed(*arguments: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(layer_change, "_record", killed)
        patched.setattr(layer_change, "_start_again", killed)
        with pytest.raises(Killed):
            layer_change.operate(_silent(), environment=shop.pk, layer="integration", restart=True)
    assert stages.notice_scripts(place.stage(1, "qa")) is None
    made = databases(server)
    assert place.environment(1).layer_name == "local"

    told = put(place, "integration", restart=True).result
    assert told["started"] == ["qa"]
    assert told["made"] == []
    assert databases(server) == made
    assert stages.bring_down(place.stage(1, "qa"), timeout=10)


def _silent() -> Any:
    return lambda done, total, message: None


def test_killed_before_the_files_a_launch_brings_them_into_agreement(
    place: Place, shop: Environment, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(layer_change, "furnish", lambda environment: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            layer_change.set_layer(place.environment(1), find_layer("integration"))
    assert "DATABASE_URL" not in variables(place)
    [found] = health.drift()
    keys = {finding["key"] for finding in found["findings"]}
    assert {"layer.stage-file/qa", "layer.env-file"} <= keys
    stages.launch_by_script(place.stage(1, "qa"))
    assert variables(place)["DATABASE_URL"] == stage_url(place.stage(1, "qa"), find_layer("integration"))
    assert stages.bring_down(place.stage(1, "qa"), timeout=10)
    assert health.drift()[0]["findings"] == []


def test_a_range_that_is_too_small(place: Place, shop: Environment, server: str) -> None:
    first = place.base_port + 400
    layers.change(find_layer("integration"), ports_from(first, 3))
    lease_ports(ensure_node(), {"service/other": first})
    with pytest.raises(
        Conflict, match=f"has 2 free ports from {first} to {first + 2}, and shop-dev1 needs 3"
    ) as raised:
        put(place, "integration")
    assert raised.value.fix == f"Give it more: gaia layer change integration --ports {first}-{first + 17}"
    layers.change(find_layer("integration"), ports_from(first, 18))
    assert put(place, "integration").state == OperationState.SUCCEEDED


def test_without_a_server(place: Place, shop: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Conflict, match="layer integration has no PostgreSQL server") as raised:
        put(place, "integration")
    assert "layers.postgresql_url" in raised.value.fix
    gone = f"postgresql://me@127.0.0.1:{place.base_port + 9}"
    monkeypatch.setenv("GAIA_LAYERS_POSTGRESQL_URL", gone)
    with pytest.raises(Unavailable, match="does not answer"):
        put(place, "integration")
    assert place.environment(1).layer_name == "local"


def test_a_server_that_is_configured_while_gaia_runs(
    place: Place, shop: Environment, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was loaded when this process began does not count, and without a server a launch takes no URL away."""
    put(place, "integration")
    before = local(place)
    monkeypatch.delenv("GAIA_LAYERS_POSTGRESQL_URL")
    with pytest.raises(Conflict, match="has no PostgreSQL server"):
        stages.launch(place.stage(1, "qa"))
    assert local(place) == before
    config_edit.set_value(settings.GAIA.home, "layers.postgresql_url", server)
    try:
        assert health.drift()[0]["findings"] == []
        assert stages.launch(place.stage(1, "qa")).state == ProcessState.STARTING
    finally:
        config_edit.unset(settings.GAIA.home, "layers.postgresql_url")


def test_an_account_that_may_make_no_databases(
    place: Place, shop: Environment, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = account(postgres, "poor", "LOGIN")
    monkeypatch.setenv("GAIA_LAYERS_POSTGRESQL_URL", url)
    done = put(place, "integration")
    assert done.error is not None
    assert done.error["code"] == "refused"
    assert 'ALTER ROLE "poor" CREATEDB' in done.error["fix"]
    assert place.environment(1).layer_name == "local"


def test_somebody_elses_database_is_not_taken(place: Place, shop: Environment, server: str, postgres: str) -> None:
    planned = layer_change.plan(shop, find_layer("integration"))
    name = planned.databases[0]["name"]
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        connection.execute(f"COMMENT ON DATABASE \"{name}\" IS 'of somebody else'")
    done = put(place, "integration")
    assert done.error is not None
    assert "that GAIA did not make" in done.error["what"]


def test_the_layer_survives_a_reset_and_its_databases_are_new(place: Place, shop: Environment, server: str) -> None:
    from environments.actions.reset import request_reset

    put(place, "integration")
    before, ports = variables(place)["DATABASE_URL"], ports_of(place)
    place.operate(request_reset(place.environment(1).project, ["dev1"], detached=False))
    assert place.environment(1).layer_name == "integration"
    assert ports_of(place) == ports
    assert variables(place)["DATABASE_URL"] != before


def test_a_stage_on_postgresql_is_backed_up(place: Place, shop: Environment, server: str) -> None:
    from environments.actions import backups, restores
    from environments.actions.databases import Database

    put(place, "integration")
    with psycopg.connect(variables(place)["DATABASE_URL"]) as connection:
        connection.execute("CREATE TABLE customer (name text)")
        connection.execute("INSERT INTO customer VALUES ('Ada')")
    backup = backups.take_backup(place.stage(1, "qa"), reason="test")
    assert (backup.state, backup.path.endswith(".dump")) == ("verified", True)
    assert backups.verify(backup).verified_at is not None
    with pytest.raises(Refused, match="restored by PostgreSQL's own program") as raised:
        restores.request_restore(backup)
    assert "pg_restore --clean" in raised.value.fix
    put(place, "local")
    with pytest.raises(Refused, match="is a backup of a postgresql database"):
        restores.request_restore(backups.find_backup(backup.name))
    assert Database(place.stage(1, "qa")).engine == "sqlite"


# -- production's data (invariant 11)


def test_production_has_a_server_of_its_own(place: Place, shop: Environment, server: str) -> None:
    with pytest.raises(Conflict, match="layer production has no PostgreSQL server") as raised:
        put(place, "production")
    assert "config.toml" not in raised.value.fix, "the one that others share is not for it"


def test_no_other_layer_comes_to_productions_data(
    place: Place, shop: Environment, server: str, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Conflict, match="uses the same account of the same server"):
        layers.change(find_layer("production"), {"postgresql_url": server})
    own = account(postgres, "prod")
    layers.change(find_layer("production"), {"postgresql_url": own, **ports_from(place.base_port + 420)})
    with pytest.raises(Refused, match="could read the data of layer production"):
        layers.change(find_layer("staging"), {"postgresql_url": own})
    assert put(place, "production").state == OperationState.SUCCEEDED
    theirs = variables(place)["DATABASE_URL"]

    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(theirs.replace("prod:prod-password", "layers:layers-password"))

    put(place, "integration")
    written = "".join(
        file.read_text() for file in (place.path(1) / ".env.local", *(place.path(1) / ".gaia/stages").glob("*.env"))
    )
    assert "prod:" not in written

    for powerful in (postgres, account(postgres, "deputy", "LOGIN CREATEDB IN ROLE prod")):
        monkeypatch.setenv("GAIA_LAYERS_POSTGRESQL_URL", powerful)
        with pytest.raises(Refused, match="could read the data of layer production"):
            layer_change.plan(place.environment(1), find_layer("integration"))


@pytest.mark.parametrize("line", ["DATABASE_URL={url}", "export REPORTS='{url}'", "PGPASSWORD=prod-password"])
def test_a_stage_that_would_reach_productions_data_is_not_started(
    place: Place, shop: Environment, postgres: str, line: str
) -> None:
    own = account(postgres, "prod")
    layers.change(find_layer("production"), {"postgresql_url": own})
    with (place.path(1) / ".env.local").open("a") as file:
        file.write(line.format(url=own) + "\n")
    [found] = health.drift()
    [finding] = [each for each in found["findings"] if each["key"].startswith("layer.production-data")]
    assert finding["verdict"] == "failed"
    assert "prod-password" not in json.dumps(found)
    with pytest.raises(Refused, match="leads to production's data"):
        stages.launch(place.stage(1, "qa"))
    with pytest.raises(Refused, match="leads to production's data"):
        layer_change.plan(place.environment(1), find_layer("local"))
    assert os.system(finding["fix"]) == 0  # noqa: S605  a printed fix
    assert health.drift()[0]["findings"] == []


def test_killed_on_its_way_out_of_production_no_file_leads_there(
    place: Place, shop: Environment, server: str, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = account(postgres, "prod")
    layers.change(find_layer("production"), {"postgresql_url": own, **ports_from(place.base_port + 420)})
    put(place, "production")
    stages.launch_by_script(place.stage(1, "qa"))
    assert stages.bring_down(place.stage(1, "qa"), timeout=10)

    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    for step in ("_record", "furnish"):
        with monkeypatch.context() as patched:
            patched.setattr(layer_change, step, killed)
            with pytest.raises(KeyboardInterrupt):
                layer_change.set_layer(place.environment(1), find_layer("integration"))
        assert "prod-password" not in _written(place)
    put(place, "integration")
    from services.models import Service

    service = Service.objects.get(owner=place.stage(1, "qa").owner)
    assert "prod-password" not in json.dumps({**service.env, **service.secrets})
    assert health.drift()[0]["findings"] == []


def _written(place: Place) -> str:
    files = (place.path(1) / ".env.local", *(place.path(1) / ".gaia/stages").glob("*.env"))
    return "".join(file.read_text() for file in files)


def test_a_stage_that_cannot_be_defined_anew_is_not_kept_up_as_before(
    place: Place, shop: Environment, server: str
) -> None:
    from services.models import Service

    put(place, "integration")
    stages.launch_by_script(place.stage(1, "qa"))
    assert stages.bring_down(place.stage(1, "qa"), timeout=10)
    Service.objects.filter(owner=place.stage(1, "qa").owner).update(desired="up", state="backoff")
    (place.path(1) / "gaia.yaml").write_text("command: [nothing\n")
    put(place, "local")
    assert Service.objects.get(owner=place.stage(1, "qa").owner).desired == "down"


# -- drift


def test_drift_is_found_and_its_fix_mends_it(place: Place, shop: Environment, server: str) -> None:
    put(place, "integration")
    assert health.drift() == [{"environment": "shop-dev1", "layer": "integration", "findings": []}]
    file = place.path(1) / ".env.local"
    file.write_text(file.read_text().replace("GAIA_LAYER=integration", "GAIA_LAYER=local"))
    assert _drifted() == ["layer.env-file"]
    put(place, "integration")
    assert _drifted() == []

    own = place.path(1) / ".gaia/stages/qa.env"
    own.write_text("\n".join(line for line in own.read_text().splitlines() if "DATABASE_URL" not in line))
    assert _drifted() == ["layer.stage-file/qa"]
    put(place, "integration")
    assert _drifted() == []

    Stage.objects.filter(environment=shop, name="dev").update(port=place.base_port)
    PortLease.objects.filter(owner="environment/shop-dev1/dev").update(port=place.base_port)
    assert "layer.ports/dev" in _drifted()
    put(place, "integration")
    assert _drifted() == []

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{place.stage(1, "qa").servers["integration"]}"')
    assert _drifted() == ["layer.database/qa"]
    put(place, "integration")
    assert _drifted() == []

    layers.change(find_layer("integration"), {"variables": {"LOG_LEVEL": "debug"}})
    assert _drifted() == ["layer.env-file"]
    put(place, "integration")
    assert (_drifted(), local(place)["LOG_LEVEL"]) == ([], "debug")


def _drifted() -> list[str]:
    [found] = health.drift()
    return [finding["key"] for finding in found["findings"]]


def test_an_environment_of_before_there_were_layers_is_no_drift(place: Place, shop: Environment) -> None:
    for file in (place.path(1) / ".env.local", place.path(1) / ".gaia/stages/qa.env"):
        kept = [line for line in file.read_text().splitlines() if "GAIA_LAYER" not in line]
        file.write_text("\n".join([*kept, ""]))
    assert _drifted() == []


def test_a_shared_service_that_does_not_answer(
    place: Place, shop: Environment, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"redis://:hush-hush@127.0.0.1:{place.base_port + 9}/0"
    monkeypatch.setenv("GAIA_LAYERS_REDIS_URL", url)
    layers.change(find_layer("integration"), {"needs": ["redis"]})
    put(place, "integration")
    assert local(place)["REDIS_URL"] == url
    [found] = health.drift()
    assert [each["key"] for each in found["findings"]] == ["layer.shared/REDIS_URL"]
    assert "hush" not in json.dumps(found)


def test_what_a_layer_needs_is_looked_for(place: Place, shop: Environment) -> None:
    layers.change(find_layer("local"), {"needs": ["backups", "monitoring"]})
    found = {finding.key: finding for finding in health.check_environment(place.environment(1))}
    assert found["layer.unwatched"].verdict == "warning"
    assert found["backups.never"].verdict == "failed"
    assert "Layer local stands on backups." in found["backups.never"].meaning


def test_many_environments_are_looked_at_with_as_many_queries(place: Place, django_assert_max_num_queries: Any) -> None:
    place.ready(2)
    with django_assert_max_num_queries(15):
        assert len(health.drift()) == 2


def test_values_survive_the_way_into_the_files(place: Place, shop: Environment) -> None:
    odd = {"A": '"quoted"', "B": " spaces ", "C": "it's $HOME `x` \\", "D": "'", "E": "a=b#c"}
    layers.change(find_layer("local"), {"variables": odd})
    layer_change.set_layer(place.environment(1), find_layer("local"))
    assert {name: local(place)[name] for name in odd} == odd
    assert _drifted() == []


def test_a_plan_is_plain_data(place: Place, shop: Environment) -> None:
    planned = layer_change.plan(shop, find_layer("local"))
    assert json.loads(json.dumps(planned.as_dict())) == dataclasses.asdict(planned)
    assert (planned.ports, planned.running, planned.notes) == ([], [], [])


def test_an_environment_that_is_not_ready(place: Place, shop: Environment) -> None:
    Environment.objects.filter(pk=shop.pk).update(state="damaged", problem="broken")
    with pytest.raises(Conflict, match="is damaged"):
        layer_change.plan(place.environment(1), find_layer("local"))


def test_ports_of_layers_are_nobody_elses(place: Place, shop: Environment, server: str) -> None:
    from environments.actions import ports

    first = place.base_port + 300
    layers.change(find_layer("integration"), ports_from(first, 20))
    assert not set(ports.find(20)["ports"]) & set(range(first, first + 20))
    put(place, "integration")
    assert ports.proposal(place.stage(1, "qa")) == first + 3, "one of its layer's"


def test_moves_wait_until_it_is_the_layers_turn(place: Place, shop: Environment, server: str) -> None:
    operation = layer_change.request_layer(place.environment(1), find_layer("integration"), detached=False)
    with pytest.raises(Conflict, match="already running"):
        layer_change.request_layer(place.environment(1), find_layer("local"), detached=False)
    until(lambda: run_operation(operation.pk).state == OperationState.SUCCEEDED)
