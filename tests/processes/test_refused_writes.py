"""A database that refuses to be written: nobody is started twice, no end is forgotten, and it is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError

from processes.models import Node
from processes.states import ProcessState
from tests.processes.conftest import running
from tests.processes.turns import Turn, read_only

pytestmark = pytest.mark.usefixtures("leave_nothing")


def test_spawned_and_not_written_down(turn: Turn, request_sh: Any, full_journal: Path) -> None:
    """It runs although the row cannot say so; once it can, it says so, and nothing was started twice."""
    process = request_sh("echo x >>ran; exec sleep 100", journal=full_journal)
    with read_only():
        turn.tick()
        turn.now += 100
        turn.tick()
    process.refresh_from_db()
    assert process.state == ProcessState.STARTING
    turn.now += 100
    turn.tick()
    process.refresh_from_db()
    assert process.state == ProcessState.RUNNING
    assert running(process.pid)


def test_ended_and_not_written_down(turn: Turn, request_sh: Any, full_journal: Path) -> None:
    """Neither the database nor the journal took it; the code that waiting gave is not lost."""
    process = request_sh("exit 9", journal=full_journal)
    turn.tick()
    with read_only():
        turn.wait_for_end(process)
        assert process.state == ProcessState.RUNNING
        turn.now += 100
        turn.tick()
    turn.now += 100
    turn.tick()
    process.refresh_from_db()
    assert (process.state, process.exit_code, process.exit_source) == (ProcessState.EXITED, 9, "wait")


def test_a_database_that_cannot_be_written_is_said(
    turn: Turn, request_sh: Any, caplog: pytest.LogCaptureFixture
) -> None:
    request_sh("exec sleep 100")
    with read_only():
        for _ in range(60):
            turn.now += 1
            turn.tick()
    told = [record for record in caplog.records if record.name == "processes.reconcile"]
    assert "next try in 1 s: " in told[0].message
    assert len(told) <= 7, "later and later: 1, 2, 4, 8, 16, 32 s"
    assert not any(record.exc_info for record in told), "it is no defect"


def test_the_database_is_really_refused() -> None:
    """`read_only` would make tests pass that test nothing."""
    with read_only(), pytest.raises(DatabaseError):
        Node.objects.create(name="refused")
