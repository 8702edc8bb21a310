"""The sample project of `gaia up --demo`, and what django-q2 does for environments by the clock."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from django.conf import settings
from django.utils.module_loading import import_string
from django_q.models import Schedule

from common.errors import Conflict, InvalidInput
from environments.actions.places import free_base_port
from events.models import Event
from gaia_site.demo import demo_base_port, make_demo
from gaia_site.schedules import SCHEDULES, ensure_schedules
from processes.actions.nodes import ensure_node
from processes.actions.ports import lease_ports
from tests.environments.drivers.repositories import commit, git, make_repository, snapshot_of
from tests.environments.places import Place


def test_a_real_repository_with_history(tmp_path: Path) -> None:
    path = make_demo(tmp_path / "demo" / "demo")

    assert path == tmp_path / "demo" / "demo"
    assert git(path, "log", "--format=%s", "--reverse").splitlines() == [
        "Say what this is", "Answer /health", "Keep notes in SQLite", "Test the store", "Tell GAIA how to run a stage",
        "Serve HTTPS where there is a certificate",
    ]  # fmt: skip
    assert git(path, "status", "--porcelain") == ""
    tests = subprocess.run([sys.executable, "-m", "unittest"], cwd=path, capture_output=True, text=True, check=False)
    assert tests.returncode == 0, tests.stderr
    assert [entry.name for entry in path.parent.iterdir()] == ["demo"]


def test_it_is_made_once_and_then_belongs_to_the_operator(tmp_path: Path) -> None:
    path = make_demo(tmp_path / "demo")
    own = commit(path, {"mine.txt": "mine\n"})
    (path / "README.md").write_text("changed\n")
    before = snapshot_of(path)

    make_demo(tmp_path / "demo")

    assert snapshot_of(path) == before
    assert git(path, "rev-parse", "HEAD") == own


def test_something_else_in_its_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/precious").touch()

    with pytest.raises(Conflict):
        make_demo(tmp_path / "demo")

    assert [entry.name for entry in (tmp_path / "demo").iterdir()] == ["precious"]


def test_nobodys_git_configuration_gets_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = make_repository(tmp_path / "other")
    before = git(other, "rev-parse", "HEAD")
    (tmp_path / "gitconfig").write_text(
        "[commit]\n\tgpgsign = true\n[core]\n\thooksPath = /bin\n[init]\n\tdefaultBranch = x\n"
    )
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))

    path = make_demo(tmp_path / "demo")

    monkeypatch.delenv("GIT_DIR")
    assert git(other, "rev-parse", "HEAD") == before
    assert git(path, "symbolic-ref", "--short", "HEAD") == "main"


def test_a_stage_of_it_keeps_notes_in_its_own_database(place: Place, home: object) -> None:
    source = make_demo(settings.GAIA.home.root / "demo" / "demo")
    result = place.set_up(1, source=str(source), base_port=demo_base_port(source, 1))
    path = settings.GAIA.home.root / "demo" / "demo-dev1"
    assert (result["project"], result["placeholder"]) == ("demo", [])
    try:
        launched = subprocess.run([path / "launch.sh", "qa"], capture_output=True, text=True, check=False)
        assert launched.returncode == 0, launched.stderr
        url = f"http://127.0.0.1:{place.base_port + 100}"
        note = urllib.request.Request(f"{url}/notes", b'{"text": "hello"}')  # noqa: S310  our own address
        urllib.request.urlopen(note, timeout=10).close()  # noqa: S310
        with urllib.request.urlopen(f"{url}/health", timeout=10) as answer:  # noqa: S310
            assert json.load(answer) == {"status": "ok", "stage": "qa", "notes": 1}
    finally:
        subprocess.run([path / "stop.sh", "--all"], capture_output=True, check=True)
    assert (path / "data/qa/demo.db").stat().st_size > (path / "data/dev/demo.db").stat().st_size
    assert demo_base_port(source, 1) is None


def test_it_starts_beside_anything(place: Place, tmp_path: Path) -> None:
    source = tmp_path / "demo"
    base = place.base_port
    assert demo_base_port(source, 5) == free_base_port(5) == base

    with socket.create_server(("127.0.0.1", base + 104)):
        assert demo_base_port(source, 5) == base + 300
        assert free_base_port(5) == base  # a set-up names the holder instead

    place.set_up(1)
    assert demo_base_port(source, 5) == free_base_port(5) == base + 300
    lease_ports(ensure_node(), {"somebody": base + 300 + 201})
    assert free_base_port(5) == base + 600


def test_there_is_an_end_of_ports(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.GAIA.values, "environments.base_port", 65_400)  # type: ignore[arg-type]

    with pytest.raises(InvalidInput, match="no free block of 300"):
        free_base_port(5)


# -- schedules


def test_schedules_are_made_once_and_an_operators_changes_kept(db: None, acting: str) -> None:
    ensure_schedules()
    Schedule.objects.filter(name="purge-trash").update(schedule_type=Schedule.WEEKLY)

    ensure_schedules()

    assert set(Schedule.objects.values_list("name", flat=True)) == set(SCHEDULES)
    assert Schedule.objects.get(name="purge-trash").schedule_type == Schedule.WEEKLY
    assert Event.objects.filter(kind="schedule.created").count() == len(SCHEDULES)


def test_every_schedule_names_something_that_can_be_called() -> None:
    assert all(callable(import_string(fields["func"])) for fields in SCHEDULES.values())
