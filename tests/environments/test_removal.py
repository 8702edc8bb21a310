"""Removing environments: nothing that was not pushed is lost, what worked in them ends, what they had is given back."""

from __future__ import annotations

import datetime
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import time_machine
from django.conf import settings

from environments.actions.salvages import list_salvages
from environments.actions.setup import request_clean
from environments.jobs import purge
from environments.models import Environment
from environments.signals import environment_removing
from environments.states import EnvironmentState
from events.models import Event
from processes.actions.operations import request_cancel, run_operation
from processes.drivers.liveness import identify
from processes.models import Operation, PortLease
from processes.states import OperationState, ProcessState
from projects.actions import find
from tests.environments.drivers.repositories import commit, git, make_repository, snapshot_of
from tests.environments.places import Place, processes_of, until


def work_in(path: Path) -> dict[str, str]:
    """A commit that nobody has, a staged, an uncommitted and an untracked file; what `files_of` says of it."""
    commit(path, {"committed.txt": "in a commit\n"}, "unpushed")
    (path / "staged.txt").write_text("staged\n")
    git(path, "add", "staged.txt")
    (path / "README.md").write_text("changed\n")
    (path / "notes").mkdir()
    (path / "notes/untracked.txt").write_text("nobody knows it\n")
    return files_of(path)


def files_of(path: Path) -> dict[str, str]:
    """What git says of a checkout, and what its files hold."""
    names = git(path, "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    found = {name: (path / name).read_text() for name in names}
    return {**found, "HEAD": git(path, "log", "-1", "--format=%H %s"), "status": git(path, "status", "--porcelain")}


def run_in_sh(command: str, directory: Path) -> None:
    """Run what was printed in a plain shell."""
    done = subprocess.run(["sh", "-c", command], cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# -- bringing work back


def test_the_printed_command_brings_everything_back(place: Place, tmp_path: Path) -> None:
    place.set_up(2)
    before = work_in(place.path(1))

    said = place.gaia("env", "clean")

    assert said.code == 0, said.err
    assert not place.path(1).exists()
    lines = said.out.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("    (set -e"))
    last = next(number for number, line in enumerate(lines) if number >= first and line.endswith(")"))
    run_in_sh("\n".join(lines[first : last + 1]), tmp_path)
    assert files_of(place.path(1)) == before
    assert "shop-dev2: it had no work that the hub does not have" in said.out
    # what the command made is an environment again
    assert place.set_up(2)["created"] == ["dev2"]
    assert files_of(place.path(1)) == before


def test_gaia_brings_everything_back(place: Place) -> None:
    place.set_up(1)
    before = work_in(place.path(1))
    place.clean()
    place.set_up(1)

    listed = place.gaia("env", "restore")
    name = listed.out.split()[0]
    said = place.gaia("env", "restore", name)

    assert listed.code == said.code == 0
    assert name.startswith("shop-dev1-")
    assert "heads/env/dev1, worktree" in listed.out
    assert files_of(place.path(1)) == before
    assert Event.objects.filter(kind="salvage.restored", subject="project/shop").count() == 1


def test_the_command_works_in_an_environment_that_was_made_again(place: Place, tmp_path: Path) -> None:
    place.set_up(1)
    before = work_in(place.path(1))
    [removed] = place.clean()
    place.set_up(1)

    run_in_sh(removed["salvage"]["restore_command"], tmp_path)

    assert files_of(place.path(1)) == before


def test_a_detached_head_and_a_stash(place: Place, tmp_path: Path) -> None:
    place.set_up(1)
    path = place.path(1)
    (path / "README.md").write_text("for later\n")
    git(path, "stash", "push", "-q", "-m", "later")
    git(path, "checkout", "-q", "--detach")
    detached = commit(path, {"lone.txt": "on no branch\n"})

    [removed] = place.clean()
    run_in_sh(removed["salvage"]["restore_command"], tmp_path)

    assert git(path, "rev-parse", "HEAD") == detached
    assert git(path, "show", "stash@{0}:README.md") == "for later"


def test_restoring_is_refused_where_work_could_get_mixed_up(place: Place) -> None:
    place.set_up(1)
    work_in(place.path(1))
    [removed] = place.clean()
    name = removed["salvage"]["name"]

    gone = place.gaia("env", "restore", name)
    place.set_up(1)
    (place.path(1) / "README.md").write_text("new work\n")
    dirty = place.gaia("env", "restore", name)
    unknown = place.gaia("env", "restore", "shop-dev1-20000101T000000Z")
    nowhere = place.gaia("env", "restore", name, "--into", "nowhere")

    assert (gone.code, dirty.code, unknown.code, nowhere.code) == (3, 4, 3, 2)
    assert "gaia env setup" in gone.err
    assert "uncommitted work" in dirty.err
    assert "gaia env restore lists them" in unknown.err
    assert "nowhere is not a directory" in nowhere.err
    assert (place.path(1) / "README.md").read_text() == "new work\n"


def test_salvages_outlive_everything(place: Place) -> None:
    place.set_up(1)
    work_in(place.path(1))
    [first] = place.clean()
    refs = first["salvage"]["refs"]
    place.set_up(1)
    commit(place.source, {"new.txt": "the source moves on\n"})
    place.set_up(1)
    work_in(place.path(1))
    [second] = place.clean()

    hub = settings.GAIA.home.hubs / "shop.git"
    listed = list_salvages()
    assert [each["name"] for each in listed] == sorted([first["salvage"]["name"], second["salvage"]["name"]])
    assert listed[0]["restore_command"] == first["salvage"]["restore_command"]
    for ref, sha in refs.items():
        assert git(hub, "rev-parse", f"refs/salvage/{first['salvage']['name']}/{ref}") == sha


def test_a_checkout_deleted_by_hand_does_not_touch_what_was_salvaged(place: Place) -> None:
    place.set_up(1)
    work_in(place.path(1))
    place.clean()
    place.set_up(1)
    before = git(settings.GAIA.home.hubs / "shop.git", "for-each-ref", "refs/salvage")
    subprocess.run(["rm", "-rf", place.path(1)], check=True)

    assert place.set_up(1)["created"] == ["dev1"]

    assert before
    assert git(settings.GAIA.home.hubs / "shop.git", "for-each-ref", "refs/salvage") == before


# -- what goes with an environment


def test_what_it_had_is_given_back(place: Place) -> None:
    place.set_up(2)
    tree = {name: facts[3] for name, facts in snapshot_of(place.path(1)).items() if name == "README.md"}

    [removed] = place.clean("dev1")

    assert removed["name"] == "shop-dev1"
    assert Environment.objects.get(name="dev1").state == EnvironmentState.REMOVED
    assert Environment.objects.get(name="dev1").removed_at is not None
    assert place.environment(2).state == EnvironmentState.READY
    assert sorted(PortLease.objects.values_list("port", flat=True)) == [
        place.base_port + offset + 1 for offset in (0, 100, 200)
    ]
    trash = Path(removed["trash"])
    assert trash.parent == settings.GAIA.home.trash
    assert snapshot_of(trash)["README.md"][3] == tree["README.md"]
    exported = (settings.GAIA.home.data / "environments.json").read_text()
    assert "shop-dev1" not in exported
    assert "shop-dev2" in exported
    kinds = list(Event.objects.filter(subject="environment/shop-dev1").order_by("id").values_list("kind", flat=True))
    assert kinds[-2:] == ["ports.released", "environment.removed"]


def test_clean_of_all_and_again_of_none(place: Place) -> None:
    place.set_up(3)

    first, second = place.gaia("env", "clean"), place.gaia("env", "clean")

    assert first.code == second.code == 0
    assert first.out.startswith("3 environments removed.\n")
    assert second.out == "There was nothing to remove.\n"
    assert not any(place.path(number).exists() for number in (1, 2, 3))


def test_running_stages_end_whoever_launched_them(place: Place) -> None:
    place.set_up(1)
    assert place.gaia("env", "launch", "dev1", "qa").code == 0
    # by its script, and nobody has looked since
    subprocess.run([place.path(1) / "launch.sh", "dev"], check=True, capture_output=True)

    said = place.gaia("env", "clean", "dev1")

    assert said.code == 0, said.err
    for name in ("dev", "qa"):
        [process] = processes_of(f"environment/shop-dev1/{name}")
        assert process.state == ProcessState.EXITED
        assert process.pid is not None
        assert identify(process.pid) is None


def test_those_above_hear_of_it_while_the_checkout_is_there(place: Place) -> None:
    place.set_up(1)
    heard: list[tuple[str, bool]] = []

    def hear(environment: Environment, **_: object) -> None:
        heard.append((environment.directory, Path(environment.path).exists()))

    environment_removing.connect(hear)
    try:
        place.clean("dev1")
    finally:
        environment_removing.disconnect(hear)

    assert heard == [("shop-dev1", True)]


def test_a_stage_that_is_launched_at_the_last_moment_ends_too(place: Place) -> None:
    place.set_up(1)
    launched: list[int] = []

    def launch_late(environment: Environment, **_: object) -> None:
        """As an agent does that is about to be ended."""
        done = subprocess.run([place.path(1) / "launch.sh", "staging"], capture_output=True, check=False)
        launched.append(done.returncode)

    environment_removing.connect(launch_late)
    try:
        place.clean("dev1")
    finally:
        environment_removing.disconnect(launch_late)

    assert launched == [0]
    [process] = processes_of("environment/shop-dev1/staging")
    assert process.pid is not None
    assert identify(process.pid) is None


def test_nobody_launches_a_stage_while_its_work_is_salvaged(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.set_up(1)
    commit(place.path(1), {"mine.txt": "mine\n"})
    wrapper, answer = tmp_path / "bin/git", tmp_path / "answer"
    wrapper.parent.mkdir()
    wrapper.write_text(
        f'#!/bin/sh\ncase "$*" in *" push "*) {place.path(1)}/launch.sh dev >{answer} 2>&1; echo $? >>{answer};; esac\n'
        f'PATH={os.environ["PATH"]} exec git "$@"\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")

    place.clean("dev1")

    assert answer.read_text().splitlines()[-1] == "4"
    assert processes_of("environment/shop-dev1/dev") == []


# -- when it cannot be removed


def test_what_cannot_be_salvaged_is_not_removed(place: Place) -> None:
    place.set_up(3)
    before = work_in(place.path(2))
    (settings.GAIA.home.hubs / "shop.git/refs/salvage").write_text("in the way")

    said = place.gaia("env", "clean")

    assert said.code == 6, said
    assert "1 of 3 environments could not be removed; dev2: " in said.err
    assert "They are where they were." in said.err
    # those that had nothing to salvage are gone, and that is said
    assert said.out.startswith("2 environments removed.\n")
    assert "shop-dev1: it had no work" in said.out
    assert files_of(place.path(2)) == before
    environment = place.environment(2)
    assert environment.state == EnvironmentState.DAMAGED
    assert environment.problem.startswith("it was not removed: ")
    assert PortLease.objects.count() == 3
    (settings.GAIA.home.hubs / "shop.git/refs/salvage").unlink()
    assert place.set_up(3)["repaired"].keys() == {"dev2"}
    assert [removed["name"] for removed in place.clean("dev2")] == ["shop-dev2"]


def test_somebody_above_who_fails_keeps_it_where_it_is(place: Place) -> None:
    place.set_up(1)

    def refuse(environment: Environment, **_: object) -> None:
        raise PermissionError(13, "Permission denied", environment.path)

    environment_removing.connect(refuse)
    try:
        done = run_operation(request_clean(find("shop"), detached=False).pk)
    finally:
        environment_removing.disconnect(refuse)

    assert done.state == OperationState.FAILED
    assert place.environment(1).state == EnvironmentState.DAMAGED
    assert place.path(1).is_dir()


def test_what_somebody_put_in_its_place_is_left_alone(place: Place) -> None:
    place.set_up(1)
    subprocess.run(["rm", "-rf", place.path(1)], check=True)
    make_repository(place.path(1), {"precious.txt": "mine\n"})
    before = snapshot_of(place.path(1))

    [removed] = place.clean("dev1")

    assert removed["left"] is True
    assert removed["trash"] is None
    assert snapshot_of(place.path(1)) == before
    assert Environment.objects.get().state == EnvironmentState.REMOVED


def test_a_checkout_that_is_gone_can_be_removed(place: Place) -> None:
    place.set_up(1)
    subprocess.run(["rm", "-rf", place.path(1)], check=True)

    [removed] = place.clean("dev1")

    assert (removed["trash"], removed["salvage"], removed["left"]) == (None, None, False)
    assert not PortLease.objects.exists()


def test_a_removal_that_was_killed_after_the_trash_is_finished(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.set_up(1)
    before = work_in(place.path(1))
    monkeypatch.setattr("environments.actions.record.record_removed", _killed)
    with pytest.raises(KeyboardInterrupt):
        run_operation(request_clean(find("shop"), detached=False).pk)
    monkeypatch.undo()
    assert not place.path(1).exists()
    assert place.environment(1).state == EnvironmentState.REMOVING

    [removed] = place.clean("dev1")

    run_in_sh(removed["salvage"]["restore_command"], place.root)
    assert files_of(place.path(1)) == before


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_removal_that_was_interrupted_can_be_undone_by_set_up(place: Place) -> None:
    place.set_up(1)
    Environment.objects.update(state=EnvironmentState.REMOVING)

    result = place.set_up(1)

    assert result["created"] == []
    assert place.environment(1).state == EnvironmentState.READY


def test_a_cancelled_removal_tells_what_was_removed(place: Place) -> None:
    place.set_up(3)
    work_in(place.path(1))
    operation = request_clean(find("shop"), detached=False)

    def cancel_after_the_first(running: Operation) -> None:
        if running.done == 1:
            request_cancel(Operation.objects.get(pk=operation.pk))

    done = run_operation(operation.pk, cancel_after_the_first)

    assert done.state == OperationState.CANCELLED
    assert done.error is not None
    removed = done.error["detail"]["removed"]
    assert [each["name"] for each in removed] == ["shop-dev1"]
    assert removed[0]["salvage"]["restore_command"]
    assert place.environment(2).state == place.environment(3).state == EnvironmentState.READY


# -- the trash


@pytest.fixture
def removed_at() -> Iterator[datetime.datetime]:
    """Everything is removed at this moment."""
    moment = datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.UTC)
    with time_machine.travel(moment, tick=True):
        yield moment


def test_the_trash_is_purged_after_seven_days(place: Place, removed_at: datetime.datetime) -> None:
    place.set_up(1)
    [removed] = place.clean()
    trash = Path(removed["trash"])
    (settings.GAIA.home.trash / "somebody's").mkdir()

    with time_machine.travel(removed_at + datetime.timedelta(days=6, hours=23)):
        assert purge() == 0
        assert trash.is_dir()
    with time_machine.travel(removed_at + datetime.timedelta(days=7, hours=1)):
        assert purge() == 1
        assert purge() == 0

    assert not trash.exists()
    assert (settings.GAIA.home.trash / "somebody's").is_dir()
    [event] = Event.objects.filter(kind="trash.purged")
    assert (event.actor, event.data) == ("jobs:purge-trash", {"purged": [str(trash)]})


def test_what_cannot_be_purged_does_not_keep_the_rest(
    place: Place, removed_at: datetime.datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.set_up(2)
    stuck, other = (Path(removed["trash"]) for removed in place.clean())
    rmdir = os.rmdir

    def busy(path: str, **options: object) -> None:
        """As when a disk is mounted there."""
        if str(path) == str(stuck):
            raise OSError(errno.EBUSY, "Device or resource busy", str(path))
        rmdir(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rmdir", busy)
    with time_machine.travel(removed_at + datetime.timedelta(days=8)):
        assert purge() == 1

    assert not other.exists()
    assert stuck.is_dir()
    told = Event.objects.get(kind="trash.stuck")
    assert (told.level, told.data) == ("error", {"path": str(stuck)})
    assert "Device or resource busy" in told.message


def test_the_days_in_the_trash_are_a_setting(
    place: Place, removed_at: datetime.datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.GAIA.values, "environments.trash_days", 1)  # type: ignore[arg-type]
    place.set_up(1)
    place.clean()

    with time_machine.travel(removed_at + datetime.timedelta(days=1, hours=1)):
        assert purge() == 1


def test_a_daemon_removes_too(place: Place, start_daemon: object) -> None:
    assert callable(start_daemon)
    place.set_up(1)
    before = work_in(place.path(1))
    start_daemon()

    said = place.gaia("env", "clean", "dev1", "--json")

    assert said.code == 0, said.err
    [removed] = said.data["removed"]
    until(lambda: not place.path(1).exists(), "its removal")
    run_in_sh(removed["salvage"]["restore_command"], place.root)
    assert files_of(place.path(1)) == before
    assert os.listdir(settings.GAIA.home.trash) == [Path(removed["trash"]).name]


def test_sessions_that_work_in_it_end_and_others_go_on(place: Place) -> None:
    place.set_up(2)
    name = settings.GAIA.home.tmux_socket_name
    try:
        for number in (1, 2):
            made = place.gaia("session", "create", f"worker{number}", "--environment", f"dev{number}")
            assert made.code == 0, made.err

        said = place.gaia("env", "clean", "dev1")

        assert said.code == 0, said.err
        listed = subprocess.run(
            ["tmux", "-L", name, "list-sessions", "-F", "#{session_name}"], capture_output=True, text=True, check=True
        )
        assert listed.stdout.split() == ["worker2"]
    finally:
        subprocess.run(["tmux", "-L", name, "kill-server"], capture_output=True, check=False)
        Path(os.environ.get("TMUX_TMPDIR", "/tmp"), f"tmux-{os.getuid()}", name).unlink(missing_ok=True)
