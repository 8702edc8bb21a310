"""The demo, as a newcomer starts it: the pictures with the console up and down, the verbs of long work."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.home import gaia_home
from processes.models import Operation
from tests.gaia_site.command_line import CommandLine
from tests.installation import Gaia
from tests.waiting import until


@pytest.fixture
def demo(cli: CommandLine, gaia: Gaia) -> Iterator[dict[str, Any]]:
    """`gaia up --demo` is up; what it printed."""
    said = cli("up", "--demo", "--detach", "--json", "--port", str(gaia.port))
    assert said.code == 0, said
    yield said.data
    cli("down", "--all")


def steady(data: Any) -> Any:
    """Without what moves by itself."""
    if isinstance(data, dict):
        return {key: steady(value) for key, value in data.items() if key not in {"age_s", "active_at", "checked_at"}}
    return [steady(each) for each in data] if isinstance(data, list) else data


def without_ages(text: str) -> str:
    return re.sub(r" +\d+[smhd]  ", " AGE ", text)


def test_a_demo(cli: CommandLine, demo: dict[str, Any]) -> None:
    """One after the other: starting a demo is most of the work."""
    verbs_of_long_work(cli)
    watch_on_a_terminal(cli)
    the_pictures_say_the_same_with_the_console_up_and_down(cli, demo)


def verbs_of_long_work(cli: CommandLine) -> None:
    said = cli("operation", "list", "--json")
    assert said.code == 0, said
    [operation] = said.data
    assert operation["kind"] == "environments.setup"
    pk = str(operation["id"])
    assert cli("operation", "list").out.split() == [pk, "✓", "succeeded", "100%", *operation["title"].split()]
    assert cli("operation", "follow", pk, "--json").data["state"] == "succeeded"
    assert cli("operation", "log", pk).code == 0
    assert "text" in cli("operation", "log", pk, "--json").data
    assert "is already succeeded" in cli("operation", "cancel", pk).mistake(4)[0]
    for verb in ("follow", "log", "cancel"):
        assert "there is no operation 999" in cli("operation", verb, "999").mistake(3)[0]
    happened = cli("events", "--subject", "session/dev1_worker", "--json").data
    assert [event["kind"] for event in happened] == ["session.requested", "session.started"]
    assert len(cli("events", "--limit", "3").lines) == 3


def watch_on_a_terminal(cli: CommandLine) -> None:
    terminal = cli.on_a_terminal("--watch", "--interval", "0.2", bootstrap=True)
    terminal.until("demo-dev5")
    terminal.until("qa_worker1")
    assert terminal.shown.startswith("\x1b[?1049h\x1b[?25l")
    cli("tmux", "kill-session", "-t", "=qa_worker1")
    terminal.shown = ""
    terminal.until("Existing Workers  4/5 running")
    terminal.type("\x03")
    assert terminal.end() == 0
    assert terminal.shown.endswith("\x1b[?25h\x1b[?1049l")
    assert cli("session", "start", "qa_worker1", "--json").data["started"] == ["qa_worker1"]


def the_pictures_say_the_same_with_the_console_up_and_down(cli: CommandLine, demo: dict[str, Any]) -> None:
    assert set(demo) == {"url", "username", "password", "token"}
    cli("env", "launch", "dev2", "qa")
    until(lambda: all(one["title"] for group in cli("group-status", "--json").data for one in group["sessions"]))
    until(lambda: not {'"starting"', '"unready"'} & set(cli("multi-env-status", "--json").out.replace(",", "").split()))
    groups, whole = cli("group-status", "--json").data, cli("multi-env-status", "--json").data
    assert whole["totals"] == {"environments": 5, "stages": 15, "sessions": 26}
    assert steady(whole["groups"]) == steady(groups)
    pictures = {words: cli(*words).out for words in (("--group-status",), ("--multi-env-status",), ("watch", "--once"))}
    assert pictures[("--group-status",)].count("Dev Environment") == 5
    assert "demo-dev2 qa" in pictures[("--multi-env-status",)]
    assert all(len(line) <= 80 for text in pictures.values() for line in text.splitlines())
    status = cli("status")
    assert (status.code, status.lines[0]) == (0, f"● GAIA is up at {demo['url']}")
    assert cli("down", "--keep-stages").code == 0
    assert steady(cli("group-status", "--json").data) == steady(groups)
    assert steady(cli("multi-env-status", "--json").data) == steady(whole)
    for words, text in pictures.items():
        assert without_ages(cli(*words).out.partition("\n")[2]) == without_ages(text.partition("\n")[2])
    down = cli("status")
    assert down.code == 1
    assert down.lines[:2] == ["○ GAIA is down", "  5 environments, 15 stages, 26 sessions"]


def test_the_console_answers_for_the_pictures_only_while_a_daemon_looks(cli: CommandLine, gaia: Gaia) -> None:
    gaia.up()
    cli("session", "start", "--group", "prr")
    [daemon] = gaia.daemons()
    os.kill(daemon.pid, signal.SIGKILL)
    cli("tmux", "kill-session", "-t", "=pr_review1")
    assert gaia.webs(), "the console goes on without its daemon"
    assert "pr_review1 " not in cli("--group-status").out.partition("\n\n")[0]
    said = cli("status")
    assert (said.code, said.lines[0]) == (1, "✗ GAIA is half up: see below at " + str(gaia.up()["url"]))


def test_what_the_token_file_says_is_believed_only_if_it_opens_the_door(cli: CommandLine, gaia: Gaia) -> None:
    gaia.up()
    path = gaia_home().run / "cli.json"
    assert path.stat().st_mode & 0o777 == 0o600
    good = json.loads(path.read_text())
    for broken in (
        "",
        "{}",
        json.dumps({**good, "token": "gaia_wrong"}),
        json.dumps({**good, "local_url": "http://127.0.0.1:1"}),
    ):
        path.write_text(broken)
        assert cli("--group-status").out == "No sessions. Start the fleet: gaia session start\n"
    gaia.up()
    assert json.loads(path.read_text())["local_url"] == good["local_url"]


def test_watch_as_data(cli: CommandLine) -> None:
    assert cli("watch", "--once", "--json").data["totals"]["sessions"] == 0
    process = cli.start("watch", "--json", "--interval", "0.2")
    assert process.stdout is not None
    looks = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert all(look["totals"]["environments"] == 0 for look in looks)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


def test_an_operation_that_failed_is_told_once(cli: CommandLine, acting: str) -> None:
    failed = Operation.objects.create(
        kind="test", title="A test", subject="test/x", state="failed", actor=acting, log="/nonexistent",
        error={"code": "conflict", "what": "it collided", "meaning": "Nothing was done.", "fix": "Wait."},
    )  # fmt: skip
    said = cli("operation", "follow", str(failed.pk), "--json")
    assert (said.code, said.data["state"], said.data["error"]["what"]) == (4, "failed", "it collided")
    assert cli("operation", "follow", str(failed.pk)).mistake(4) == [
        "gaia: it collided",
        "  Nothing was done.",
        "  Wait.",
    ]
    assert cli("operation", "log", str(failed.pk)).out == "\n"


def test_a_taken_port_names_its_holder(cli: CommandLine, gaia: Gaia) -> None:
    with socket.create_server(("127.0.0.1", gaia.port)):
        said = cli("up", "--detach", "--json", "--port", str(gaia.port))
    lines = said.mistake(4)
    assert f"port {gaia.port} is taken by" in lines[0]
    assert f"(pid {os.getpid()})" in lines[0]
    assert str(gaia.port) in json.dumps(said.data["error"]["detail"])


def test_environments_from_the_command_line(cli: CommandLine, tmp_path: Path, base_port: int) -> None:
    source, other = tmp_path / "shop", tmp_path / "other"
    for place in (source, other):
        place.mkdir()
        for words in (["init", "-q", "-b", "main"], ["commit", "-q", "--allow-empty", "-m", "First"]):
            author = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
            subprocess.run(["git", *author, *words], cwd=place, check=True, timeout=30)
    planned = cli("env", "setup", "--count", "2", "--base-port", str(base_port), "--dry-run", cwd=source)
    assert planned.lines[-1] == "Nothing was done (--dry-run)."
    detached = cli("env", "setup", "--base-port", str(base_port), "--detach", cwd=source)
    assert "--detach needs the daemon" in detached.mistake(6)[0]
    made = cli("env", "setup", "--count", "2", "--base-port", str(base_port), cwd=source)
    assert made.code == 0, made
    assert cli("env", "setup", "--count", "2", "--json").data["created"] == []
    beside = cli("env", "setup", "--count", "2", cwd=other)
    assert f"For {other}: gaia env setup --source {other}" in beside.err
    assert "--source" not in cli("env", "setup", "--count", "2", cwd=tmp_path / "shop-dev1").err
    listed = cli("env", "list")
    assert "✓ shop-dev2" in listed.out
    assert all(len(line) <= 80 for line in listed.lines)
    assert [each["directory"] for each in cli("env", "list", "--json").data] == ["shop-dev1", "shop-dev2"]
    assert cli("env", "launch", "dev1").code == 0
    assert f"shop-dev1 dev                    {base_port}" in cli("multi-env-status").out
    assert cli("env", "stop", "dev1", "dev", "--json").data["state"] == "stopped"
    (tmp_path / "shop-dev1" / "notes.txt").write_text("not yet committed\n")
    terminal = cli.on_a_terminal("env", "clean", "dev1")
    terminal.until("Remove shop-dev1? Work that is nowhere else is salvaged first. [y/N]")
    terminal.type("n\n")
    assert terminal.end() == 7
    salvage = cli("env", "clean", "dev1", "--json").data["removed"][0]["salvage"]["name"]
    assert cli("env", "restore", "--json").data[0]["name"] == salvage
    assert cli("env", "restore", salvage, "--into", "shop-dev2").code == 0
    assert (tmp_path / "shop-dev2" / "notes.txt").read_text() == "not yet committed\n"
    assert "is not a directory" in cli("env", "restore", salvage, "--into", "nowhere").mistake(2)[0]


@pytest.fixture
def base_port() -> Iterator[int]:
    from tests.environments.places import free_ports

    with free_ports() as base:
        yield base


@pytest.mark.parametrize("count", ["0", "500"])
def test_too_few_and_too_many_environments(cli: CommandLine, count: str) -> None:
    lines = cli("env", "setup", "--count", count, "--json").mistake(2)
    assert lines[0] == f"gaia: {count} environments are not possible"
    assert "between 1 and 100" in lines[-1]
