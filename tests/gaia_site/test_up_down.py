"""`gaia up` and `gaia down` with real daemons: twice at once, killed half-way, a port that somebody else takes."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from common.home import Home, gaia_home
from events.models import Event
from gaia_site.cli.status import services_in_short
from gaia_site.parts import JOBS, WEB, local_host
from processes.actions.operations import request_operation
from processes.models import Node, Process
from processes.states import OperationState, ProcessState
from services.actions.definitions import register
from services.spec import parse_spec
from services.states import Desired, ServiceState
from tests.installation import Gaia, until
from tests.processes.operation_settings import KINDS

_CLUSTER = 6  # its shim and parent, the sentinel, the worker, the monitor, the pusher


def settled(gaia: Gaia) -> bool:
    """One of each, and nothing of those that were there before."""
    live = Process.objects.active().filter(state=ProcessState.RUNNING)
    return set(live.values_list("owner", flat=True)) == {WEB, JOBS} and gaia.whole()


def test_up_and_down(gaia: Gaia) -> None:
    first = gaia.up()
    assert first["url"] == f"http://127.0.0.1:{gaia.port}"
    assert first["password"]
    until(lambda: settled(gaia))
    until(lambda: len([one for one in gaia.processes() if one.role == "jobs"]) == _CLUSTER)
    pids = {one.pid for one in gaia.processes()}
    again = gaia.up()
    assert (again["password"], again["token"]) == (None, first["token"])
    assert {one.pid for one in gaia.processes()} == pids, "up again starts nothing"
    assert gaia("up", "--detach", "--port", "1", code=4).count(f"already runs on port {gaia.port}") == 1
    down = json.loads(gaia("down", "--json"))
    assert down == {"stopped": [JOBS, WEB], "sessions_ended": 0, "left_running": []}
    assert gaia.processes() == []
    assert Event.objects.filter(kind="process.stopped").count() == 2
    assert not Event.objects.filter(level="error").exists()
    assert json.loads(gaia("down", "--json"))["stopped"] == []


def test_up_twice_at_once(gaia: Gaia) -> None:
    both = [gaia.begin(*gaia.up_words), gaia.begin(*gaia.up_words)]
    answers = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    urls = {json.loads(output)["url"] for output, _ in answers}
    assert urls == {f"http://127.0.0.1:{gaia.port}"}
    until(lambda: settled(gaia))
    assert Event.objects.filter(kind="node.started").count() == 1


def test_up_killed_half_way_then_again(gaia: Gaia) -> None:
    """Without the port: the console is where the killed one has put it."""
    dice = random.Random(os.environ.get("CHAOS_SEED", "up"))
    for _ in range(4):
        process = gaia.begin(*gaia.up_words)
        time.sleep(dice.uniform(0.2, 1.5))
        process.kill()
        process.communicate()
    with suppress(AssertionError):  # one that was killed early enough has left no daemon
        until(lambda: gaia.webs() or not gaia.daemons(), 30)  # a daemon that is coming up has not said where
    words = () if gaia.webs() else ("--port", str(gaia.port))
    assert json.loads(gaia("up", "--detach", "--json", *words))["url"] == f"http://127.0.0.1:{gaia.port}"
    until(lambda: settled(gaia))


def test_port_taken_by_a_stranger(gaia: Gaia) -> None:
    with socket.create_server(("127.0.0.1", gaia.port)):
        said = gaia(*gaia.up_words, code=4)
    assert f"port {gaia.port} is taken by" in said
    assert f"(pid {os.getpid()})" in said
    assert gaia.daemons() == []


def listener(port: int) -> socket.socket | None:
    """Somebody who listens there, as soon as that is possible."""
    stranger = socket.socket()
    stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        stranger.bind(("127.0.0.1", port))
    except OSError:
        stranger.close()
        return None
    stranger.listen()
    return stranger


def test_a_stranger_takes_the_port_of_a_killed_console(gaia: Gaia) -> None:
    gaia.up()
    until(lambda: settled(gaia))
    the_daemon_says_who_took_the_port(gaia)
    gaia.up()
    until(lambda: settled(gaia))
    up_names_who_took_the_port_after_it_was_found_free(gaia)


def the_daemon_says_who_took_the_port(gaia: Gaia) -> None:
    """It tries again later and later, and at once when the operator says that it is free."""
    [web] = gaia.webs()
    os.kill(gaia.daemons()[0].pid, signal.SIGSTOP)  # so that the stranger is faster
    os.kill(web.pid, signal.SIGKILL)
    with until(lambda: listener(gaia.port)):
        os.kill(gaia.daemons()[0].pid, signal.SIGCONT)
        refused = until(lambda: Event.objects.filter(kind="process.not_started", subject=WEB).first())
        assert f"port {gaia.port} is taken by" in refused.message
        assert f"(pid {os.getpid()})" in refused.message
        assert f"(pid {os.getpid()})" in gaia(*gaia.up_words, code=4)
        until(lambda: Process.objects.filter(owner=WEB, state=ProcessState.NOT_STARTED).count() >= 3)
        waits = list(Process.objects.filter(owner=WEB).order_by("id").values_list("created_at", flat=True))
        assert (waits[-1] - waits[-2]).total_seconds() >= 0.5
        assert Process.objects.filter(owner=JOBS).count() == 1


def hang_up(stranger: socket.socket, asked: threading.Event) -> None:
    """Close every connection to a listening socket, until that is closed itself."""
    with suppress(OSError):
        while True:
            stranger.accept()[0].close()
            asked.set()


def up_names_who_took_the_port_after_it_was_found_free(gaia: Gaia) -> None:
    [web], [daemon] = gaia.webs(), gaia.daemons()
    os.kill(daemon.pid, signal.SIGSTOP)  # it does not notice that the console has gone: its row says that it runs
    os.kill(web.pid, signal.SIGKILL)
    with until(lambda: listener(gaia.port)) as stranger:
        asked = threading.Event()
        threading.Thread(target=hang_up, args=(stranger, asked), daemon=True).start()
        up = gaia.begin(*gaia.up_words)
        assert asked.wait(60), "the port was chosen: it asks there whether the console answers"
        os.kill(daemon.pid, signal.SIGCONT)
        output, told = up.communicate(timeout=120)
        stranger.shutdown(socket.SHUT_RDWR)  # wakes the thread: to close it alone would not
    assert up.returncode == 4, (output, told)
    lines = told.splitlines()
    assert f"port {gaia.port} is taken by" in lines[0]
    assert f"(pid {os.getpid()})" in lines[0]
    assert "gaia up --port" in told
    assert json.loads(output)["error"]["code"] == "conflict"


def test_killed_parts_come_back_and_leave_no_orphans(gaia: Gaia) -> None:
    gaia.up()
    for role in ("web", "jobs"):
        until(lambda: settled(gaia))
        [victim] = gaia.webs() if role == "web" else gaia.clusters()
        before = {one.pid for one in gaia.processes() if one.token == victim.token}
        os.kill(victim.pid, signal.SIGKILL)
        until(lambda old=before: settled(gaia) and old.isdisjoint(one.pid for one in gaia.processes()))
    of_both = Event.objects.filter(subject__in=[WEB, JOBS]).order_by("id")
    ends = of_both.filter(kind__startswith="process.").exclude(kind__in=["process.requested", "process.started"])
    assert [(event.subject, event.kind, event.data["code"]) for event in ends] == [
        (WEB, "process.exited", 137),
        (JOBS, "process.exited", 137),
    ]
    assert list(of_both.filter(kind="service.died").values_list("subject", flat=True)) == [WEB, JOBS]
    again = of_both.filter(kind="service.start_requested", message__endswith=" is started again")
    assert list(again.values_list("subject", flat=True)) == [WEB, JOBS]
    a_killed_shim_takes_with_it_what_it_stood_for(gaia)
    down_without_the_daemon_ends_what_it_left(gaia)


def a_killed_shim_takes_with_it_what_it_stood_for(gaia: Gaia) -> None:
    """And that comes again."""
    [web] = gaia.webs()
    os.kill(web.session, signal.SIGKILL)
    until(Process.objects.filter(owner=WEB, state=ProcessState.LOST).exists)
    until(lambda: settled(gaia))
    assert web.pid not in {one.pid for one in gaia.webs()}


def down_without_the_daemon_ends_what_it_left(gaia: Gaia) -> None:
    os.kill(gaia.daemons()[0].pid, signal.SIGKILL)
    gaia("down")
    assert gaia.processes() == []
    assert not Process.objects.active().exists()


def test_a_service_goes_down_and_comes_back_with_gaia(gaia: Gaia, acting: str, tmp_path: Path) -> None:
    """And a job in hand is finished before."""
    from django_q.tasks import async_task

    gaia.up()
    until(lambda: settled(gaia))
    service = register(parse_spec({"name": "kept", "command": ["sleep", "600"]}), start=True)
    until(lambda: shown(service.name, state="running", restarts=0))
    async_task("tests.gaia_site.a_job.take_a_while", str(tmp_path))
    until((tmp_path / "began").exists)
    assert json.loads(gaia("down", "--json"))["stopped"] == [service.owner, JOBS, WEB]
    the_job_was_finished(gaia, tmp_path / "finished")
    service.refresh_from_db()
    assert (service.state, service.desired) == (ServiceState.STOPPED, Desired.UP)
    gaia.up()
    until(lambda: shown(service.name, state="running", restarts=0))
    service.refresh_from_db()
    assert service.failures == 0, "nobody counts that as a failure"
    assert not Event.objects.filter(kind="service.died").exists()
    [line] = [line for line in gaia("status").splitlines() if "kept" in line]
    assert "● kept running, pid " in line


def the_job_was_finished(gaia: Gaia, sign: Path) -> None:
    from django_q.models import OrmQ

    assert sign.exists()
    left = [each.func() for each in OrmQ.objects.all()]  # a canary may be among them
    assert not [name for name in left if "a_job" in name], "it was acknowledged, nobody will do it again"
    assert gaia.processes() == []
    jobs = Process.objects.get(owner=JOBS)
    assert (jobs.state, jobs.exit_code) == (ProcessState.EXITED, 0)


def shown(name: str, **facts: Any) -> bool:
    """Whether `gaia status` has a service with these facts."""
    [one] = [each for each in services_in_short(daemon=True) if each["name"] == name]
    return facts.items() <= one.items()


def test_sessions_outlive_the_console_that_started_them(gaia: Gaia) -> None:
    """Its tmux server was started by a request: it is no part of the console, nor of the daemon's process group."""
    console = gaia.up()
    headers = {"Authorization": f"Token {console['token']}"}
    response = httpx.post(
        f"{console['url']}/api/orchestration/sessions/", json={"name": "kept"}, headers=headers, timeout=60
    )
    assert response.status_code == 201, response.text
    pane = panes()
    assert len(pane) == 1
    for victim in (gaia.webs()[0], gaia.daemons()[0]):
        with suppress(ProcessLookupError):
            os.killpg(victim.session, signal.SIGKILL)
    gaia.up()
    until(lambda: settled(gaia))
    assert panes() == pane
    assert json.loads(gaia("down", "--json"))["left_running"] == ["session/kept"]
    assert panes() == pane
    assert json.loads(gaia("down", "--all", "--json"))["sessions_ended"] == 1
    assert panes() == []


def panes() -> list[str]:
    """Sessions and their panes' pids, by tmux's word."""
    words = ["tmux", "-L", gaia_home().tmux_socket_name, "list-panes", "-a", "-F", "#{session_name} #{pane_pid}"]
    return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False).stdout.splitlines()


@pytest.mark.parametrize("words", [(), ("--all",)])
def test_down_in_a_home_that_has_lost_its_database(gaia: Gaia, tmp_path: Path, words: tuple[str, ...]) -> None:
    """Its tmux server is still there, and only --all ends it."""
    lost = Home(tmp_path / "lost")
    environ = {"GAIA_HOME": str(lost.root), "GAIA_DATABASE_URL": ""}  # its database was a file in it
    tmux = ["tmux", "-L", lost.tmux_socket_name, "-f", "/dev/null"]
    try:
        for name in ("one", "two"):
            subprocess.run([*tmux, "new-session", "-d", "-s", name, "sleep 100"], check=True, timeout=30)
        down = json.loads(gaia("down", *words, "--json", **environ))
        assert down == {"stopped": [], "sessions_ended": 2 if words else 0, "left_running": []}
        lives = subprocess.run([*tmux, "has-session"], capture_output=True, timeout=30, check=False).returncode == 0
        assert lives is not bool(words)
    finally:
        subprocess.run([*tmux, "kill-server"], capture_output=True, timeout=30, check=False)
    assert not lost.root.exists(), "nothing is made for it"
    assert gaia("down", "--all", **environ) == "GAIA is down.\n"


def a_console_that_others_reach_is_warned_of_in_one_line(gaia: Gaia) -> None:
    process = gaia.begin(*gaia.up_words, GAIA_SERVER_HOST="0.0.0.0")  # noqa: S104  meant
    output, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert json.loads(output)["url"] == f"http://127.0.0.1:{gaia.port}"
    assert [line for line in error.splitlines() if "TLS" in line] == [
        "The console listens on 0.0.0.0 without TLS. "
        "Put a TLS proxy in front and set server.public_url to its https:// origin."
    ]


def test_down_stops_an_operation_and_says_so(gaia: Gaia, settings: Any, acting: str, tmp_path: Path) -> None:
    settings.GAIA_OPERATIONS = {**settings.GAIA_OPERATIONS, **KINDS}
    gaia.environ["DJANGO_SETTINGS_MODULE"] = "tests.processes.operation_settings"
    gaia.up()
    params = {"path": str(tmp_path / "never"), "began": str(tmp_path / "began")}
    operation = request_operation("test.wait_for", "Wait", subject="test/wait", params=params)
    until((tmp_path / "began").exists)
    gaia("down")
    operation.refresh_from_db()
    assert operation.state == OperationState.CANCELLED
    assert operation.error is not None
    assert operation.error["what"] == "Wait was stopped"
    assert gaia.processes() == []


def test_after_a_reboot_strangers_are_left_alone(gaia: Gaia) -> None:
    """The rows are of another boot, so whoever has those pids is a stranger, and the ports are to be free."""
    gaia.up()
    until(lambda: settled(gaia))
    os.kill(gaia.daemons()[0].pid, signal.SIGKILL)
    until(lambda: not gaia.daemons())
    before = {one.pid for one in gaia.processes()}
    Process.objects.update(boot_id="11111111-2222-3333-4444-555555555555")
    said = gaia(*gaia.up_words, code=4)  # the stranger that listens there is our own console of another life
    assert f"port {gaia.port} is taken by" in said
    assert before <= {one.pid for one in gaia.processes()}
    for lock in (gaia.home / "processes").glob("*.lock"):
        lock.unlink()  # which a reboot would have let go of
    gaia.port = free = _another_port(gaia.port)
    gaia.up()
    assert before <= {one.pid for one in gaia.processes()}
    old = Process.objects.filter(owner=WEB).order_by("id")[0]
    assert (old.state, old.problem) == (ProcessState.LOST, "the machine was restarted")
    assert Process.objects.active().get(owner=WEB).port == free
    assert Node.objects.count() == 1


def _another_port(port: int) -> int:
    from tests.installation import free_port

    return next(other for other in iter(free_port, 0) if other != port)


def test_the_daemon_that_cannot_begin_says_why(gaia: Gaia) -> None:
    """And begins when it can."""
    (gaia.home / "run" / "node.lock").mkdir(parents=True)
    said = gaia(*gaia.up_words, code=6)
    assert "node.lock" in said or "the daemon" in said
    (gaia.home / "run" / "node.lock").rmdir()
    a_console_that_others_reach_is_warned_of_in_one_line(gaia)


@pytest.mark.parametrize(
    ("host", "local"), [("127.0.0.1", "127.0.0.1"), ("localhost", "127.0.0.1"), ("::", "127.0.0.1"), ("::1", "[::1]")]
)
def test_where_this_machine_reaches_the_console(host: str, local: str) -> None:
    assert local_host(host) == local
