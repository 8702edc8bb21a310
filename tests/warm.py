"""Python programs of GAIA's in processes of their own, without the 0.4 s in which Python loads Django and GAIA.

A server that has imported all of it (`tests.preloaded`) forks a process for every start (`multiprocessing`'s fork
server). From there on it is a process like any other: a session, an environment, a directory and descriptors of its
own, settings read from their beginning, an exit code or a signal. Where the suite is measured, the first start of each
verb is that of a real Python, so that none works only because everything has been imported already.

What Python reads before its first line - PYTHONIOENCODING, the locale - has been read when the server came up: a test
of that, of what a verb imports, of a terminal or of `./gaia` itself starts the real thing.
"""

from __future__ import annotations

import fcntl
import io
import multiprocessing
import os
import selectors
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

from tests import measuring, program

ROOT = Path(__file__).resolve().parents[1]
_FORKS = multiprocessing.get_context("forkserver")
_EARLY = ("PYTHON", "LC_", "LANG", "GAIA_PYTHON", "TZ")
_FORKS.set_forkserver_preload(["tests.preloaded"])


def possible(environ: Mapping[str, str]) -> bool:
    """Whether these variables say nothing to Python, or to `./gaia`, before the first line of a program."""
    return not any(name.startswith(_EARLY) for name in environ)


def run(
    words: Sequence[str | Path],
    *,
    cwd: Path,
    environ: Mapping[str, str],
    stdin: str | None = None,
    timeout: float,
) -> subprocess.CompletedProcess[str]:
    """Run a Python program of this repository to its end, as `subprocess.run` does with output captured.

    Args:
        words: `-m MODULE` or a file, and the arguments.
        environ: the whole environment.
        stdin: text to read; nothing otherwise.
        timeout: seconds, after which it is killed with all that is in its session.

    Raises: subprocess.TimeoutExpired, with what it had printed.
    """
    if measuring.counts(words):
        return subprocess.run(
            [sys.executable, Path(program.__file__), *words], cwd=cwd, env=environ, input=stdin or "",
            capture_output=True, text=True, timeout=timeout, start_new_session=True, check=False,
        )  # fmt: skip
    child_in, own_in = os.pipe()
    own_out, child_out = os.pipe()
    own_err, child_err = os.pipe()
    theirs = (child_in, child_out, child_err)
    try:
        process = _start(words, cwd, environ, theirs)
    finally:
        for each in theirs:
            os.close(each)
    try:
        with open(own_in, "w", encoding="utf-8") as pipe:
            pipe.write(stdin or "")
    except BrokenPipeError:
        pass
    deadline = time.monotonic() + timeout
    try:
        out, err = _read((own_out, own_err), deadline, words)
        process.join(max(0.0, deadline - time.monotonic()))
    finally:
        os.close(own_out)
        os.close(own_err)
        _end(process)
    code = process.exitcode
    assert code is not None
    process.close()
    return subprocess.CompletedProcess([*map(str, words)], code, out, err)


class Running:
    """A program that goes on until it is told to end; the part of `subprocess.Popen` that tests use.

    Args:
        words: `-m MODULE` or a file, and the arguments.
        environ: the whole environment.
        log: where its output goes, behind what is there.
        passed: descriptors that it finds under the numbers 10, 11 and so on.
    """

    def __init__(
        self,
        words: Sequence[str | Path],
        *,
        cwd: Path,
        environ: Mapping[str, str],
        log: Path,
        passed: Sequence[int] = (),
    ) -> None:
        with open(os.devnull, "rb") as nothing, log.open("ab") as output:
            numbers = (nothing.fileno(), output.fileno(), output.fileno(), *passed)
            self._process = _start(words, cwd, environ, numbers)
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit code. Raises: subprocess.TimeoutExpired after so many seconds."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _start(
    words: Sequence[str | Path], cwd: Path, environ: Mapping[str, str], descriptors: Sequence[int]
) -> ForkServerProcess:
    _come_up()
    kept = {name: value for name, value in environ.items() if name != measuring.VARIABLE}
    arguments = ([*map(str, words)], str(cwd), kept, _Passed(descriptors))
    process = _FORKS.Process(target=_become, args=arguments, daemon=True)
    process.start()
    return process


class _Passed:
    """Descriptors that travel with a start."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self.numbers = numbers

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, tuple(DupFd(number) for number in self.numbers)


def _arrived(*descriptors: Any) -> list[int]:
    return [descriptor.detach() for descriptor in descriptors]


def _come_up() -> None:
    """Start the server, without the variables of this test process: nothing of them is its business."""
    from multiprocessing import forkserver

    kept, here = dict(os.environ), os.getcwd()
    try:
        for name in [name for name in kept if name.startswith(("GAIA_", "DJANGO_", "PYTEST_"))]:
            del os.environ[name]
        os.chdir(ROOT)
        forkserver.ensure_running()
    finally:
        os.chdir(here)
        os.environ.update(kept)


def _read(own: tuple[int, int], deadline: float, words: Sequence[str | Path]) -> tuple[str, str]:
    texts: dict[int, bytearray] = {number: bytearray() for number in own}
    with selectors.DefaultSelector() as waiting:
        for number in own:
            waiting.register(number, selectors.EVENT_READ)
        while waiting.get_map():
            left = deadline - time.monotonic()
            ready = waiting.select(left) if left > 0 else []
            if not ready:
                raise subprocess.TimeoutExpired([*map(str, words)], left, *(bytes(texts[number]) for number in own))
            for key, _ in ready:
                piece = os.read(key.fd, 65536)
                texts[key.fd] += piece
                if not piece:
                    waiting.unregister(key.fd)
    out, err = (io.TextIOWrapper(io.BytesIO(texts[number]), "utf-8").read() for number in own)
    return out, err


def _end(process: ForkServerProcess) -> None:
    if process.exitcode is None:
        assert process.pid is not None
        with suppress(ProcessLookupError):  # it has no group of its own yet
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join()


def _become(words: list[str], cwd: str, environ: dict[str, str], descriptors: list[int]) -> None:
    """The start of Python as it would be in a process of its own; never returns."""
    from tests import preloaded  # is there already, but not in the process that asks for a start

    code = 1
    try:
        os.setsid()
        # away from the numbers they are going to, first
        apart = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 100) for descriptor in descriptors]
        for number, descriptor in zip((0, 1, 2, *range(10, 10 + len(apart))), apart, strict=False):
            os.dup2(descriptor, number)
            os.close(descriptor)
        for descriptor in descriptors:
            if not 10 <= descriptor < 7 + len(apart):
                os.close(descriptor)
        sys.stdin, sys.stdout, sys.stderr = (
            open(number, mode, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115  Python's own
            for number, mode, errors in ((0, "r", "strict"), (1, "w", "strict"), (2, "w", "backslashreplace"))
        )
        os.environ.clear()
        os.environ.update(environ)
        os.chdir(cwd)
        sys.path[:] = [str(ROOT), *(place for place in sys.path if place and place != str(ROOT))]
        preloaded.ask_for_settings()
        code = program.run(words)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
