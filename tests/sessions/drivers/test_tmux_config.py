"""Which tmux is good enough, and that the configuration is one tmux takes without a word."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from common.errors import Unavailable
from sessions.drivers import tmux_config
from sessions.drivers.tmux import NewSession, TmuxServer, check_tmux, scrubbed_environment, write_config
from sessions.drivers.tmux_config import config_text, install_command, parse_version
from tests.sessions.drivers.conftest import ServerMaker, Start
from tests.sessions.drivers.panes import pane_of


def fake_tmux(directory: Path, answer: str) -> str:
    program = directory / "tmux"
    program.write_text(f"#!/bin/sh\necho '{answer}'\n")
    program.chmod(0o755)
    return str(program)


def test_the_installed_tmux_will_do() -> None:
    answer = subprocess.check_output(["tmux", "-V"], text=True)
    assert check_tmux() >= (3, 2)
    assert f"{check_tmux()[0]}.{check_tmux()[1]}" in answer


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        ("tmux 3.2", (3, 2)),
        ("tmux 3.3a", (3, 3)),
        ("tmux 3.10", (3, 10)),
        ("tmux next-3.7", (3, 7)),
        ("tmux 10.0-rc", (10, 0)),
        ("tmux master", (99, 0)),
        ("tmux openbsd-7.4", (99, 0)),
    ],
)
def test_versions_are_read(tmp_path: Path, answer: str, version: tuple[int, int]) -> None:
    assert check_tmux(fake_tmux(tmp_path, answer)) == version


@pytest.mark.parametrize("answer", ["tmux 3.1c", "tmux 2.9a", "tmux 1.8", "tmux what"])
def test_an_old_tmux_is_refused_with_the_command_that_replaces_it(tmp_path: Path, answer: str) -> None:
    with pytest.raises(Unavailable) as error:
        check_tmux(fake_tmux(tmp_path, answer))
    assert answer in error.value.what
    assert install_command() in error.value.fix


def test_another_program_of_that_name_is_refused() -> None:
    with pytest.raises(Unavailable, match="answers"):
        parse_version("screen 4.9")


def test_a_missing_tmux_is_said_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_server: ServerMaker
) -> None:
    for program, _ in tmux_config._INSTALLERS[:2]:
        (tmp_path / program).symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path))
    sudo = "" if os.getuid() == 0 else "sudo "
    for ask in (check_tmux, make_server().snapshot, lambda: make_server().passthrough_argv(["ls"])):
        with pytest.raises(Unavailable) as error:
            ask()
        assert (error.value.what, error.value.fix) == (
            "tmux is not installed",
            f"Install it: {sudo}apt-get install -y tmux",
        )


def test_the_configuration_is_in_force_and_free_of_errors(
    make_server: ServerMaker, tmux_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server(history_limit=1234)
    server.create([NewSession("a", "id", tmux_dir, ("/bin/cat",), {}, {"provider": "claude"})])
    assert (tmux_dir / "tmux.conf").read_text() == config_text(history_limit=1234)
    assert not pane_of(server, "a").in_mode, "tmux shows errors of its configuration in copy mode"

    def ask(*words: str) -> str:
        argv = ["tmux", "-S", str(server.socket_path), *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    noisy = config_text().replace("q ", " ", 0)
    for line in re.sub(r"(?m)^(set-option -\w*)q(\w*) ", r"\1\2 ", noisy).splitlines():
        if line.startswith("set-option"):  # loud now: an option that is unknown or a value that is wrong would fail
            (tmux_dir / "line").write_text(line + "\n")
            ask("source-file", str(tmux_dir / "line"))
    server.create([NewSession("b", "id2", tmux_dir, ("/bin/cat",))])
    assert ask("show-options", "-gv", "remain-on-exit") == "on"
    assert ask("show-options", "-sv", "exit-empty") == "on"
    assert ask("display", "-p", "-t", "=b:", "#{history_limit}") == "1234"
    assert "a" in ask("display", "-p", "-t", "=a:", "#{T:status-left}")
    assert "claude" in ask("display", "-p", "-t", "=a:", "#{T:status-left}")
    assert "C-b d" in ask("display", "-p", "-t", "=a:", "#{T:status-right}")


def test_the_users_own_configuration_is_not_read(
    tmux_dir: Path, monkeypatch: pytest.MonkeyPatch, make_server: ServerMaker
) -> None:
    (tmux_dir / ".tmux.conf").write_text("set -g @theirs yes\nset -g history-limit 7\n")
    monkeypatch.setenv("HOME", str(tmux_dir))
    for name, config in (("with", tmux_dir / "tmux.conf"), ("without", None)):
        server = make_server(name, config=config)
        server.create([NewSession("a", "id", tmux_dir, ("/bin/cat",))])
        argv = ["tmux", "-S", str(server.socket_path), "show-options", "-gqv", "@theirs"]
        assert subprocess.check_output(argv) == b""


def test_an_existing_configuration_file_is_kept(make_server: ServerMaker, tmux_dir: Path, start: Start) -> None:
    assert write_config(tmux_dir / "tmux.conf", history_limit=77)
    assert not write_config(tmux_dir / "tmux.conf", history_limit=77)
    start("a")
    assert "history-limit 77" in (tmux_dir / "tmux.conf").read_text()


def test_the_environment_is_scrubbed() -> None:
    source = {
        "HOME": "/h",
        "LC_ALL": "C",
        "GAIA_X": "1",
        "VIRTUAL_ENV": "/v/",
        "PATH": "/v/bin:/bin:/v/bin/",
        "LS_COLORS": "x",
    }
    assert scrubbed_environment(source, {"GAIA_Y": "2"}) == {"HOME": "/h", "LC_ALL": "C", "PATH": "/bin", "GAIA_Y": "2"}


def test_the_commands_for_people(server: TmuxServer, start: Start) -> None:
    start("a")
    env = dict(server.environment)
    assert subprocess.run(server.passthrough_argv(["has-session", "-t", "=a"]), env=env, check=False).returncode == 0
    listed = subprocess.check_output(server.passthrough_argv(["list-sessions", "-F", "#{session_name}"]), env=env)
    assert listed == b"a\n"
