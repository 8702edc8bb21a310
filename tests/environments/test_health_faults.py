"""Faults that are really there, planted one at a time: the verdict names each, and when it is mended says so.

A dead session is planted in tests/sessions/test_health.py, where real tmux is.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from environments.actions import health, https, stages
from environments.drivers import checks_stages
from environments.health_overview import health_of_all, overall
from environments.models import Environment
from environments.reconcile import look_at_stages
from events.models import Event
from gaia_site.cli.arguments import build_parser
from processes.actions.nodes import ensure_node
from tests.environments.drivers.repositories import commit, git
from tests.environments.places import Place, until
from tests.environments.tls import serve_tls


@pytest.fixture
def shop(place: Place) -> Environment:
    """One environment, which is well."""
    place.ready(1)
    environment = place.environment(1)
    assert health.monitor([environment])[0].verdict == "ok", seen(environment)
    return environment


def seen(environment: Environment) -> list[dict[str, Any]]:
    """What is on record against it after a look."""
    [row] = health.monitor([environment])
    return [each for each in row.findings if each["verdict"] != "ok"]


def names_only(environment: Environment, key: str, verdict: str) -> dict[str, Any]:
    """The one thing that is seen, which must be this; the event and the overall verdict name it."""
    found = seen(environment)
    assert [(each["key"], each["verdict"]) for each in found] == [(key, verdict)], found
    [fault] = found
    assert fault["meaning"]
    assert fault["fix"]
    for command in re.split(r" && |, or ", fault["fix"]):
        if command.startswith("gaia "):
            build_parser().parse_args(shlex.split(command)[1:])  # it raises InvalidInput for one there is not
    told = Event.objects.filter(kind="environment.health").latest("id")
    assert fault["what"] in told.message
    assert (told.subject, told.level) == (environment.key, "error" if verdict == "failed" else "warning")
    assert told.data["findings"][0]["key"] == key
    whole = overall(health_of_all())
    assert (whole["verdict"], fault["what"] in whole["reason"]) == (verdict, True)
    return fault


def is_well_again(environment: Environment) -> None:
    assert seen(environment) == []
    told = Event.objects.filter(kind="environment.health").latest("id")
    assert told.message == f"{environment.directory} is healthy again"
    assert overall(health_of_all())["reason"] == "The environment is healthy"


def test_a_script_and_then_the_whole_checkout_deleted(place: Place, shop: Environment) -> None:
    (place.path(1) / "launch.sh").unlink()
    fault = names_only(shop, "directory.incomplete", "failed")
    assert fault["what"] == "launch.sh of shop-dev1 is missing"
    assert fault["fix"] == "gaia env setup --project shop"
    place.ready(1)
    is_well_again(shop)

    shutil.rmtree(place.path(1))
    fault = names_only(shop, "directory.missing", "failed")
    assert str(place.path(1)) in fault["what"]
    place.set_up(1)
    shop.refresh_from_db()
    is_well_again(shop)


def test_another_directory_in_its_place(place: Place, shop: Environment) -> None:
    path, aside = place.path(1), place.root / "aside"
    path.rename(aside)
    git(place.root, "clone", "-q", place.source, path)
    assert seen(shop)[0]["key"] == "directory.foreign"
    shutil.rmtree(path)
    path.mkdir()
    assert [each["key"] for each in seen(shop)] == ["directory.not-a-checkout"]
    path.rmdir()
    path.write_text("a file")
    assert [each["key"] for each in seen(shop)] == ["directory.missing"]
    path.unlink()
    aside.rename(path)
    is_well_again(shop)
    if os.geteuid() != 0:  # root may write anywhere
        path.chmod(0o500)
        assert seen(shop)[0]["key"] == "directory.barred"
        path.chmod(0o700)
        is_well_again(shop)


def test_git_broken(place: Place, shop: Environment) -> None:
    head = place.path(1) / ".git/HEAD"
    before = head.read_text()
    head.write_text("nonsense\n")
    fault = names_only(shop, "git.unusable", "failed")
    assert fault["what"].startswith("git cannot be used in shop-dev1: ")
    head.write_text(before)
    is_well_again(shop)


def test_a_conflict_and_a_rebase_under_way(place: Place, shop: Environment) -> None:
    path = place.path(1)
    git(path, "switch", "-q", "-c", "other")
    commit(path, {"README.md": "theirs\n"}, "theirs")
    git(path, "switch", "-q", "env/dev1")
    commit(path, {"README.md": "ours\n"}, "ours")
    git(path, "merge", "-q", "other", check=False)
    fault = names_only(shop, "git.conflicts", "warning")
    assert fault["what"] == "1 file is in conflict in shop-dev1: README.md"
    assert fault["fix"] == "gaia env git continue shop-dev1, or gaia env git abort shop-dev1"
    git(path, "merge", "--abort")
    is_well_again(shop)

    git(path, "rebase", "--exec", "false", "HEAD~1", check=False)
    assert names_only(shop, "git.under-way", "warning")["what"] == "a rebase is under way in shop-dev1"
    git(path, "rebase", "--abort")
    is_well_again(shop)


def test_a_detached_head_and_a_lock_left_behind(place: Place, shop: Environment) -> None:
    path = place.path(1)
    git(path, "switch", "-q", "--detach")
    fault = names_only(shop, "git.detached", "warning")
    mend(fault["fix"])
    is_well_again(shop)

    lock = path / ".git/index.lock"
    lock.touch()
    os.utime(lock, (0, 0))
    fault = names_only(shop, "git.lock", "warning")
    assert ".git/index.lock of shop-dev1" in fault["what"]
    mend(fault["fix"])
    is_well_again(shop)


def test_too_far_behind(place: Place, shop: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.GAIA.values, "health.behind", 1)  # type: ignore[arg-type]
    for number in range(2):
        commit(place.source, {f"{number}.txt": "new\n"}, "new")
    place.ready(1)
    fault = names_only(shop, "git.behind", "warning")
    assert fault["what"] == "shop-dev1 is 2 commits behind origin/main"
    git(place.path(1), "merge", "-q", "origin/main")
    is_well_again(shop)


def test_old_uncommitted_work_is_a_note(place: Place, shop: Environment) -> None:
    file = place.path(1) / "README.md"
    file.write_text("half done\n")
    assert notes(shop) == []
    eight_days_ago = time.time() - 8 * 86_400
    os.utime(file, (eight_days_ago, eight_days_ago))
    assert notes(shop) == ["uncommitted work lies in shop-dev1 since 8 days"]
    assert seen(shop) == []


def notes(environment: Environment) -> list[str]:
    [row] = health.monitor([environment])
    return [each["what"] for each in row.findings if each["note"]]


def test_the_hub_gone_and_another_origin(place: Place, shop: Environment) -> None:
    hub = shop.project.hub
    hub.rename(hub.with_suffix(".away"))
    names_only(shop, "hub.missing", "failed")
    hub.with_suffix(".away").rename(hub)
    is_well_again(shop)

    git(place.path(1), "remote", "set-url", "origin", place.source)
    mend(names_only(shop, "hub.origin", "warning")["fix"])
    is_well_again(shop)


def test_a_stage_killed(place: Place, shop: Environment) -> None:
    process = stages.launch_by_script(place.stage(1, "dev"))
    assert seen(shop) == []
    os.killpg(process.pid, signal.SIGKILL)
    until(lambda: seen(shop))
    fault = names_only(shop, "stages.died/dev", "failed")
    assert fault["what"] == "stage dev of shop-dev1 died: its process is gone"
    assert fault["fix"] == "gaia env launch shop-dev1 dev"
    look_at_stages(ensure_node())  # when somebody has written its end down, it is the same fault, and no second event
    [again] = seen(shop)
    assert (again["key"], again["what"] != fault["what"]) == (fault["key"], True)
    assert Event.objects.filter(kind="environment.health", data__verdict="failed").count() == 1
    stages.launch_by_script(place.stage(1, "dev"))
    is_well_again(shop)


def test_a_stage_that_hangs(place: Place, shop: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    process = stages.launch_by_script(place.stage(1, "dev"))
    os.killpg(process.pid, signal.SIGSTOP)  # it was launched a moment ago, so that is no fault yet
    assert notes(shop) == ["stage dev of shop-dev1 is coming up and does not answer yet"]
    monkeypatch.setattr(checks_stages, "COMING_UP_S", 0.0)
    fault = names_only(shop, "stages.silent/dev", "failed")
    assert "/health does not answer 200" in fault["what"]
    os.killpg(process.pid, signal.SIGCONT)
    is_well_again(shop)


def test_a_stage_is_asked_over_https_when_it_serves_that(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_tls(place)
    place.ready(1)
    monkeypatch.setattr(checks_stages, "COMING_UP_S", 0.0)
    shop, stage = place.environment(1), place.stage(1, "dev")
    https.switch([stage], True)
    stages.launch_by_script(place.stage(1, "dev"))
    assert seen(shop) == []
    (settings.GAIA.home.ca / "ca.pem").unlink()
    assert [each["key"] for each in seen(shop)] == ["stages.silent/dev"], "it was vouched for, and is not any more"


def test_a_database_damaged(place: Place, shop: Environment) -> None:
    file = place.path(1) / "data/qa/shop.db"
    before = file.read_bytes()
    filled(file)
    assert seen(shop) == []
    whole = file.read_bytes()
    torn = bytearray(whole)
    torn[4096 * 2 : 4096 * 2 + 512] = os.urandom(512)
    file.write_bytes(torn)
    fault = names_only(shop, "databases.damaged/qa", "failed")
    assert fault["what"] == "the database of stage qa of shop-dev1 is damaged"
    assert fault["fix"] == "gaia env repair-database shop-dev1 qa"
    file.write_bytes(b"this was a database once" * 400)
    assert seen(shop)[0]["key"] == "databases.damaged/qa"
    file.write_bytes(before)
    is_well_again(shop)


def filled(file: Path) -> None:
    """Some pages of rows and an index, all of it in the file itself."""
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT)")
        database.executemany("INSERT INTO note (text) VALUES (?)", [("x" * 200,) for _ in range(200)])
        database.execute("CREATE INDEX by_text ON note (text, id)")


def test_a_database_missing(place: Place, shop: Environment) -> None:
    (place.path(1) / "data/dev/shop.db").unlink()
    names_only(shop, "databases.missing/dev", "warning")
    stages.launch_by_script(place.stage(1, "qa"))
    (place.path(1) / "data/qa/shop.db").unlink()
    assert [(each["key"], each["verdict"]) for each in seen(shop)] == [
        ("databases.missing/qa", "failed"),  # what the stage writes now is lost
        ("databases.missing/dev", "warning"),
    ]
    place.ready(1)
    is_well_again(shop)


def test_a_database_that_leads_out_is_not_opened(place: Place, shop: Environment, tmp_path: Path) -> None:
    file = place.path(1) / "data/dev/shop.db"
    file.unlink()
    elsewhere = tmp_path / "elsewhere.db"
    filled(elsewhere)
    file.symlink_to(elsewhere)
    names_only(shop, "databases.leads-out/dev", "failed")
    file.unlink()
    os.mkfifo(file)
    names_only(shop, "databases.no-file/dev", "failed")
    file.unlink()
    place.ready(1)
    is_well_again(shop)


def test_a_database_that_grows_without_end(place: Place, shop: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.GAIA.values, "health.growth_mb", 1)  # type: ignore[arg-type]
    with closing(sqlite3.connect(place.path(1) / "data/dev/shop.db")) as database, database:
        database.execute("CREATE TABLE log (text TEXT)")
        database.executemany("INSERT INTO log VALUES (?)", [("x" * 100_000,) for _ in range(20)])
    fault = names_only(shop, "databases.growing/dev", "warning")
    assert "grew by 1.9 MB within a day" in fault["what"]
    monkeypatch.setitem(settings.GAIA.values, "health.growth_mb", 100)  # type: ignore[arg-type]
    is_well_again(shop)


def test_a_database_too_large_to_be_looked_through_says_so(
    place: Place, shop: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.GAIA.values, "health.database_mb", 0)  # type: ignore[arg-type]
    filled(place.path(1) / "data/dev/shop.db")
    assert any("is not looked through for damage" in note for note in notes(shop))


def test_the_disk_nearly_full(shop: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 10**9  # megabytes, which no disk has
    monkeypatch.setitem(settings.GAIA.values, "health.disk_warning_mb", most)  # type: ignore[arg-type]
    fault = names_only(shop, "disk.space", "warning")
    assert "are free on the file system of" in fault["what"]
    monkeypatch.setitem(settings.GAIA.values, "health.disk_failed_mb", most)  # type: ignore[arg-type]
    names_only(shop, "disk.space", "failed")
    for key in ("warning", "failed"):
        monkeypatch.setitem(settings.GAIA.values, f"health.disk_{key}_mb", 0)  # type: ignore[arg-type]
    is_well_again(shop)


def test_a_port_taken_by_a_stranger(place: Place, shop: Environment) -> None:
    stage = place.stage(1, "qa")
    with stranger(stage.port) as pid:
        fault = names_only(shop, "ports.taken/qa", "warning")
        assert fault["what"].startswith(f"port {stage.port} of stage qa of shop-dev1 is taken by python")
        assert f"(pid {pid})" in fault["what"]
        assert fault["fix"] == f"kill {pid}"
    is_well_again(shop)


def test_a_stranger_on_the_port_of_a_stage_that_runs(place: Place, shop: Environment) -> None:
    stage = place.stage(1, "dev")
    (place.path(1) / "gaia.yaml").write_text("command: exec sleep 600\n")
    place.ready(1)  # which takes it over: a program that wants the port might have it before the stranger
    process = subprocess.Popen([place.path(1) / "launch.sh", "dev"], cwd=place.path(1), stdout=subprocess.DEVNULL)
    until(lambda: stages.notice_scripts(stage))
    with stranger(stage.port) as pid:
        process.kill()
        process.wait()
        found = {each["key"]: each for each in seen(shop)}
        assert found["ports.foreign/dev"]["verdict"] == "failed"
        assert f"(pid {pid})" in found["ports.foreign/dev"]["what"]
    assert "ports.foreign/dev" not in {each["key"] for each in seen(shop)}


@contextmanager
def stranger(port: int) -> Iterator[int]:
    """A program that is none of GAIA's and listens on a port; its pid."""
    program = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", program, str(port)], start_new_session=True)
    try:
        until(lambda: _is_listened_on(port), "the stranger")
        yield process.pid
    finally:
        process.kill()
        process.wait()


def _is_listened_on(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_several_faults_at_once_are_told_worst_first(place: Place, shop: Environment) -> None:
    git(place.path(1), "switch", "-q", "--detach")
    (place.path(1) / "stop.sh").unlink()
    found = seen(shop)
    assert [each["key"] for each in found] == ["directory.incomplete", "git.detached"]
    assert health_of_all()[0]["reason"] == "stop.sh of shop-dev1 is missing (and 1 more)"


def mend(command: str) -> None:
    """Do what the fix says, in a shell."""
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
