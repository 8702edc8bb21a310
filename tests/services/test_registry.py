"""Definitions in a file: out and in again, all or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.errors import Conflict, GaiaError, InvalidInput, NotFound
from processes.models import PortLease
from services.actions.definitions import unregister
from services.actions.registry import Export, definition_of, export_registry, import_registry, registry_path
from services.actions.running import start
from services.models import Service
from services.spec import parse_spec
from tests.services.house import fresh, kinds
from tests.services.test_spec import DOCUMENT

Register = Callable[..., Service]
SECRET = "swordfish-4711"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], Path]:
    def write(content: Any) -> Path:
        path = tmp_path / "services.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def test_what_is_exported_is_imported_again(registered: Register, free_port: int) -> None:
    registered("db", restart="never")
    registered(
        "api",
        title="The API",
        port=free_port,
        env={"A": "1"},
        secrets={"S": SECRET},
        probes=[{"type": "http", "endpoint": "/up", "interval": "1m30s"}, {"type": "log", "pattern": "x"}],
        limits={"memory": "64MB"},
        depends_on=[{"name": "db", "condition": "completed"}],
    )
    before = {each.name: definition_of(each) for each in Service.objects.all()}
    path = export_registry()
    assert path == registry_path()
    assert path.stat().st_mode & 0o777 == 0o600
    assert SECRET not in path.read_text()

    assert import_registry(path).unchanged == ["api", "db"]
    assert Service.objects.get(name="api").secrets == {"S": SECRET}
    for name in ("api", "db"):
        unregister(Service.objects.get(name=name))

    done = import_registry(path)
    assert done.registered == ["api", "db"]
    assert done.missing_secrets == {"api": ["S"]}
    assert {each.name: definition_of(each) for each in Service.objects.all()} == before
    assert PortLease.objects.get().port == free_port


def test_every_definition_is_read_as_it_was_written(registered: Register) -> None:
    service = registered("api")
    assert parse_spec(definition_of(service)).name == "api"
    assert set(definition_of(service)) == {"name", "command", "cwd", "restart", "stop_grace"}


def test_what_goes_without_saying_is_not_said(registered: Register) -> None:
    probes = [
        {"type": "tcp", "endpoint": "1", "delay": "123.4567891s"},
        {"type": "log", "pattern": "up", "interval": 60},
    ]
    service = registered("api", probes=probes, stop_grace=0.25)
    said = definition_of(service)
    assert said["stop_grace"] == 0.25
    assert said["probes"] == [
        {"type": "tcp", "purpose": "readiness", "name": "readiness", "endpoint": "1", "interval": "30s",
         "timeout": "5s", "retries": 3, "delay": 123.4567891},
        {"type": "log", "purpose": "readiness", "name": "readiness-2", "pattern": "up", "interval": "60s",
         "timeout": "5s", "retries": 3},
    ]  # fmt: skip


@pytest.mark.parametrize(
    "form",
    [
        lambda one: {"services": [one]},
        lambda one: [one],
        lambda one: one,
        lambda one: {"services": {one["name"]: {name: each for name, each in one.items() if name != "name"}}},
    ],
)
def test_forms_of_a_file(form: Callable[[Any], Any], write: Callable[[Any], Path], acting: str, db: None) -> None:
    one = {**DOCUMENT, "port": None}
    assert import_registry(write(form(one))).registered == ["api-server"]
    assert Service.objects.get().argv == ["go", "run", "main.go"]


def test_a_dry_run_says_what_would_be_done_and_does_nothing(registered: Register, write: Callable[[Any], Path]) -> None:
    same, other = registered("same"), start(registered("other"))
    changed = {**definition_of(other), "command": ["/bin/other"]}
    new = {"name": "new", "command": "x", "secrets": {"S": None}, "depends_on": ["newer"]}
    path = write([definition_of(same), changed, new, {"name": "newer", "command": "x"}])

    plan = import_registry(path, dry_run=True)
    assert plan.as_dict() == {
        "registered": ["new", "newer"],
        "redefined": ["other"],
        "unchanged": ["same"],
        "missing_secrets": {"new": ["S"]},
        "outdated": ["other"],
    }
    assert Service.objects.count() == 2
    assert kinds(other) == ["registered", "start_requested"]

    assert import_registry(path) == plan
    assert fresh(other).argv == ["/bin/other"]
    assert fresh(other).state == "starting"
    assert Service.objects.get(name="new").state == "stopped"


def test_one_mistake_and_nothing_is_imported(
    registered: Register, write: Callable[[Any], Path], free_port: int
) -> None:
    """Wrong in each of these: something that only shows when the others were looked at, too."""
    kept = registered("kept", port=free_port)
    registered("leaf", depends_on=["kept"])
    good = {"name": "good", "command": "x"}
    wrong: list[tuple[Any, type[GaiaError], str]] = [
        ([good, {"name": "bad", "prot": 1}], InvalidInput, "bad: command: it is empty"),
        ([good, {"command": "x"}, 7], InvalidInput, "service 2: name: it is missing"),
        ([good, good], Conflict, "good is defined twice"),
        ([good, {**good, "name": "bad", "depends_on": ["nobody"]}], NotFound, "depends on nobody"),
        ([good, {**good, "name": "bad", "port": free_port}], Conflict, "is leased to service kept"),
        ([{**good, "port": 1}, {**good, "name": "bad", "port": 1}], Conflict, "port 1 is wanted by two"),
        ([good, {**definition_of(kept), "depends_on": ["leaf"]}], Conflict, "wait for each other"),
        ([good, {**good, "name": "a", "depends_on": ["b"]}, {**good, "name": "b", "depends_on": ["a"]}], Conflict, "→"),
        ([good, {**good, "name": "bad", "kind": "platform"}], InvalidInput, "cannot be registered as"),
        ([good, {**good, "name": "bad", "user": "nobody-of-that-name"}], InvalidInput, "there is no account"),
        ({"services": [good], "extra": 1}, InvalidInput, "'extra' does not belong"),
    ]
    for content, error, told in wrong:
        for dry_run in (True, False):
            with pytest.raises(error, match=told):
                import_registry(write(content), dry_run=dry_run)
    assert not Service.objects.filter(name="good").exists()
    assert fresh(kept).revision == 1


def test_dependencies_may_be_turned_round(registered: Register, write: Callable[[Any], Path]) -> None:
    """
    a ──▶ b        becomes        b ──▶ a
    """
    b = registered("b")
    a = registered("a", depends_on=["b"])
    turned = [{**definition_of(b), "depends_on": ["a"]}, {**definition_of(a), "depends_on": []}]
    assert import_registry(write(turned)).redefined == ["b", "a"]
    assert [each.on.name for each in fresh(b).dependencies.all()] == ["a"]
    assert not fresh(a).dependencies.exists()


def test_what_gaia_makes_itself_is_not_exported_nor_changed(
    acting: str, db: None, write: Callable[[Any], Path]
) -> None:
    from services.actions.definitions import Place, register

    register(parse_spec({"name": "web", "command": "x", "kind": "platform"}), place=Place(owner="gaia/web"))
    assert json.loads(export_registry().read_text())["services"] == []
    with pytest.raises(Conflict, match="is made by GAIA itself"):
        import_registry(write([{"name": "web", "command": "y"}]))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "services.json:1:2: this is no JSON"),
        ("[1", "this is no JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("", "no JSON"),
    ],
)
def test_files_that_are_none(content: str, told: str, write: Callable[[Any], Path], acting: str, db: None) -> None:
    with pytest.raises(InvalidInput, match=told):
        import_registry(write(content))


def test_files_that_cannot_be_read(tmp_path: Path, acting: str, db: None) -> None:
    with pytest.raises(NotFound, match="there is no file"):
        import_registry(tmp_path / "none.json")
    with pytest.raises(InvalidInput, match="cannot be read"):
        import_registry(tmp_path)
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match="no text in UTF-8"):
        import_registry(tmp_path / "bytes.json")


def test_the_daemon_exports_what_has_changed(registered: Register, django_assert_num_queries: Any) -> None:
    export = Export()
    service = registered("api")
    export.turn()
    first = registry_path().read_text()
    assert '"api"' in first
    with django_assert_num_queries(1):
        export.turn()
    unregister(service)
    export.turn()
    assert json.loads(registry_path().read_text())["services"] == []


def test_what_somebody_wrote_into_the_file_is_not_lost(registered: Register) -> None:
    registered("api")
    path = export_registry()
    export_registry()
    edited = path.with_name("registry.edited.json")
    assert not edited.exists()
    mine = path.read_text().replace("/bin/sh", "/bin/mine")
    path.write_text(mine)

    export_registry()
    assert edited.read_text() == mine
    assert "/bin/mine" not in path.read_text()
    assert import_registry(edited).redefined == ["api"]
