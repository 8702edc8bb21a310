"""Stages as services: what was up is kept up, what fails at its launch is not tried again, and people have the last
word, whichever way they say it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from django.test import Client
from django.utils import timezone

from common.errors import Conflict
from environments.actions import https, ports, stage_services, stages
from environments.actions.removal import remove
from environments.drivers.launching import stage_start
from environments.models import Environment, Stage
from environments.reconcile import look_at_stages
from environments.states import EnvironmentState
from events.models import Event
from processes.actions.nodes import ensure_node
from processes.models import PortLease
from processes.states import Origin
from services.actions import running
from services.actions.definitions import register
from services.actions.pausing import pause
from services.models import Service
from services.spec import parse_spec
from services.states import Desired, ServiceKind, ServiceState
from tests.environments.places import DaemonProcess, Place, processes_of, until
from tests.environments.stages import QA, answers, mend_command, pid_by_script, script, shown


def service() -> Service:
    return Service.objects.get(owner=QA)


def is_in(*states: str) -> Callable[[], bool]:
    return lambda: Service.objects.filter(owner=QA, state__in=states).exists()


def launched(place: Place) -> Stage:
    """Stage qa of dev1, up and ready."""
    place.ready(1)
    stage = place.stage(1, "qa")
    said = place.gaia("env", "launch", "dev1", "qa")
    assert said.code == 0, said
    until(is_in(ServiceState.RUNNING), "that it is ready")
    return stage


def kill(stage: Stage) -> int:
    """Have it die, as the kernel does that needs memory. Returns: the pid of its shim."""
    pid = pid_by_script(stage)
    for child in psutil.Process(pid).children():
        child.kill()
    return pid


# -- kept up


def test_one_that_was_ready_comes_back(place: Place, daemon: DaemonProcess, client: Client) -> None:
    stage = launched(place)
    first = kill(stage)

    until(lambda: shown(stage)["state"] == "running" and shown(stage)["pid"] != first, "that it is back")
    until(is_in(ServiceState.RUNNING), "that it is ready")

    until(lambda: answers(stage), "that it answers")
    assert [process.exit_code for process in processes_of(QA)] == [137, None]
    facts = client.get("/api/environments/dev1/").json()["stages"][1]["service"]
    assert (facts["name"], facts["state"], facts["restarts"]) == ("shop-dev1-qa", "running", 1)
    told = Event.objects.get(subject=QA, kind="service.died")
    assert told.message == "Stage qa of shop-dev1 ended with code 137, or by signal SIGKILL"
    assert any("serving qa" in line for line in told.data["lines"])


def test_one_that_a_script_launched_is_kept_up_too(place: Place, daemon: DaemonProcess) -> None:
    place.ready(1)
    stage = place.stage(1, "qa")
    assert script(stage, "launch.sh", "qa").returncode == 0
    until(is_in(ServiceState.RUNNING), "that it is ready")

    first = kill(stage)

    until(lambda: shown(stage)["state"] == "running" and shown(stage)["pid"] != first, "that it is back")
    assert [process.origin for process in processes_of(QA)] == [Origin.SCRIPT, Origin.GAIA]
    assert script(stage, "stop.sh", "qa").returncode == 0
    until(is_in(ServiceState.STOPPED), "that its stop counts")
    assert service().desired == Desired.DOWN


def test_one_that_fails_at_its_launch_is_not_tried_again(place: Place, daemon: DaemonProcess) -> None:
    stage = launched(place)  # that it was ready before is no reason
    place.gaia("env", "stop", "dev1", "qa")
    mend_command(place, "exit 3")

    assert place.gaia("env", "launch", "dev1", "qa").code == 1

    until(is_in(ServiceState.FAILED), "that it is given up")
    assert (len(processes_of(QA)), service().restarts) == (2, 0)
    assert shown(stage)["problem"] == "it ended by itself"
    assert service().problem == "It was never ready since its launch"


def test_stop_sh_ends_the_tries(place: Place, daemon: DaemonProcess) -> None:
    """It dies again and again; nothing runs in the moment in which it is stopped."""
    stage = launched(place)
    mend_command(place, "exit 3")
    stage_services.define(stage, stage_start(place.path(1), "qa"))
    Service.objects.filter(owner=QA).update(ever_ready=True)
    kill(stage)
    until(is_in(ServiceState.BACKOFF), "that it waits for its next try")

    assert "not running" in script(stage, "stop.sh", "qa").stdout

    until(lambda: service().desired == Desired.DOWN, "that it is left alone")
    until(is_in(ServiceState.STOPPED), "that a try that was faster has ended")


def test_gaia_env_stop_ends_the_tries(place: Place, daemon: DaemonProcess) -> None:
    stage = launched(place)
    mend_command(place, "exit 3")
    stage_services.define(stage, stage_start(place.path(1), "qa"))
    Service.objects.filter(owner=QA).update(ever_ready=True)
    kill(stage)
    until(is_in(ServiceState.BACKOFF), "that it waits for its next try")

    assert place.gaia("env", "stop", "dev1", "qa").out == "shop-dev1 qa is stopped\n"

    assert (service().desired, service().state) == (Desired.DOWN, ServiceState.STOPPED)
    assert place.gaia("env", "stop", "dev1", "qa").out == "shop-dev1 qa does not run\n"


def test_it_died_while_gaia_was_down(place: Place, start_daemon: Callable[[], DaemonProcess]) -> None:
    first = start_daemon()
    stage = launched(place)
    first.kill()
    kill(stage)
    until(lambda: not answers(stage), "that it is dead")

    start_daemon()

    until(lambda: len(processes_of(QA)) == 2 and shown(stage)["state"] == "running", "that it is back")
    assert service().restarts == 1


def test_stopped_by_its_script_while_gaia_was_down(place: Place, start_daemon: Callable[[], DaemonProcess]) -> None:
    first = start_daemon()
    stage = launched(place)
    first.kill()
    script(stage, "stop.sh", "qa")

    start_daemon()

    until(is_in(ServiceState.STOPPED), "that its stop is seen")
    assert (service().desired, shown(stage)["state"]) == (Desired.DOWN, "stopped")


def test_stopped_with_gaia_it_starts_with_gaia(place: Place, start_daemon: Callable[[], DaemonProcess]) -> None:
    """And on the port that it was given meanwhile."""
    first = start_daemon()
    stage = launched(place)
    first.kill()
    [process] = processes_of(QA)
    [paused] = pause(ensure_node(), [QA])
    os.killpg(process.pid or 0, signal.SIGKILL)
    until(lambda: not answers(stage), "that it is dead")
    look_at_stages(ensure_node())
    assert (paused.state, paused.desired) == (ServiceState.STOPPED, Desired.UP)
    ports.move(stage, place.base_port + 5)

    start_daemon()

    until(is_in(ServiceState.RUNNING), "that it is back")
    assert place.stage(1, "qa").port == place.base_port + 5
    assert answers(place.stage(1, "qa"))
    assert service().failures == 0, "nobody counts that as a failure"


def test_stopped_with_gaia_and_launched_by_hand(place: Place, start_daemon: Callable[[], DaemonProcess]) -> None:
    """The next daemon finds it running, instead of trying to start a second one."""
    first = start_daemon()
    stage = launched(place)
    first.kill()
    pause(ensure_node(), [QA])
    script(stage, "stop.sh", "qa")
    assert script(stage, "launch.sh", "qa").returncode == 0

    start_daemon()

    until(is_in(ServiceState.RUNNING), "that it is followed")
    assert [process.origin for process in processes_of(QA)] == [Origin.GAIA, Origin.SCRIPT]
    assert not Event.objects.filter(subject=QA, kind="service.died").exists()


# -- what it is


@pytest.fixture
def known(place: Place) -> Stage:
    """Stage qa of dev1, a service that does not run; there is no daemon."""
    place.ready(1)
    stage = place.stage(1, "qa")
    with (place.path(1) / ".env.local").open("a") as file:
        file.write("API_KEY=s3cr3t-of-mine\nnot a variable\n")
    stage_services.define(stage, stage_start(place.path(1), "qa"))
    return stage


def test_its_definition(place: Place, known: Stage) -> None:
    one = service()
    assert (one.name, one.kind, one.title) == ("shop-dev1-qa", ServiceKind.STAGE, "stage qa of shop-dev1")
    assert (one.env["STAGE"], one.env["PORT"]) == ("qa", str(known.port))
    assert one.secrets["API_KEY"] == "s3cr3t-of-mine"
    assert "API_KEY" not in one.env
    paths = {Path(one.log), Path(one.lock), Path(one.journal)}
    assert {path.relative_to(place.path(1)).as_posix() for path in paths} == {
        "logs/qa.log", ".gaia/stages/qa.lock", ".gaia/stages/qa.journal",
    }  # fmt: skip
    [probe] = one.probes
    assert (probe["endpoint"], probe["purpose"]) == (f"http://localhost:{known.port}/health", "readiness")
    assert stage_services.define(known, stage_start(place.path(1), "qa")).revision == one.revision


def test_it_follows_port_and_scheme(place: Place, known: Stage) -> None:
    ports.move(known, place.base_port + 5)
    assert service().port == place.base_port + 5
    assert service().env["PORT"] == str(place.base_port + 5)
    https.switch([place.stage(1, "qa")], True)
    [probe] = service().probes
    assert probe["endpoint"] == f"https://localhost:{place.base_port + 5}/health"
    assert probe["any_certificate"] is True, "the system does not know GAIA's authority"
    assert PortLease.objects.get(owner=QA).port == place.base_port + 5


def test_a_name_that_is_taken(place: Place) -> None:
    place.ready(1)
    node = ensure_node()
    Service.objects.create(node=node, name="shop-dev1-qa", owner="service/shop-dev1-qa", cwd="/", argv=["true"])
    stage = place.stage(1, "qa")
    defined = stage_services.define(stage, stage_start(place.path(1), "qa"))
    assert defined.name.startswith("shop-dev1-qa-")
    assert stage_services.define(stage, stage_start(place.path(1), "qa")).name == defined.name


def test_it_goes_with_its_environment(place: Place, known: Stage) -> None:
    place.clean("dev1")
    assert not Service.objects.exists()
    assert not PortLease.objects.filter(owner=QA).exists()
    place.ready(1)
    assert PortLease.objects.get(owner=QA).port == place.stage(1, "qa").port


def test_an_environment_that_somebodys_service_waits_for_stays(place: Place, known: Stage) -> None:
    definition = {"name": "proxy", "command": ["true"], "depends_on": ["shop-dev1-qa"]}
    register(parse_spec(definition))
    with pytest.raises(Conflict, match="service proxy depends on stage qa of shop-dev1") as raised:
        remove(place.environment(1))
    assert "gaia service unregister proxy" in raised.value.fix
    assert place.environment(1).state == EnvironmentState.READY
    assert (place.path(1) / "app.py").exists()


def test_one_that_is_about_to_come_back_is_not_changed(
    place: Place, daemon: DaemonProcess, known: Stage, client: Client
) -> None:
    later = timezone.now() + timedelta(seconds=60)
    Service.objects.filter(owner=QA).update(state=ServiceState.CRASH_LOOP, desired=Desired.UP, next_start_at=later)
    said = place.gaia("ports", "move", "dev1", "qa")
    assert said.code == 4
    assert "is about to be started again" in said.err
    assert client.post("/api/environments/dev1/stages/qa/stop/").status_code == 202
    assert (service().state, service().desired) == (ServiceState.STOPPED, Desired.DOWN)
    assert place.gaia("ports", "move", "dev1", "qa").code == 0


def test_starting_its_service_is_launching_it(place: Place, known: Stage) -> None:
    def says(line: str) -> None:
        with (place.path(1) / ".env.local").open("a") as file:
            file.write(f"{line}\n")

    says("GREETING=hello")
    running.start_all([service()])
    assert (service().state, service().secrets["GREETING"]) == (ServiceState.STARTING, "hello")
    says("GREETING=good morning")
    running.restart(service())
    assert (service().desired, service().secrets["GREETING"]) == (Desired.UP, "good morning")


def test_its_service_does_not_start_what_is_damaged(place: Place, known: Stage) -> None:
    Environment.objects.update(state=EnvironmentState.DAMAGED, problem="its checkout is missing")
    for ask in (running.start, running.restart, lambda one: running.start_all([one])):
        with pytest.raises(Conflict, match="environment shop-dev1 is damaged") as raised:
            ask(service())
        assert "gaia env setup" in raised.value.fix
    assert (service().state, service().desired) == (ServiceState.STOPPED, Desired.DOWN)


def test_without_a_daemon_its_row_is_true(place: Place, known: Stage) -> None:
    assert place.gaia("env", "launch", "dev1", "qa").code == 0
    running.start(service())
    assert place.gaia("env", "stop", "dev1", "qa").code == 0
    assert (service().state, service().desired) == (ServiceState.STOPPED, Desired.DOWN)
    assert stages.stop(known) is False


def test_its_page(place: Place, known: Stage, client: Client, operator: object) -> None:
    browser = Client()
    browser.force_login(operator.user)  # type: ignore[attr-defined]
    for name, there in (("qa", True), ("dev", False)):
        page = browser.get(f"/admin/environments/stage/{place.stage(1, name).pk}/change/").content.decode()
        assert ('aria-label="CPU and memory"' in page) is there
        assert ("Restarts" in page) is there
        assert "s3cr3t" not in page
