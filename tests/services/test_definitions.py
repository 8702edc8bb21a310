"""Registering, changing and unregistering."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.errors import Conflict, InvalidInput, NotFound
from events.models import Event
from processes.models import PortLease, Process
from services.actions.definitions import Place, missing_secrets, redefine, register, unregister
from services.actions.running import start
from services.models import Service
from services.overview import service_overview, services_overview
from services.spec import parse_spec
from tests.services.house import House, fresh, kinds, last_event, process_of
from tests.services.test_spec import DOCUMENT
from tests.waiting import until

Register = Callable[..., Service]
SECRET = "swordfish-4711"


def test_the_example_of_the_document_is_registered(acting: str, db: None, free_port: int) -> None:
    service = register(parse_spec({**DOCUMENT, "port": free_port}))
    assert (service.name, service.owner, service.state, service.desired) == (
        "api-server",
        "service/api-server",
        "stopped",
        "down",
    )
    assert service.argv == ["go", "run", "main.go"]
    event = last_event(service, "registered")
    assert (event.actor, event.subject) == (acting, "service/api-server")
    assert PortLease.objects.get(port=free_port).owner == service.owner


def test_a_name_is_taken_once(registered: Register) -> None:
    registered("api")
    with pytest.raises(Conflict, match="there is a service 'api' already"):
        registered("api")
    with pytest.raises(Conflict, match="has the key service/api already"):
        register(parse_spec({"name": "other", "command": "x"}), place=Place(owner="service/api"))


def test_a_port_is_leased_and_its_holder_named(registered: Register, free_port: int) -> None:
    registered("api", port=free_port)
    with pytest.raises(Conflict, match=f"port {free_port} is leased to service api"):
        registered("web", port=free_port)
    assert Service.objects.count() == 1


def test_a_port_somebody_listens_on_is_refused(registered: Register) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Conflict, match=f"port {port} is taken by"):
            registered("api", port=port)
    assert not Service.objects.exists()
    assert not PortLease.objects.exists()


@pytest.mark.parametrize("kind", ["stage", "platform"])
def test_kinds_that_only_gaia_makes(kind: str, registered: Register) -> None:
    with pytest.raises(InvalidInput, match="cannot be registered as"):
        registered("api", kind=kind)


def test_an_account_that_is_not_there(registered: Register) -> None:
    with pytest.raises(InvalidInput, match="there is no account"):
        registered("api", user="nobody-of-that-name")
    assert registered("api", user=getpass.getuser()).user == getpass.getuser()


def test_registering_with_a_start(registered: Register) -> None:
    service = registered("api", start=True)
    assert (service.state, service.desired) == ("starting", "up")
    assert process_of(service).argv[0] == "/bin/sh"


def test_what_a_process_is_started_with(registered: Register, free_port: int, tmp_path: Path) -> None:
    service = registered(
        "api", port=free_port, env={"A": "1"}, secrets={"S": SECRET}, stop_grace="3s", limits={"memory": "64MB"}
    )
    start(service)
    process = process_of(service)
    assert process.env == {"PORT": str(free_port), "A": "1", "S": SECRET}
    assert (process.cwd, process.stop_grace, process.port) == (str(tmp_path), 3.0, free_port)
    assert process.limits == {"memory_mb": 64}
    assert process.title == "service api"


def test_its_own_port_variable_wins(registered: Register, free_port: int) -> None:
    service = start(registered("api", port=free_port, env={"PORT": "1"}))
    assert process_of(service).env["PORT"] == "1"


# -- changing


def again(service: Service, **fields: Any) -> Service:
    from services.actions.registry import definition_of

    return redefine(service, parse_spec({**definition_of(service), **fields}))


def test_a_definition_that_says_the_same_changes_nothing(registered: Register, free_port: int) -> None:
    registered("db")
    service = registered(
        "api",
        title="The API",
        port=free_port,
        env={"A": "1"},
        secrets={"S": SECRET},
        probes=[{"type": "http", "endpoint": "/up", "interval": "1m30s", "delay": "250ms"}],
        limits={"memory": "64MB", "run_time": "1h"},
        depends_on=["db"],
        restart="always",
        stop_grace="1m",
    )
    told = kinds(service)
    same = again(service)
    assert same.revision == 1
    assert same.secrets == {"S": SECRET}
    assert kinds(service) == told


def test_a_change_is_told_by_its_fields(registered: Register) -> None:
    registered("db")
    service = registered("api")
    changed = again(service, command=["/bin/other"], depends_on=["db"], env={"A": "1"})
    assert (changed.revision, changed.argv, changed.env) == (2, ["/bin/other"], {"A": "1"})
    assert last_event(service, "redefined").data["fields"] == ["argv", "depends_on", "env"]
    assert [each.on.name for each in changed.dependencies.all()] == ["db"]


def test_what_runs_goes_on_as_it_was_started(registered: Register, house: House) -> None:
    service = start(registered("api"))
    again(service, command=["/bin/other"])
    assert fresh(service).state == "starting"
    assert process_of(service).argv[0] == "/bin/sh"
    assert Process.objects.count() == 1


def test_what_was_given_up_is_tried_with_its_new_definition(registered: Register) -> None:
    service = registered("api")
    Service.objects.filter(pk=service.pk).update(state="failed", desired="up", failures=3, ever_ready=True)
    changed = again(service, command=["/bin/other"])
    assert (changed.state, changed.failures, changed.ever_ready) == ("starting", 0, False)
    assert process_of(service).argv == ["/bin/other"]


def test_a_port_moves(registered: Register, free_port: int) -> None:
    service = registered("api", port=free_port)
    with socket.create_server(("127.0.0.1", 0)) as other:
        free = other.getsockname()[1]
    assert again(service, port=free).port == free
    assert [lease.port for lease in PortLease.objects.all()] == [free]
    assert again(service, port=None).port is None
    assert not PortLease.objects.exists()
    assert again(service, port=free_port).port == free_port
    assert PortLease.objects.get().owner == service.owner


def test_secrets_are_kept_given_and_forgotten(registered: Register) -> None:
    service = registered("api", secrets={"A": "one", "B": "two"})
    assert again(service, secrets={"A": None, "B": "three"}).secrets == {"A": "one", "B": "three"}
    assert again(service, secrets={"B": None}).secrets == {"B": "three"}
    assert again(service, secrets={"B": None, "C": None}).secrets == {"B": "three", "C": None}
    assert missing_secrets(fresh(service)) == ["C"]


def test_one_that_somebody_has_unregistered_meanwhile(registered: Register) -> None:
    service = registered("api")
    unregister(fresh(service))
    for verb in (unregister, start, lambda gone: again(gone, command=["/bin/other"])):
        with pytest.raises(NotFound, match="service api is not registered any more"):
            verb(service)


def test_a_name_is_kept(registered: Register) -> None:
    with pytest.raises(InvalidInput, match="the definition is of web, not of api"):
        redefine(registered("api"), parse_spec({"name": "web", "command": "x"}))


def test_a_change_that_is_refused_changes_nothing(registered: Register, free_port: int) -> None:
    registered("other", port=free_port)
    service = registered("api")
    for wrong in ({"port": free_port}, {"depends_on": ["nobody"]}, {"kind": "stage"}, {"user": "nobody-of-that-name"}):
        with pytest.raises((Conflict, NotFound, InvalidInput)):
            again(service, env={"A": "1"}, **wrong)
    assert fresh(service).env == {}
    assert fresh(service).revision == 1


@pytest.mark.parametrize("kind", ["stage", "platform"])
def test_what_other_rooms_made_only_they_change(kind: str, registered: Register) -> None:
    one = registered("api")
    Service.objects.filter(pk=one.pk).update(kind=kind)
    for wanted in ({"command": "other"}, {"command": "other", "kind": kind}):
        with pytest.raises(Conflict, match="service api is made by GAIA itself"):
            redefine(fresh(one), parse_spec({"name": "api", **wanted}))
    with pytest.raises(Conflict, match="service api is made by GAIA itself"):
        unregister(fresh(one))
    assert (fresh(one).argv, fresh(one).kind, fresh(one).revision) == (one.argv, kind, one.revision)


# -- unregistering


def test_what_is_needed_is_kept(registered: Register) -> None:
    db = registered("db")
    registered("b", depends_on=["db"])
    registered("a", depends_on=["db"])
    with pytest.raises(Conflict, match="a, b depend on service db"):
        unregister(db)
    assert fresh(db).state == "stopped"


@pytest.mark.usefixtures("leave_nothing")
def test_unregistering_stops_it_and_keeps_its_log(registered: Register, house: House, free_port: int) -> None:
    service = registered("api", script="echo hello; exec sleep 600", port=free_port, start=True)
    house.tick()
    process = process_of(service)
    until(lambda: Path(process.log).stat().st_size)
    unregister(service)
    process.refresh_from_db()
    assert process.ended_at is not None
    assert Path(process.log).read_text().startswith("hello\n")
    assert not Service.objects.exists()
    assert not PortLease.objects.exists()
    assert Event.objects.filter(subject=service.owner, kind="service.unregistered").exists()

    anew = registered("api", port=free_port, start=True)
    house.tick()
    assert process_of(anew).attempt == process.attempt + 1
    assert fresh(anew).state == "running"


# -- secrets and overview


def test_a_secret_is_shown_nowhere(registered: Register, house: House) -> None:
    from services.actions.registry import export_registry

    service = registered("api", secrets={"S": SECRET})
    start(service)
    house.supervisor.tick()
    shown = str(service_overview(service)) + str(services_overview()) + export_registry().read_text()
    shown += str(list(Event.objects.values_list("message", "data")))
    assert SECRET not in shown
    assert '"S": null' in shown


def test_an_overview_costs_the_same_for_all(registered: Register, django_assert_max_num_queries: Any) -> None:
    registered("s0")
    for number in range(1, 12):
        registered(f"s{number}", depends_on=[f"s{number - 1}"], limits={"memory": 64})
    with django_assert_max_num_queries(9):
        found = services_overview()
    assert [each["name"] for each in found] == sorted(f"s{number}" for number in range(12))
    assert found[0]["dependents"] == ["s1"]
    assert found[1]["depends_on"] == [{"name": "s0", "condition": "healthy", "pattern": "", "met": False}]
