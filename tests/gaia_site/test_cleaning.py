"""What was left behind: found, cleared, and nothing that lives or holds work is touched."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from environments.models import Backup, Environment
from events.models import Event
from gaia_site import cleaning
from gaia_site.doctor.checks import Depth
from gaia_site.doctor.examination import examine
from processes.actions.nodes import ensure_node
from processes.actions.operations import request_operation
from processes.drivers.liveness import identify
from processes.models import Operation, Process
from tests.environments.drivers.repositories import make_repository
from tests.environments.places import Place, free_ports
from tests.installation import Gaia


@pytest.fixture
def shop(transactional_db: None, acting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    source = make_repository(tmp_path / "code" / "shop", {"README.md": "hello\n"})
    with free_ports() as base:
        place = Place(tmp_path / "code", source, base)
        place.set_up(1, base_port=base)
        yield place


def kinds() -> list[str]:
    return sorted(left.kind for left in cleaning.leftovers())


def a_process(owner: str, pid: int) -> Process:
    """A row that says that this process runs for somebody."""
    identity = identify(os.getpid())
    assert identity is not None
    return Process.objects.create(
        node=ensure_node(), owner=owner, token=owner, argv=["true"], cwd="/", log="/dev/null", lock="/dev/null",
        journal=str(settings.GAIA.home.processes / "journal"), state="running", pid=pid,
        start_ticks=identity.start_ticks if pid == os.getpid() else 1, boot_id=identity.boot_id,
    )  # fmt: skip


def gone_pid() -> int:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def test_nothing_is_left_behind_by_what_goes_well(shop: Place) -> None:
    assert cleaning.leftovers() == []
    assert cleaning.clean() == []


def test_an_operation_whose_process_is_gone(shop: Place) -> None:
    operation = request_operation("environments.sync", "Sync", subject="project/shop", params={}, detached=True)
    Process.objects.filter(owner=operation.owner).update(state="lost", ended_at=operation.created_at)
    assert kinds() == ["operation"]
    [left] = cleaning.clean()
    assert left.what == "Sync was interrupted"
    operation.refresh_from_db()
    assert operation.state == "failed"
    assert kinds() == []


def test_one_that_runs_is_left_alone(shop: Place) -> None:
    operation = request_operation("environments.sync", "Sync", subject="project/shop", params={}, detached=False)
    with open(settings.GAIA.home.locks / f"operation-{operation.pk}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        Operation.objects.filter(pk=operation.pk).update(created_at=operation.created_at.replace(year=2020))
        assert kinds() == []
        assert cleaning.clean() == []
    assert kinds() == ["operation"]


def test_a_process_that_is_gone_and_one_that_lives(shop: Place) -> None:
    dead = a_process("service/dead", gone_pid())
    alive = a_process("service/alive", os.getpid())
    assert [left.about for left in cleaning.leftovers()] == ["service/dead"]
    cleaning.clean()
    dead.refresh_from_db()
    alive.refresh_from_db()
    assert (dead.active, alive.active) == (False, True)


def test_an_environment_in_the_making_on_which_nobody_works(shop: Place) -> None:
    Environment.objects.update(state="creating")
    assert kinds() == ["environment"]
    cleaning.clean()
    assert Environment.objects.get().problem == "its set-up was interrupted"
    shop.set_up(1, base_port=shop.base_port)
    assert Environment.objects.get().state == "ready"


def test_one_that_is_being_made_is_left_alone(shop: Place) -> None:
    Environment.objects.update(state="creating")
    request_operation("environments.setup", "Set-up", subject="project/shop", params={}, detached=True)
    assert kinds() == []


def test_half_made_clones_and_one_that_is_being_made(shop: Place) -> None:
    dead = shop.root / ".shop-dev9.gaia-partial-abcd"
    alive = shop.root / ".shop-dev8.gaia-partial-abcd"
    foreign = shop.root / ".mine.gaia-partial-abcd"
    for directory in (dead, alive, foreign):
        directory.mkdir()
        (directory / "file").write_text("half")
    (dead / "gaia-partial.json").write_text("{}")
    with open(alive / "gaia-partial.json", "w") as marker:
        fcntl.flock(marker, fcntl.LOCK_EX)
        [left] = cleaning.clean()
        assert (left.kind, str(dead) in left.what) == ("directory", True)
    assert not dead.exists()
    assert (alive / "file").exists()
    assert (foreign / "file").exists(), "without the mark it is somebody else's"
    [told] = Event.objects.filter(kind="directory.half_made_removed")
    assert told.data["path"] == str(dead)


def test_a_backup_that_was_interrupted(shop: Place) -> None:
    backup = Backup.objects.create(
        stage=shop.stage(1, "qa"), name="shop-dev1-qa-20250101T000000Z", reason="test", path="/nowhere"
    )
    assert kinds() == ["backup"]
    cleaning.clean()
    backup.refresh_from_db()
    assert backup.state == "failed"


def test_locks_of_operations_that_are_over(shop: Place) -> None:
    stale = settings.GAIA.home.locks / "operation-99999.lock"
    stale.touch()
    other = settings.GAIA.home.locks / "project-shop.lock"
    other.touch()
    assert kinds() == ["lock"]
    cleaning.clean()
    assert (stale.exists(), other.exists()) == (False, True)


@pytest.mark.usefixtures("own_port")
def test_the_doctor_finds_it_and_a_clean_start_clears_it(gaia: Gaia, acting: str) -> None:
    """What is left behind, and the printed fix: `gaia up --clean --detach`."""
    operation = request_operation("environments.sync", "Sync", subject="project/shop", params={}, detached=True)
    Process.objects.filter(owner=operation.owner).update(state="lost", ended_at=operation.created_at)
    a_process("service/dead", gone_pid())
    half_made = settings.GAIA.home.hubs / ".shop.git.gaia-partial-abcd"
    half_made.mkdir(parents=True)
    (half_made / "gaia-partial.json").write_text("{}")
    (settings.GAIA.home.locks / "operation-99999.lock").touch()

    found = [each for each in examine(Depth.VERIFY)["findings"] if each["key"].startswith("leftovers.")]
    assert len(found) == 4
    assert {each["fix"] for each in found} == {"gaia up --clean --detach"}

    said = gaia.up("--clean")
    assert sorted(each["kind"] for each in said["cleared"]) == ["directory", "lock", "operation", "process"]
    assert said["findings"] == []
    assert [each for each in examine(Depth.VERIFY)["findings"] if each["key"].startswith("leftovers.")] == []
    again = json.loads(gaia("up", "--clean", "--detach", "--json"))
    assert (again["cleared"], again["url"]) == ([], said["url"])
    gaia("down", "--all")
