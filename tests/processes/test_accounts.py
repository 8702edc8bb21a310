"""Processes that run as another account, as the daemon starts them."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from processes.actions import processes as actions
from processes.models import Process
from processes.states import ProcessState
from tests.processes.conftest import Until
from tests.processes.turns import Turn

pytestmark = pytest.mark.usefixtures("leave_nothing")


def test_no_such_account(turn: Turn, request_sh: Any) -> None:
    process = request_sh("touch ran", user="no-such-account")
    turn.tick()
    process.refresh_from_db()
    assert process.state == ProcessState.NOT_STARTED
    assert (
        process.problem == "there is no account 'no-such-account' on this machine. Make it (adduser), or name another."
    )


def test_our_own_account(turn: Turn, request_sh: Any) -> None:
    process = request_sh("id -u", user=pwd.getpwuid(os.geteuid()).pw_name)
    turn.tick()
    assert turn.wait_for_end(process).exit_code == 0
    assert Path(process.log).read_text() == f"{os.geteuid()}\n"


if os.geteuid() == 0:

    def test_as_nobody(turn: Turn, request_sh: Any, until: Until, tmp_path: Path) -> None:
        """With its own HOME, unless the start says another; limited, stopped and counted as any other."""
        os.chown(tmp_path, pwd.getpwnam("nobody").pw_uid, -1)
        process = request_sh(
            "echo $HOME $USER $COLOUR $(ulimit -n); id -un; touch up; exec sleep 100",
            user="nobody", env={"COLOUR": "blue"}, limits={"open_files": 50},
        )  # fmt: skip
        turn.tick()
        process.refresh_from_db()
        until((tmp_path / "up").exists)
        home = pwd.getpwnam("nobody").pw_dir
        assert Path(process.log).read_text().splitlines() == [f"{home} nobody blue 50", "nobody"]
        actions.request_stop(process)
        turn.tick()
        process.refresh_from_db()
        assert (process.state, process.exit_code) == (ProcessState.EXITED, 143)

    def test_a_second_start_writes_into_the_same_log(turn: Turn, request_sh: Any) -> None:
        """Even one as another account, and then as ourselves again."""
        for user in ("nobody", "daemon", ""):
            process: Process = request_sh("id -un", user=user)
            turn.tick()
            assert turn.wait_for_end(process).exit_code == 0
        own = pwd.getpwuid(os.geteuid()).pw_name
        assert Path(process.log).read_text().split() == ["nobody", "daemon", own]
