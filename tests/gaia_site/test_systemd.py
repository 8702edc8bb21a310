"""Under systemd: units it can read, a daemon that says it is ready and lives, and nothing ended with it."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gaia_site.systemd import Announcer
from tests.installation import SECONDS, Gaia
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "deploy" / "systemd"


# -- the units


def verified(place: Path, kind: str, text: str) -> str:
    """What systemd has to say of a unit, with what docs/systemd.md has people change put in; nothing when all is well.

    Args:
        kind: system or user.
    """
    unit = place / kind / "gaia.service"
    unit.parent.mkdir(parents=True)
    text = re.sub(r"/opt/gaia|%h/gaia", str(ROOT), text)
    unit.write_text(re.sub(r"^(User|Group)=.*", rf"\1={getpass.getuser()}", text, flags=re.MULTILINE))
    done = subprocess.run(
        ["systemd-analyze", f"--{kind}", "--man=no", "verify", unit], capture_output=True, text=True, timeout=60,
        check=False, env={**os.environ, "XDG_RUNTIME_DIR": str(place)},
    )  # fmt: skip
    # it looks at other units of this machine, too, and some of them mislike where tests have their files
    told = [line for line in (done.stdout + done.stderr).splitlines() if "gaia.service" in line]
    return "\n".join(told) + (f"it ended with {done.returncode}" if done.returncode else "")


@pytest.mark.parametrize("kind", ["system", "user"])
def test_systemd_understands_the_unit(tmp_path: Path, kind: str) -> None:
    assert shutil.which("systemd-analyze"), "install systemd: .ci/run does"
    text = (UNITS / kind / "gaia.service").read_text()
    assert verified(tmp_path, kind, text) == ""
    assert "Restrat" in verified(tmp_path / "wrong", kind, text.replace("Restart=", "Restrat="))


@pytest.mark.parametrize("kind", ["system", "user"])
def test_a_restart_of_the_unit_ends_nothing_that_gaia_started(kind: str) -> None:
    """The lines that this rests on; docs/systemd.md says why."""
    lines = (UNITS / kind / "gaia.service").read_text().splitlines()
    wanted = {
        "Type=notify", "NotifyAccess=main", "KillMode=process", "OOMPolicy=continue", "Restart=always",
        "RestartPreventExitStatus=0", "StartLimitIntervalSec=0", "Delegate=yes",
    }  # fmt: skip
    assert wanted <= set(lines)
    assert not [line for line in lines if re.match(r"(PrivateTmp|ExecReload|RuntimeDirectory)=", line)]
    starts = [line for line in lines if line.startswith("Exec")]
    assert [line.partition("gaia/gaia ")[2] for line in starts] == ["up --foreground", "down --keep-stages"]


def test_the_guide_shows_what_is_in_the_units() -> None:
    guide = (ROOT / "docs" / "systemd.md").read_text()
    for name in ("KillMode", "OOMPolicy", "RestartPreventExitStatus", "WatchdogSec", "Delegate", "NotifyAccess"):
        assert f"`{name}" in guide
    for kind in ("system", "user"):
        assert f"deploy/systemd/{kind}/gaia.service" in guide


# -- the daemon


@pytest.fixture
def listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """systemd's end, as the environment names it."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(path))
        end.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield end


def heard(end: socket.socket) -> list[str]:
    return end.recv(4096).decode().split("\n")


def test_what_systemd_is_told(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    ready, status, now = [False], ["starts"], [0.0]
    announcer = Announcer(lambda: ready[0], lambda: status[0], lambda: now[0])
    assert announcer.spoken_to
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & os.environ.keys(), "none of it goes on to what is started"
    for before, lines in (
        (None, ["WATCHDOG=1", "STATUS=starts"]),
        (None, ["WATCHDOG=1"]),
        ("ready", ["WATCHDOG=1", "READY=1", "STATUS=runs"]),
        (None, ["WATCHDOG=1"]),
    ):
        if before:
            ready[0], status[0] = True, "runs"
        announcer.turn()
        assert heard(listening) == lines


def test_a_console_that_does_not_come_up_does_not_keep_the_unit_from_being_there(listening: socket.socket) -> None:
    now = [0.0]
    announcer = Announcer(lambda: False, lambda: "the console fails", lambda: now[0])
    announcer.turn()
    assert "READY=1" not in heard(listening)
    now[0] = 61.0
    announcer.turn()
    assert "READY=1" in heard(listening)


def test_it_is_said_again_when_nobody_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "@gaia-test-" + tmp_path.name + str(os.getpid()))
    announcer = Announcer(lambda: True, lambda: "runs")
    announcer.turn()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind("\0gaia-test-" + tmp_path.name + str(os.getpid()))
        announcer.turn()
        assert heard(end) == ["WATCHDOG=1", "READY=1", "STATUS=runs"]


def test_without_systemd_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not Announcer(lambda: True, lambda: "").spoken_to


def until_ready(end: socket.socket) -> str:
    """Wait until systemd would go on. Returns: the status it was told."""
    status, ready = "", False
    while not ready:
        lines = heard(end)
        ready = "READY=1" in lines
        status = next((line.removeprefix("STATUS=") for line in lines if line.startswith("STATUS=")), status)
    return status


def test_as_systemd_runs_it(gaia: Gaia, listening: socket.socket) -> None:
    """Ready when all of it runs; asked to end it ends with 0 and leaves the rest running; the next one adopts that."""
    listening.settimeout(SECONDS)
    words = ("up", "--foreground", "--port", str(gaia.port))
    gaia.environ["NOTIFY_SOCKET"] = os.environ["NOTIFY_SOCKET"]
    first = gaia.begin(*words)
    assert until_ready(listening) == "gaia-web running, gaia-jobs running"
    assert [one.pid for one in gaia.daemons()] == [first.pid], "the unit's process is the daemon itself"
    [web] = gaia.webs()
    assert b"NOTIFY_SOCKET" not in Path(f"/proc/{web.pid}/environ").read_bytes()
    assert "GAIA runs already" in gaia(*words, code=4)
    assert "does not go with --detach" in gaia("up", "--foreground", "--detach", code=2)

    first.terminate()
    assert first.wait(SECONDS) == 0, "which a unit does not start again"
    assert gaia.webs() == [web]

    second = gaia.begin(*words)
    assert until_ready(listening) == "gaia-web running, gaia-jobs running"
    assert gaia.webs() == [web]
    gaia("down", "--keep-stages")
    assert second.wait(SECONDS) == 0
    until(lambda: gaia.processes() == [])
