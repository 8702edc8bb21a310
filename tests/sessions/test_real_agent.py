"""A real agent from npm in the fleet: where its CLI is on the PATH it runs in its environment, elsewhere a shell."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from environments.models import Environment
from sessions.actions import control, start
from sessions.drivers.tmux import TmuxServer
from sessions.server import tmux_server
from tests.endpoints import client_of
from tests.gaia_site.command_line import CommandLine
from tests.sessions.by_hand import Tmux, stands_in
from tests.waiting import until

BUILD = Path(__file__).resolve().parents[2] / "build" / "clis"
VERSION = "0.61.0"  # of @google/gemini-cli: the one that installs in seconds, without scripts of its own
SECONDS = 90.0
SETTINGS = {
    "security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": False}},
    "general": {"disableAutoUpdate": True, "disableUpdateNag": True, "enableAutoUpdate": False},
    "privacy": {"usageStatisticsEnabled": False},
    "telemetry": {"enabled": False},
}
FLEET = """version: 1
groups:
  - {key: dev_workers, label: Dev Environment Workers, short: DEV}
  - {key: other, label: Other, short: OTH}
sessions:
  - {name: dev1_worker, group: dev_workers, provider: gemini, environment: dev1}
  - {name: dev2_worker, group: dev_workers, provider: gemini, environment: dev2}
"""


@pytest.fixture(scope="module")
def gemini() -> Path:
    """The directory with the installed `gemini`; kept in build/ for the next run."""
    npm = shutil.which("npm")
    assert npm, "npm is missing: install it, or leave these tests out with -m 'not live'"
    place = BUILD / f"gemini-{VERSION}"
    place.parent.mkdir(parents=True, exist_ok=True)
    with (place.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            options = [
                "--ignore-scripts",
                "--no-save",
                "--no-package-lock",
                "--no-fund",
                "--no-audit",
                "--loglevel=error",
            ]
            subprocess.run(
                [npm, "install", "--prefix", place, *options, f"@google/gemini-cli@{VERSION}"], check=True, timeout=300
            )
            (place / "complete").touch()
    return place / "node_modules" / ".bin"


@pytest.fixture
def configured(home: Any, tmp_path: Path, agents: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two Gemini workers whose HOME is the test's and whose model server is nowhere. Returns: the agents' directory."""
    (home.root / "fleet.yaml").write_text(FLEET)
    (tmp_path / "person" / ".gemini").mkdir(parents=True)
    (tmp_path / "person" / ".gemini" / "settings.json").write_text(json.dumps(SETTINGS))
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.setenv("GEMINI_API_KEY", "no-key-at-all")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "http://127.0.0.1:9")
    return agents


@pytest.fixture
def tmux_of_person(configured: Path, tmux: Tmux) -> TmuxServer:
    """GAIA's server, started with that HOME."""
    assert tmux_server().environment["HOME"] == os.environ["HOME"]
    return tmux.server


@pytest.mark.live
def test_on_the_path_it_runs_in_its_environment(
    acting: str,
    gemini: Path,
    configured: Path,
    tmux_of_person: TmuxServer,
    make_environments: Callable[..., list[Environment]],
    operator: Any,
) -> None:
    environments = make_environments(2)
    (configured / "gemini").symlink_to(gemini / "gemini")
    done = start.start_fleet()
    assert (done.started, done.shells, done.notes) == (["dev1_worker", "dev2_worker"], {}, {})
    for number, environment in enumerate(environments, 1):
        session = control.find(f"dev{number}_worker")
        assert (session.runs, session.reason) == ("agent", "")
        until(lambda of=session: "Gemini CLI v" in control.capture(of), seconds=SECONDS)
        assert str(stands_in(session.pane_pid)) == environment.path
        words = Path(f"/proc/{session.pane_pid}/cmdline").read_bytes().split(b"\0")
        assert words[1].decode() == str(configured / "gemini")
    worker = control.find("dev1_worker")
    until(lambda: "Type your message" in control.capture(worker), seconds=SECONDS)
    control.send_keys(worker, "say hello to the harbour", enter=False)
    until(lambda: "say hello to the harbour" in control.capture(worker), seconds=SECONDS)
    [shown, _] = client_of(operator.token).get("/api/orchestration/sessions/").json()
    assert (shown["runs"], shown["program"], shown["environment"]) == ("agent", "gemini", "demo-dev1")


def test_without_it_every_door_says_that_a_shell_runs(
    transactional_db: None,
    acting: str,
    configured: Path,
    tmux_of_person: TmuxServer,
    make_environments: Callable[..., list[Environment]],
    operator: Any,
    tmp_path: Path,
) -> None:
    environments = make_environments(2)
    why = "gemini is not installed (looked for: gemini); a shell runs instead"
    assert start.start_fleet().shells == {"dev1_worker": why, "dev2_worker": why}
    worker = control.find("dev1_worker")
    until(lambda: why in control.capture(worker))
    assert str(stands_in(worker.pane_pid)) == environments[0].path
    api = client_of(operator.token)
    for shown in (
        api.get("/api/orchestration/sessions/").json()[0],
        api.get("/api/orchestration/sessions/dev1_worker/").json(),
        api.get("/api/multi-env/status").json()["groups"][0]["sessions"][0],
    ):
        assert (shown["runs"], shown["reason"], shown["program"]) == ("shell", why, "")
    gaia = CommandLine(tmp_path)
    status = gaia("--group-status").out
    assert "gemini  shell" in status
    assert "2 run a shell, for want of their agent's CLI" in status
    assert why in gaia("session", "list").out
