"""Stages with GAIA down: the scripts do everything, and what is shown stays true."""

from __future__ import annotations

import os
import signal

import pytest

from common.errors import GaiaError
from environments.actions import stages
from environments.reconcile import look_at_stages
from processes.actions.nodes import ensure_node
from tests.environments.drivers.repositories import commit
from tests.environments.places import Place, processes_of, until
from tests.environments.stages import QA, mend_command, pid_by_script, script, shown


def test_gaia_down_and_everything_by_scripts(place: Place) -> None:
    place.ready(1)
    stage = place.stage(1, "qa")

    launched = place.gaia("env", "launch", "dev1", "qa")
    pid = pid_by_script(stage)
    again = place.gaia("env", "launch", "dev1", "qa")
    listed = place.gaia("env", "list", "--json")

    assert launched.out == f"shop-dev1 qa runs at {stage.url} (pid {pid})\n"
    assert (again.code, f"already runs (pid {pid})" in again.err) == (4, True)
    assert [(one["state"], one["pid"]) for one in listed.data[0]["stages"]] == [
        ("stopped", None), ("running", pid), ("stopped", None),
    ]  # fmt: skip
    assert place.gaia("env", "stop", "dev1", "qa").out == "shop-dev1 qa is stopped\n"
    assert shown(stage)["state"] == "stopped"


def test_a_stage_that_dies_by_its_script_says_why(place: Place) -> None:
    place.ready(1)
    mend_command(place, "echo the database is on fire >&2; exit 3")
    place.set_up(1)

    said = place.gaia("env", "launch", "dev1", "qa")

    assert said.code == 1, said
    assert "stage qa of shop-dev1 did not start" in said.err
    assert "the database is on fire" in said.err


def test_the_list_is_true_without_a_daemon(place: Place) -> None:
    place.ready(1)
    qa, staging = place.stage(1, "qa"), place.stage(1, "staging")
    script(qa, "launch.sh", "qa")
    script(staging, "launch.sh", "staging")
    look_at_stages(ensure_node())
    assert [shown(stage)["state"] for stage in (qa, staging)] == ["running", "running"]

    script(qa, "stop.sh", "qa")
    os.killpg(pid_by_script(staging), signal.SIGKILL)
    until(lambda: "NOT RUNNING" in script(staging, "status.sh").stdout.splitlines()[2], "that it is dead")
    look_at_stages(ensure_node())

    assert [shown(stage)["state"] for stage in (qa, staging)] == ["stopped", "failed"]


def test_what_the_command_line_launches_gets_nothing_of_gaias_own(place: Place) -> None:
    place.ready(1)
    commit(place.path(1), {"gaia.yaml": "command: env >seen.txt; exec python3 app.py\n"})

    said = place.gaia("env", "launch", "dev1", "qa", env={"OPERATORS_TOKEN": "s3cr3t"})
    assert said.code == 0, said.err

    seen = (place.path(1) / "seen.txt").read_text()
    assert "APP_ENV=qa" in seen
    assert "s3cr3t" not in seen
    assert "PYTHONPATH" not in seen
    assert "DJANGO_SETTINGS_MODULE" not in seen


def test_one_stage_that_cannot_be_read_does_not_hide_the_others(place: Place) -> None:
    place.ready(2)
    (place.path(1) / ".gaia/stages/dev.env").write_bytes(b"\xff\xfe '")
    (place.path(1) / "gaia.yaml").write_text("a: [\n")
    (place.path(1) / ".gaia/stages/dev.journal").mkdir()
    stage = place.stage(2, "qa")
    script(stage, "launch.sh", "qa")

    look_at_stages(ensure_node())

    assert shown(stage)["state"] == "running"


def test_a_script_that_waits_behind_a_row_of_the_dead_is_seen_later(place: Place) -> None:
    """Somebody else is still on record as live when the new start is noticed first."""
    place.ready(1)
    stage, node = place.stage(1, "qa"), ensure_node()
    script(stage, "launch.sh", "qa")
    look_at_stages(node)
    [first] = processes_of(QA)
    script(stage, "stop.sh", "qa")
    script(stage, "launch.sh", "qa")

    # the daemon's other thread has not harvested the first yet
    assert stages.follow_journal(node, stage) is False
    assert shown(stage)["pid"] == first.pid

    look_at_stages(node)

    assert shown(stage)["pid"] == pid_by_script(stage)
    assert [process.active for process in processes_of(QA)] == [False, True]


def test_errors_of_a_script_keep_their_kind(place: Place) -> None:
    place.ready(1)
    stage = place.stage(1, "qa")
    (place.path(1) / "launch.sh").write_text("#!/bin/sh\necho no such stage >&2\nexit 2\n")

    with pytest.raises(GaiaError, match="stage qa of shop-dev1 did not start") as raised:
        stages.launch_by_script(stage)

    assert (raised.value.exit_code, raised.value.meaning) == (3, "no such stage")
