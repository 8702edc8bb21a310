"""Removing environments: nothing that was not pushed is lost, what worked in them ends, what they had is given back."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from django.conf import settings

from environments.actions.setup import request_clean
from environments.models import Environment
from environments.signals import environment_removing
from environments.states import EnvironmentState
from events.models import Event
from processes.actions.operations import request_cancel, run_operation
from processes.drivers.liveness import identify
from processes.models import Operation, PortLease
from processes.states import OperationState, ProcessState
from projects.actions import find
from tests.environments.drivers.repositories import commit, make_repository, snapshot_of
from tests.environments.places import Place, processes_of, until
from tests.environments.work import files_of, run_in_sh, work_in

# -- what goes with an environment


def test_what_it_had_is_given_back(place: Place) -> None:
    place.ready(2)
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
    place.ready(3)

    first, second = place.gaia("env", "clean"), place.gaia("env", "clean")

    assert first.code == second.code == 0
    assert first.out.startswith("3 environments removed.\n")
    assert second.out == "There was nothing to remove.\n"
    assert not any(place.path(number).exists() for number in (1, 2, 3))


def test_running_stages_end_whoever_launched_them(place: Place) -> None:
    place.ready(1)
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
    place.ready(1)
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
    place.ready(1)
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
    place.ready(1)
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
    place.ready(3)
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
    place.ready(1)

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
    place.ready(1)
    subprocess.run(["rm", "-rf", place.path(1)], check=True)
    make_repository(place.path(1), {"precious.txt": "mine\n"})
    before = snapshot_of(place.path(1))

    [removed] = place.clean("dev1")

    assert removed["left"] is True
    assert removed["trash"] is None
    assert snapshot_of(place.path(1)) == before
    assert Environment.objects.get().state == EnvironmentState.REMOVED


def test_a_checkout_that_is_gone_can_be_removed(place: Place) -> None:
    place.ready(1)
    subprocess.run(["rm", "-rf", place.path(1)], check=True)

    [removed] = place.clean("dev1")

    assert (removed["trash"], removed["salvage"], removed["left"]) == (None, None, False)
    assert not PortLease.objects.exists()


def test_a_removal_that_was_killed_after_the_trash_is_finished(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.ready(1)
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
    place.ready(3)
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


def test_a_daemon_removes_too(place: Place, start_daemon: object) -> None:
    assert callable(start_daemon)
    place.ready(1)
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
    place.ready(2)
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
