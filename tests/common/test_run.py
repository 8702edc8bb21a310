"""Running short commands: output, failures that say what they were, time-outs that leave nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from libtmux.test.retry import retry_until

from common.run import CommandFailed, CommandMissing, CommandTimedOut, run


def test_output_and_exit_code(tmp_path: Path) -> None:
    script, env = 'echo "$A in $PWD"; cat; echo no >&2; exit 3', {"A": "x", "PATH": os.defpath}
    done = run(["sh", "-c", script], timeout=20, cwd=tmp_path, env=env, stdin="typed", check=False)
    assert (done.code, done.ok) == (3, False)
    assert done.stdout == f"x in {tmp_path}\ntyped"
    assert done.stderr == "no\n"


def test_without_input_standard_input_is_closed() -> None:
    assert run(["cat"], timeout=20).stdout == ""


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert run(["printf", r"a\377b"], timeout=20).stdout == "a\ufffdb"


def test_a_failure_names_the_command_and_what_it_said() -> None:
    with pytest.raises(CommandFailed) as caught:
        run(["sh", "-c", "echo why >&2; exit 4"], timeout=20)
    assert caught.value.what == "sh -c echo why >&2; exit 4 exited with 4"
    assert caught.value.meaning == "why"
    assert caught.value.completed.code == 4


@pytest.mark.parametrize("program", ["no-such-program", "/etc/passwd", "/"])
def test_a_program_that_cannot_be_run(program: str) -> None:
    with pytest.raises(CommandMissing) as caught:
        run([program], timeout=20)
    assert caught.value.detail["program"] == program


def test_a_directory_that_is_not_there() -> None:
    with pytest.raises(CommandMissing, match="the directory /no/such does not exist"):
        run(["true"], timeout=20, cwd="/no/such")


def test_a_time_out_ends_the_whole_group(tmp_path: Path) -> None:
    with pytest.raises(CommandTimedOut, match=r"did not finish within 0\.5 s"):
        run(["sh", "-c", f"sleep 1000 & echo $! >{tmp_path}/pid; wait"], timeout=0.5)
    pid = int((tmp_path / "pid").read_text())
    assert retry_until(lambda: not alive(pid), 20, raises=False)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except OSError:
        return False
