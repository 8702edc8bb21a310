"""The scripts of a checkout, with no GAIA running: real shells, real processes, real ports."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from common.locks import lock_held
from environments.drivers.build import build_all
from environments.drivers.launching import stage_paths, stage_start
from environments.drivers.stage_files import Layout, ensure
from processes.drivers import journal
from processes.drivers.liveness import identify
from processes.drivers.spawn import Spec, spawn
from processes.drivers.stop import stop
from tests.environments.drivers.repositories import (
    commit,
    eventually,
    git,
    make_repository,
    source_of,
    targets_in,
)

# Answers the health path like an application would, and writes down what it was given.
_SERVER = """
import http.server, json, os, sys
json.dump(dict(os.environ), open("seen.json", "w"))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/up" else 404)
        self.end_headers()
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on and that no outgoing connection is given."""
    ports: list[int] = []
    first = random.randrange(10_000, 30_000)
    while len(ports) < count:
        first += 1
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", first))
            ports.append(first)
    return ports


class Checkout:
    """A furnished checkout and its scripts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ports = dict(zip(("dev", "qa", "staging"), free_ports(3), strict=True))
        self.furnish()

    def furnish(self) -> None:
        stages = {name: (port, f"data/{name}/demo.db") for name, port in self.ports.items()}
        ensure(self.path, Layout("demo", self.path.name, self.path, stages))

    def run(self, script: str, *args: str, code: int | None = 0, cwd: Path | None = None, **env: str) -> str:
        """Run a script; returns stdout and stderr together."""
        done = subprocess.run(
            [self.path / script, *args],
            cwd=cwd or self.path.parent,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=60,
        )
        told = done.stdout + done.stderr
        assert code is None or done.returncode == code, told
        return told

    def status(self) -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in json.loads(self.run("status.sh", "--json"))["stages"]}

    def pid(self, stage: str = "dev") -> int:
        return int(self.status()[stage]["pid"])

    def records(self, stage: str = "dev") -> list[journal.Record]:
        return list(journal.records(stage_paths(self.path, stage).journal).values())


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Checkout]]:
    """Makes a checkout; at the end everything that runs in it is killed."""
    made: list[Checkout] = []

    def build(name: str = "demo dev's 1", gaia_yaml: str | None = None) -> Checkout:
        path = make_repository(tmp_path / name)
        if gaia_yaml is not None:
            (path / "server.py").write_text(_SERVER)
            (path / "gaia.yaml").write_text(gaia_yaml)
        made.append(Checkout(path))
        return made[-1]

    yield build
    for checkout in made:
        for stage in checkout.ports:
            for record in checkout.records(stage):
                if record.pid is not None and (identity := identify(record.pid)) is not None:
                    held = lock_held(stage_paths(checkout.path, stage).lock)
                    if held or record.code is None:
                        stop(identity, token=record.token, grace=0)


@pytest.fixture
def demo(make: Callable[..., Checkout]) -> Checkout:
    return make()


def get(port: int, path: str = "/health") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return str(answer.read().decode())


def test_launch_status_stop(demo: Checkout) -> None:
    port = demo.ports["qa"]
    told = demo.run("launch.sh", "qa")
    pid = demo.pid("qa")
    assert f"Stage qa is running: http://127.0.0.1:{port} (pid {pid})" in told
    answer = json.loads(get(port))
    assert (answer["stage"], answer["placeholder"], answer["project"]) == ("qa", True, "demo")
    assert "gaia.yaml" in get(port, "/")
    assert demo.status()["qa"] == {
        "name": "qa",
        "state": "running",
        "pid": pid,
        "port": port,
        "url": f"http://127.0.0.1:{port}",
        "health": 200,
    }
    lines = demo.run("status.sh").splitlines()
    assert [line.split()[0] for line in lines] == ["dev", "qa", "staging"]
    assert "NOT RUNNING" in lines[0]
    assert "NOT RUNNING" not in lines[1]
    assert demo.run("stop.sh", "qa") == "Stage qa is stopped.\n"
    assert demo.status()["qa"]["state"] == "stopped"
    assert demo.records("qa")[0].code is not None
    assert identify(pid) is None


def test_a_second_launch_finds_it_running(demo: Checkout) -> None:
    demo.run("launch.sh")
    pid = demo.pid()
    assert demo.run("launch.sh", "dev") == (
        f"Stage dev is already running: http://127.0.0.1:{demo.ports['dev']} (pid {pid})\n"
    )
    assert demo.pid() == pid
    assert len(demo.records()) == 1


def test_two_launches_at_once_start_one(demo: Checkout) -> None:
    running = [subprocess.Popen([demo.path / "launch.sh"], stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait(timeout=60) for process in running] == [0] * 4
    assert len([record for record in demo.records() if record.code is None]) == 1


def test_stages_run_side_by_side_and_stop_all(demo: Checkout) -> None:
    for stage in demo.ports:
        demo.run("launch.sh", stage)
    assert {each["health"] for each in demo.status().values()} == {200}
    demo.run("stop.sh", "--all")
    assert {each["state"] for each in demo.status().values()} == {"stopped"}


def test_the_command_gets_its_variables_and_nothing_of_the_script(make: Callable[..., Checkout]) -> None:
    demo = make(gaia_yaml="command: exec python3 server.py\nhealth: /up\nenv: {LEVEL: a 'b' $HOME}\n")
    (demo.path / ".env.local").write_text("MINE='x y'\nEVIL=$(touch pwned)\nPORT=1\nlog=theirs\nstage=theirs\n")
    demo.furnish()
    demo.run("launch.sh", "staging", cwd=Path("/"))
    seen = json.loads((demo.path / "seen.json").read_text())
    assert seen["PORT"] == str(demo.ports["staging"])
    assert seen["DATABASE_PATH"] == str(demo.path / "data/staging/demo.db")
    assert (seen["STAGE"], seen["APP_ENV"], seen["LEVEL"], seen["MINE"]) == ("staging", "staging", "a 'b' $HOME", "x y")
    assert (seen["EVIL"], seen["log"], seen["stage"]) == ("$(touch pwned)", "theirs", "theirs")
    assert seen["GAIA_ATTEMPT_TOKEN"].startswith("script-")
    assert not (demo.path / "pwned").exists()
    start = stage_start(demo.path, "staging")
    assert {key: seen[key] for key in start.env} == start.env


def test_the_command_is_detached_and_can_be_interrupted(demo: Checkout) -> None:
    demo.run("launch.sh")
    shim = demo.pid()
    child = int(subprocess.run(["ps", "-o", "pid=", "--ppid", str(shim)], capture_output=True, check=True).stdout)
    assert os.getsid(child) == shim
    status = dict(line.split(":", 1) for line in Path(f"/proc/{child}/status").read_text().splitlines())
    ignored = int(status["SigIgn"], 16)
    assert not ignored & 1 << (signal.SIGINT - 1), "the command ignores Ctrl-C"
    assert not ignored & 1 << (signal.SIGQUIT - 1)
    assert os.readlink(f"/proc/{child}/fd/0") == "/dev/null"
    assert "9" not in os.listdir(f"/proc/{child}/fd")
    assert stage_paths(demo.path, "dev").log.stat().st_mode & 0o077 == 0


def test_a_command_that_ends_shows_its_last_words(make: Callable[..., Checkout]) -> None:
    demo = make(gaia_yaml="command: echo going down >&2; exit 3\n")
    told = demo.run("launch.sh", code=1)
    assert "going down" in told
    assert "ended while it was starting" in told
    assert [record.code for record in demo.records()] == [3]
    assert demo.run("launch.sh", "qa", code=1)


def test_a_bad_gaia_yaml_is_told_by_launch(make: Callable[..., Checkout]) -> None:
    demo = make(gaia_yaml="comand: x\n")
    told = demo.run("launch.sh", code=1)
    assert "gaia.yaml:1" in told
    assert "Did you mean command?" in told


def test_a_gaia_yaml_that_changed_meanwhile_is_mentioned(demo: Checkout) -> None:
    env = demo.path / ".gaia/stages/dev.env"
    os.utime(env, (1, 1))
    (demo.path / "gaia.yaml").write_text("command: x\n")
    assert "gaia.yaml has changed" in demo.run("launch.sh")


def test_a_command_that_never_answers_is_left_running(make: Callable[..., Checkout]) -> None:
    demo = make(gaia_yaml="command: exec sleep 300\n")
    told = demo.run("launch.sh", code=6, GAIA_LAUNCH_WAIT="1")
    assert "does not answer 200 yet" in told
    assert demo.status()["dev"] | {"pid": 0} == {
        "name": "dev",
        "state": "running",
        "pid": 0,
        "port": demo.ports["dev"],
        "url": f"http://127.0.0.1:{demo.ports['dev']}",
        "health": 0,
    }
    demo.run("stop.sh")


def test_a_taken_port_names_its_holder(demo: Checkout) -> None:
    with socket.create_server(("127.0.0.1", demo.ports["dev"])):
        told = demo.run("launch.sh", code=4)
    assert f"Port {demo.ports['dev']}" in told
    assert f"pid {os.getpid()}" in told
    assert demo.records() == []
    demo.run("launch.sh")


@pytest.mark.parametrize("script", ["launch.sh", "stop.sh"])
@pytest.mark.parametrize("stage", ["nope", "../dev", "dev qa", "-x"])
def test_an_unknown_stage(demo: Checkout, script: str, stage: str) -> None:
    assert "Stages: dev qa staging" in demo.run(script, stage, code=2)


def test_status_with_an_unknown_option(demo: Checkout) -> None:
    assert "usage" in demo.run("status.sh", "--jso", code=2)


# -- stopping

_STUBBORN = """command: |
  trap '' TERM
  (setsid sh -c 'trap "" TERM; sleep 301' &)
  sh -c 'trap "" TERM; sleep 302' &
  exec python3 .gaia/placeholder.py
"""


def test_stop_kills_what_does_not_end_with_all_it_started(make: Callable[..., Checkout]) -> None:
    demo = make(gaia_yaml=_STUBBORN)
    demo.run("launch.sh")
    record = demo.records()[0]
    before = carriers(record.token)
    assert len(before) >= 5
    told = demo.run("stop.sh", GAIA_STOP_GRACE="1")
    assert "is killed" in told
    assert "is stopped" in told
    assert carriers(record.token) == []
    assert demo.records()[0].code == 137, "the shim was left alive to note the end"


def carriers(token: str) -> list[int]:
    """Live processes with an attempt's token in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if token.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def test_stop_asks_and_lets_the_command_end_by_itself(make: Callable[..., Checkout]) -> None:
    demo = make(gaia_yaml="command: trap 'echo bye; exit 5' TERM; python3 .gaia/placeholder.py & wait\n")
    demo.run("launch.sh")
    demo.run("stop.sh")
    assert "bye" in stage_paths(demo.path, "dev").log.read_text()
    assert [record.code for record in demo.records()] == [5]


def test_stop_never_signals_a_stranger_who_got_the_pid(demo: Checkout) -> None:
    stranger = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        stage_paths(demo.path, "dev").journal.write_text(f"S script-old {stranger.pid}\n")
        assert demo.run("stop.sh") == "Stage dev is not running.\n"
        with open(stage_paths(demo.path, "dev").lock) as lock:
            # held by somebody whose note is not there: still no reason to signal the last pid
            subprocess.run(["flock", "-n", "9"], check=True, preexec_fn=lambda: os.dup2(lock.fileno(), 9), pass_fds=[9])
            demo.run("stop.sh", code=1)
            assert demo.status()["dev"]["pid"] is None
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_shim_that_was_killed_is_not_running(demo: Checkout) -> None:
    demo.run("launch.sh")
    record = demo.records()[0]
    assert record.pid is not None
    os.killpg(record.pid, signal.SIGKILL)
    eventually(lambda: demo.status()["dev"]["state"] == "stopped", "the lock outlives the shim")
    assert demo.run("stop.sh") == "Stage dev is not running.\n"
    demo.run("launch.sh")
    assert demo.pid() != record.pid


def test_scripts_and_daemon_share_lock_and_journal(demo: Checkout) -> None:
    start = stage_start(demo.path, "dev")
    spawned = spawn(
        Spec(start.argv, start.cwd, {**os.environ, **start.env}, start.log, start.lock, start.journal, "daemon-1")
    )
    port = demo.ports["dev"]
    eventually(lambda: demo.status()["dev"]["health"] == 200, "the stage does not answer")
    assert demo.pid() == spawned.pid
    assert demo.run("launch.sh") == f"Stage dev is already running: http://127.0.0.1:{port} (pid {spawned.pid})\n"
    demo.run("stop.sh")
    assert journal.records(start.journal)["daemon-1"].code is not None
    os.waitpid(spawned.pid, 0)


# -- with fewer tools


def path_without(directory: Path, *missing: str) -> str:
    """A PATH on which everything is but some programs."""
    directory.mkdir()
    for place in ("/usr/sbin", "/usr/bin", "/bin", str(Path(shutil.which("python3") or "").parent)):
        for program in Path(place).iterdir():
            link = directory / program.name
            if program.name not in missing and not link.is_symlink():
                link.symlink_to(program)
    return str(directory)


@pytest.mark.parametrize(
    "missing",
    [("curl", "ss"), ("curl", "wget", "flock", "setsid", "ss", "lsof")],
    ids=lambda names: " ".join(names),
)
def test_scripts_work_without_some_programs(demo: Checkout, tmp_path: Path, missing: tuple[str, ...]) -> None:
    path = path_without(tmp_path / "bin", *missing)
    demo.run("launch.sh", PATH=path)
    assert '"health": 200' in demo.run("status.sh", "--json", PATH=path)
    assert "already running" in demo.run("launch.sh", PATH=path)
    demo.run("stop.sh", PATH=path)
    with socket.create_server(("127.0.0.1", demo.ports["dev"])):
        assert f"pid {os.getpid()}" in demo.run("launch.sh", code=4, PATH=path)


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_scripts_run_in_any_shell(demo: Checkout, shell: str) -> None:
    program = shutil.which(shell)
    if program is None:  # not everywhere; the others cover the script
        return
    argv = [program, *(["sh"] if shell == "busybox" else [])]

    def run(script: str) -> str:
        done = subprocess.run([*argv, demo.path / script], capture_output=True, text=True, check=True, timeout=60)
        return done.stdout

    assert "Stage dev is running" in run("launch.sh")
    assert "RUNNING" in run("status.sh")
    assert run("stop.sh") == "Stage dev is stopped.\n"


def test_a_kept_script_leaves_gaias_beside_it(make: Callable[..., Checkout]) -> None:
    demo = make()
    commit(demo.path, {"launch.sh": "#!/bin/sh\nexit 9\n"})
    demo.furnish()
    assert "Stage dev is running" in demo.run(".gaia/launch.sh")
    demo.run("stop.sh")


# -- sync


@pytest.fixture
def synced(repository: Path, tmp_path: Path) -> Path:
    """An environment whose hub is one commit ahead."""
    root = tmp_path / "root"
    build_all(source_of(repository), root / "hub.git", targets_in(root, 1))
    commit(repository, {"shared.txt": "theirs\n"})
    build_all(source_of(repository), root / "hub.git", targets_in(root, 1))
    return root / "demo-dev1"


def sync(path: Path, code: int) -> str:
    done = subprocess.run([path / "sync.sh"], cwd="/", capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_sync_follows_and_then_has_nothing_to_do(synced: Path) -> None:
    assert "has followed origin/main" in sync(synced, 0)
    assert (synced / "shared.txt").read_text() == "theirs\n"
    assert "has everything of origin/main" in sync(synced, 0)


def test_sync_merges_own_commits(synced: Path) -> None:
    commit(synced, {"mine.txt": "mine\n"})
    assert "has merged origin/main" in sync(synced, 0)
    assert (synced / "shared.txt").exists()
    assert (synced / "mine.txt").exists()


def test_sync_leaves_uncommitted_changes_alone(synced: Path) -> None:
    (synced / "README.md").write_text("mine")
    before = git(synced, "rev-parse", "HEAD")
    assert "uncommitted changes" in sync(synced, 4)
    assert (git(synced, "rev-parse", "HEAD"), (synced / "README.md").read_text()) == (before, "mine")


def test_sync_does_not_mind_untracked_files_unless_they_are_in_the_way(synced: Path) -> None:
    (synced / "shared.txt").write_text("mine")
    sync(synced, 1)
    assert (synced / "shared.txt").read_text() == "mine"
    os.rename(synced / "shared.txt", synced / "other.txt")
    sync(synced, 0)
    assert (synced / "other.txt").read_text() == "mine"


def test_sync_names_the_files_in_conflict_and_changes_nothing(synced: Path) -> None:
    sha = commit(synced, {"shared.txt": "mine\n"})
    told = sync(synced, 4)
    assert "shared.txt" in told
    assert "git merge origin/main" in told
    assert git(synced, "status", "--porcelain") == ""
    assert git(synced, "rev-parse", "HEAD") == sha


def test_sync_stays_away_from_an_unfinished_merge_and_from_no_branch(synced: Path) -> None:
    commit(synced, {"shared.txt": "mine\n"})
    git(synced, "fetch", "-q")
    git(synced, "merge", "origin/main", check=False)
    assert "waits to be ended" in sync(synced, 4)
    git(synced, "merge", "--abort")
    git(synced, "checkout", "-q", "--detach")
    assert "No branch" in sync(synced, 4)


def test_sync_without_its_hub(synced: Path) -> None:
    shutil.rmtree(synced.parent / "hub.git")
    assert "could not be fetched" in sync(synced, 1)
