"""Environments put back to a fresh state: the same numbers and ports, and nothing of what was in them is lost."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from common.errors import Conflict, NotFound
from environments import operations
from environments.actions import https, restores
from environments.actions.ports import move
from environments.actions.reset import plan_reset, request_reset
from environments.actions.salvages import restore_salvage
from environments.models import Backup
from environments.states import BackupState, EnvironmentState
from processes.actions.operations import request_cancel, run_operation
from processes.drivers.liveness import identify
from processes.models import Operation
from processes.states import OperationState
from projects.actions import find
from tests.environments.databases import customers, file_of, fill
from tests.environments.places import Place, processes_of
from tests.environments.work import files_of, work_in


def reset(place: Place, *names: str) -> dict[str, Any]:
    """Reset environments in this process; what the operation says it did."""
    operation = request_reset(find("shop"), list(names) or None, detached=False)
    return dict(place.operate(operation).result)


def ports(place: Place, number: int) -> list[int]:
    return sorted(stage.port for stage in place.environment(number).stages.all())


def test_a_fresh_one_in_the_same_place_and_the_old_one_safe(place: Place) -> None:
    place.ready(2)
    moved = place.stage(2, "qa")
    move(moved, place.base_port + 399)
    https.switch([moved], True)
    before = {number: ports(place, number) for number in (1, 2)}
    work = work_in(place.path(1))
    fill(place.stage(1, "qa"), "Ada")
    assert place.gaia("env", "launch", "dev1", "dev").code == 0
    [process] = processes_of("environment/shop-dev1/dev")

    done = reset(place)

    assert done["reset"] == ["dev1", "dev2"]
    assert {number: ports(place, number) for number in (1, 2)} == before
    assert [(stage.name, stage.port) for stage in place.environment(2).stages.filter(https=True)] == [
        ("qa", place.base_port + 399)
    ]
    for number in (1, 2):
        assert place.environment(number).state == EnvironmentState.READY
        assert (place.path(number) / "README.md").read_text() == "hello\n"
        assert not (place.path(number) / "notes").exists()
    assert process.pid is not None
    assert identify(process.pid) is None
    with closing(sqlite3.connect(file_of(place.stage(1, "qa")))) as database:
        assert database.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)

    # and all of it can be had again
    assert {each["of"] for each in done["databases"]} == {
        f"the database of stage {stage} of shop-dev{number}" for stage in ("dev", "qa", "staging") for number in (1, 2)
    }
    [saved] = [each for each in done["databases"] if each["of"] == "the database of stage qa of shop-dev1"]
    restores.restore(saved["backup"])
    assert customers(place.stage(1, "qa")) == ["Ada"]
    [salvaged] = [each["salvage"] for each in done["removed"] if each["salvage"]]
    restore_salvage(salvaged["name"])
    assert files_of(place.path(1)) == work


def test_only_those_named(place: Place) -> None:
    place.ready(3)
    place.clean("dev2")
    created = place.environment(1).created_at
    done = reset(place, "dev3")
    assert done["reset"] == ["dev3"]
    assert place.environment(1).created_at == created
    assert place.environment(3).number == 3
    assert not place.path(2).exists(), "one that was removed on purpose stays removed"
    with pytest.raises(NotFound, match="has no environment dev2"):
        request_reset(find("shop"), ["dev2"])


def test_a_damaged_database_is_salvaged_as_it_is(place: Place) -> None:
    place.ready(1)
    file_of(place.stage(1, "qa")).write_bytes(b"no database" * 100)
    done = reset(place)
    [saved] = [each for each in done["databases"] if each["salvaged"]]
    assert (Path(saved["salvaged"]) / "shop.db").read_bytes() == b"no database" * 100
    assert Backup.objects.filter(state=BackupState.VERIFIED, reason="before reset").count() == 2


def test_one_that_cannot_be_salvaged_stays_and_the_others_come_back(place: Place) -> None:
    place.ready(2)
    work_in(place.path(1))
    (place.path(1) / ".git/index").write_bytes(b"no index")

    done = run_operation(request_reset(find("shop"), detached=False).pk)

    assert done.state == OperationState.FAILED
    assert done.error is not None
    assert "1 of 2 environments could not be removed; dev1" in done.error["what"]
    assert len(done.error["detail"]["databases"]) == 6
    assert (place.path(1) / "notes/untracked.txt").read_text() == "nobody knows it\n"
    assert place.environment(2).state == EnvironmentState.READY


@pytest.mark.parametrize("how", [OperationState.CANCELLED, "killed"])
def test_broken_off_and_asked_for_again(place: Place, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Cancelled, what was removed comes back at once; killed, with the next reset."""
    place.ready(2)
    operation = request_reset(find("shop"), detached=False)
    real = operations.remove

    def remove(environment: Any) -> Any:
        done = real(environment)
        if how == "killed":
            Operation.objects.filter(pk=operation.pk).update(state=OperationState.FAILED)
            raise KeyboardInterrupt
        request_cancel(operation)
        return done

    monkeypatch.setattr(operations, "remove", remove)
    if how == "killed":
        with pytest.raises(KeyboardInterrupt):
            run_operation(operation.pk)
        assert not place.path(1).exists()
        with pytest.raises(NotFound):
            plan_reset(find("shop"), ["dev7"])
    else:
        assert run_operation(operation.pk).state == OperationState.CANCELLED
        assert place.environment(1).state == EnvironmentState.READY
    monkeypatch.setattr(operations, "remove", real)

    assert plan_reset(find("shop")) == ["dev1", "dev2"]
    assert reset(place)["reset"] == ["dev1", "dev2"]
    assert all(place.path(number).is_dir() for number in (1, 2))


def test_there_is_none(place: Place) -> None:
    place.ready(1)
    place.clean()
    with pytest.raises(NotFound, match="shop has no environments"):
        request_reset(find("shop"))


def test_not_while_something_else_works_on_the_project(place: Place) -> None:
    place.ready(1)
    request_reset(find("shop"), detached=False)
    with pytest.raises(Conflict, match="Reset of 1 environment of shop is already running"):
        request_reset(find("shop"), detached=False)
