"""The scripts of a checkout, with no GAIA running: real shells, real processes, real ports."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from environments.drivers.launching import stage_paths, stage_start
from processes.drivers.liveness import identify
from tests.environments.drivers.repositories import (
    commit,
)
from tests.environments.drivers.scripts import Checkout, get


def test_launch_status_stop(demo: Checkout) -> None:
    port = demo.ports["qa"]
    told = demo.run("launch.sh", "qa")
    pid = demo.pid("qa")
    assert f"Stage qa is running: http://localhost:{port} (pid {pid})" in told
    answer = json.loads(get(port))
    assert (answer["stage"], answer["placeholder"], answer["project"]) == ("qa", True, "demo")
    assert "gaia.yaml" in get(port, "/")
    assert demo.status()["qa"] == {
        "name": "qa",
        "state": "running",
        "pid": pid,
        "port": port,
        "url": f"http://localhost:{port}",
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
        f"Stage dev is already running: http://localhost:{demo.ports['dev']} (pid {pid})\n"
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
        "url": f"http://localhost:{demo.ports['dev']}",
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
