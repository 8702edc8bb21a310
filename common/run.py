"""The one way GAIA runs a short command: argv list, mandatory timeout, typed errors.

Long-lived processes are not run here; they belong to the `processes` room.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from common.errors import Unavailable

_SHOWN_OUTPUT_CHARS = 4000


@dataclass(frozen=True)
class Completed:
    """What a command left behind: exit code and decoded output."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        return self.code == 0


class CommandError(Unavailable):
    """A command could not do its work."""

    code = "command_failed"


class CommandMissing(CommandError):
    """The program is not installed or not executable."""

    code = "command_missing"


class CommandTimedOut(CommandError):
    """The command took longer than its timeout; its process group was killed."""

    code = "command_timed_out"


class CommandFailed(CommandError):
    """The command ran and exited with a code other than 0. `completed` has its output."""

    def __init__(self, completed: Completed) -> None:
        text = (completed.stderr.strip() or completed.stdout.strip())[-_SHOWN_OUTPUT_CHARS:]
        super().__init__(
            f"{_short(completed.argv)} exited with {completed.code}",
            meaning=text,
            argv=list(completed.argv),
            exit_code=completed.code,
        )
        self.completed = completed


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    timeout: float,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    check: bool = True,
) -> Completed:
    """Run a command to its end.

    Args:
        argv: program and arguments; never a shell string.
        timeout: seconds; afterwards the whole process group is killed.
        cwd: directory to run in.
        env: the complete environment, or None for GAIA's own.
        stdin: text for standard input; None closes it.
        check: raise `CommandFailed` on a non-zero exit code.

    Returns: exit code and output, undecodable bytes replaced.
    Raises: CommandMissing, CommandTimedOut, CommandFailed.
    """
    words = tuple(os.fspath(word) for word in argv)
    try:
        process = subprocess.Popen(
            words,
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            encoding="utf-8",
            errors="replace",
        )
    except FileNotFoundError as error:
        if cwd is not None and not os.path.isdir(cwd):
            raise CommandMissing(f"the directory {cwd} does not exist", path=str(cwd)) from error
        raise CommandMissing(
            f"{words[0]} is not installed", fix=f"Install {words[0]} or put it on PATH.", program=words[0]
        ) from error
    except OSError as error:  # not executable, a directory that may not be entered, too many processes
        raise CommandMissing(f"{words[0]} cannot be run: {error.strerror}", program=words[0]) from error
    try:
        stdout, stderr = process.communicate(stdin, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        _kill_group(process)
        raise CommandTimedOut(
            f"{_short(words)} did not finish within {timeout:g} s", argv=list(words), timeout=timeout
        ) from error
    except BaseException:  # Ctrl-C or a cancelled operation: leave no child behind
        _kill_group(process)
        raise
    completed = Completed(words, process.returncode, stdout, stderr)
    if check and not completed.ok:
        raise CommandFailed(completed)
    return completed


def _kill_group(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.communicate(timeout=1.0)
    except subprocess.TimeoutExpired:
        # a process outside the group holds the pipes: one that was detached, or a server they were passed to
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        process.wait()


def _short(argv: Sequence[str]) -> str:
    text = " ".join(argv)
    return text if len(text) <= 160 else text[:157] + "..."
