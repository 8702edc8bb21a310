"""`gaia service …`: what it prints, as text and as data, its exit codes, and that it waits."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gaia_site.cli import service_pictures as pictures
from services.models import Service
from tests.gaia_site.command_line import CommandLine
from tests.processes.conftest import Daemon, daemon, leave_nothing  # noqa: F401  fixtures

SECRET = "correct-horse-battery"


def test_from_the_first_to_the_last(cli: CommandLine, daemon: Daemon, tmp_path: Path) -> None:  # noqa: F811
    daemon.start()
    made = cli(
        "service", "register", "--name", "api", "--env", "COLOUR=green", "--secret", "KEY", "--memory", "512MB",
        "--start", "--timeout", "40", "--", "sh", "-c", 'echo "$COLOUR $KEY"; exec sleep 600', stdin=f"{SECRET}\n",
    )  # fmt: skip
    assert made.code == 0, made
    assert made.lines[0] == "Service api is registered."
    assert made.lines[1].startswith("● running    api ")
    assert "api: running" in made.err
    one = Service.objects.get()
    assert (one.cwd, one.secrets, one.env) == (str(tmp_path), {"KEY": SECRET}, {"COLOUR": "green"})

    shown = cli("service", "show", "api", "--json").data
    assert (shown["state"], shown["definition"]["secrets"]) == ("running", {"KEY": None})
    page = cli("service", "show", str(one.pk))
    assert f"pid          {shown['pid']}" in page.out
    assert "memory 512 MB" in page.out
    assert cli("service", "logs", "api").out == "green ***\n"
    assert cli("service", "health", "api").lines == ["● api: running", "  It has no probes."]
    assert (
        cli("service", "events", "api", "--limit", "1")
        .lines[0]
        .endswith("Service api runs as pid " + str(shown["pid"]))
    )
    assert cli("service", "metrics", "api", "--span", "24h", "--json").data["span"] == "24h"

    again = cli("service", "restart", "api", "--now", "--json").data
    assert (again[0]["state"], again[0]["restarts"]) == ("running", 0)
    assert again[0]["pid"] != shown["pid"]
    assert cli("service", "stop", "api").lines[0].startswith("○ stopped")
    assert cli("service", "health", "api").code == 1
    assert cli("service", "start", "api", "--no-wait").out.startswith("Service api: ")
    assert cli("service", "unregister", "api").out == "Unregistered: api\n"
    assert cli("service", "list", "--json").data == []


def test_what_does_not_come_up(cli: CommandLine, daemon: Daemon) -> None:  # noqa: F811
    daemon.start()
    for name, script in (("broken", 'echo "no such table"; exit 127'), ("quiet", "exec sleep 600")):
        cli("service", "register", "--name", name, "--", "sh", "-c", script)
    told = cli("service", "start", "broken").mistake(4)
    assert "broken does not stay up" in told[0]
    assert "no such table" in told[1]
    assert "gaia service logs broken" in told[2]
    failing = cli("service", "list", "--needs-you")
    assert failing.lines[0].startswith("✗ failed     broken")
    assert "quiet" not in failing.out
    cli("service", "register", "--name", "late", "--depends-on", "quiet", "--", "sleep", "600")
    late = cli("service", "start", "late", "--timeout", "1")
    assert "service late is not ready after 1 s" in late.mistake(6)[0]
    assert "late: held (waits for quiet" in late.err
    both = cli("service", "start", "late", "quiet", "--json")
    assert [(one["name"], one["state"]) for one in both.data] == [("late", "running"), ("quiet", "running")]


def test_with_gaia_down(cli: CommandLine) -> None:
    assert cli("service", "list").out.startswith("No services. Register one: gaia service register")
    assert cli("service", "register", "--name", "a", "--", "true").lines[-1] == "  Start it: gaia service start a"
    for verb in ("start", "stop", "restart"):
        told = cli("service", verb, "a").mistake(6)
        assert told[0] == "gaia: GAIA is down"
        assert "gaia up --detach" in told[2]
    cli("service", "register", "--name", "b", "--start", "--", "true").mistake(6)
    assert list(Service.objects.values_list("name", "desired")) == [("a", "down")]
    assert cli("service", "start", "a", "--no-wait").err.startswith("GAIA is down: it is done as soon as it runs")
    assert Service.objects.get().desired == "up"
    cli("service", "stop", "a", "--no-wait")
    listed = cli("service", "list")
    assert " a " in listed.lines[0]
    assert listed.err.startswith("GAIA is down")
    assert cli.manage("service", "list").lines[0][:38] == listed.lines[0][:38], "also as a management command"
    assert cli("service", "unregister", "a", "--yes", "--json").data == {"unregistered": ["a"]}


def test_definitions_in_files(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "api.json").write_text(json.dumps({"name": "api", "command": "sleep 600", "secrets": {"KEY": SECRET}}))
    assert cli("service", "register", "api.json", "--json").data["definition"]["command"] == ["sleep", "600"]
    assert "already" in cli("service", "register", "api.json").mistake(4)[0]
    changed = '{"name": "api", "command": "sleep 700", "secrets": {"KEY": null}}'
    assert cli("service", "register", "-", "--replace", stdin=changed).lines[0] == "Service api is changed."
    exported = cli("service", "export").out
    assert json.loads(exported)["services"][0]["command"] == ["sleep", "700"]
    assert SECRET not in exported
    assert cli("service", "export", "out.json", "--json").data == {"path": str(tmp_path / "out.json")}
    assert (tmp_path / "out.json").read_text() == exported
    assert cli("service", "import", "out.json").lines == ["unchanged   api"]
    more = exported.replace('"services": [', '"services": [{"name": "b", "command": "true", "secrets": {"X": null}},')
    planned = cli("service", "import", "-", "--dry-run", stdin=more)
    assert planned.lines == ["registered  b", "unchanged   api", "Nothing was done (--dry-run)."]
    assert "b has no value for X yet" in planned.err
    assert list(Service.objects.values_list("name", "secrets")) == [("api", {"KEY": SECRET})]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["show", "nobody"], 3, "there is no service 'nobody'"),
        (["logs", "nobody"], 3, "there is no service 'nobody'"),
        (["register"], 2, "it was not said what to register"),
        (["register", "nowhere.json"], 3, "there is no file"),
        (["register", "."], 2, "cannot be read"),
        (["register", "--name", "a"], 2, "there is no command"),
        (["register", "--name", "two words", "--", "true"], 2, "is not a valid name"),
        (["register", "--name", "a", "--health", "/", "--", "true"], 2, "needs a port"),
        (["register", "--name", "a", "--env", "X", "--", "true"], 2, "--env 'X' has no value"),
        (["register", "--name", "a", "--secret", "X=y", "--", "true"], 2, "does not belong on a command line"),
        (["register", "--name", "a", "--secret", "X", "--", "true"], 2, "there is no value for X"),
        (["register", "--name", "a", "--memory", "much", "--", "true"], 2, "much"),
        (["import", "nowhere.json"], 3, "there is no file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done(cli: CommandLine, words: list[str], code: int, says: str) -> None:
    said = cli("service", *words, "--json") if "--" not in words else cli("service", *words, stdin="")
    assert says in said.mistake(code)[0]
    assert not Service.objects.exists()


def test_a_mistake_in_a_file_says_where(cli: CommandLine) -> None:
    told = cli("service", "register", "-", stdin='{"name": "a",\n  comand: "true"}').mistake(2)
    assert "at line 2, column 3" in told[0]
    assert 'There: comand: "true"' in told[1]


def test_a_log_is_followed(cli: CommandLine, daemon: Daemon, tmp_path: Path) -> None:  # noqa: F811
    daemon.start()
    script = "echo begin; while [ ! -e gate ]; do sleep 0.05; done; echo end; exec sleep 600"
    cli("service", "register", "--name", "a", "--start", "--", "sh", "-c", script)
    following = cli.start("service", "logs", "a", "--follow")
    assert following.stdout is not None
    assert following.stdout.readline() == "begin\n"
    (tmp_path / "gate").touch()
    assert following.stdout.readline() == "end\n"
    following.send_signal(signal.SIGINT)
    assert following.wait(30) == 0
    assert isinstance(following, subprocess.Popen)


ONE: dict[str, Any] = {
    "name": "api", "title": "the API", "state": "unready", "since": "2026-01-01T00:00:00+00:00", "desired": "up",
    "outdated": False,
    "problem": "its readiness probe failed", "pid": 7, "port": 8080, "uptime_s": 61.0, "cpu": 12.34,
    "memory": 123 << 20, "restarts": 2, "next_start_at": None, "dependents": ["web"],
    "probes": [
        {"name": "health", "purpose": "readiness", "kind": "http", "ok": False, "coming_up": False,
         "answer": "HTTP 500", "took_ms": 3.2,
         "checked_at": "2026-01-01T00:00:00+00:00"},
        {"name": "live", "purpose": "liveness", "kind": "tcp", "ok": None, "coming_up": False,
         "answer": "", "took_ms": None,
         "checked_at": None},
    ],
    "limits": [{"name": "memory_mb", "limit": 128, "used": 123.0, "kept_by": "cgroup", "warning": True}],
    "depends_on": [{"name": "db", "condition": "healthy", "pattern": "", "met": True}],
}  # fmt: skip


def test_pictures_fit_and_say_it_all() -> None:
    listed = pictures.service_list([ONE]).splitlines()
    assert listed[0].startswith("▲ unready    api                      0/2 ok 12.3 %   123 MB")
    assert listed[0].endswith(":8080")
    assert listed[1:] == ["    its readiness probe failed", "", "1 service, 0 running"]
    page = pictures.service_page(ONE)
    for text in (
        "(the API)", "up for       1 min", "✗ health (readiness, http): 3 ms", "      HTTP 500", "not asked yet",
        "limit        memory 128 MB, 123 MB used, kept by cgroup ▲", "needs        ✓ db is ready", "needed by    web",
    ):  # fmt: skip
        assert text in page, text
    assert all(len(line) <= 80 for line in [*listed, *page.splitlines()])


def test_figures_as_bars() -> None:
    points = [[1_700_000_000 + 60 * n, n, n * 2, n << 20, n << 21] for n in range(96)]
    cpu, told, _, memory, span = pictures.figures({"seconds": 60, "points": points}).splitlines()
    assert cpu.startswith("CPU     ▁▁")
    assert cpu.endswith("█")
    assert len(cpu) == 8 + 48
    assert told.strip() == "now 95.0 %, average 47.5 %, most 190.0 %"
    assert memory.strip() == "now 95 MB, average 48 MB, most 190 MB"
    assert "a point every 1 min" in span
    assert pictures.figures({"seconds": 60, "points": []}) == "Nothing was measured in that time."
    assert [pictures.size(value) for value in (None, 5, 2048, 3 << 30)] == ["-", "5 B", "2.0 KB", "3.0 GB"]
