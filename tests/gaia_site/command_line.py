"""`./gaia` as a person or a script calls it."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import warm

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 90.0


@dataclass(frozen=True)
class Said:
    """What a command line printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Standard output as JSON; it must be one document and nothing else."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    def mistake(self, code: int) -> list[str]:
        """The lines on standard error, which must be an error in three parts with this exit code."""
        assert self.code == code, self
        told = self.err.splitlines()
        lines = told[next((place for place, line in enumerate(told) if line.startswith("gaia: ")), len(told)) :]
        assert lines, f"no error was told: {self}"
        assert all(line.startswith("  ") for line in lines[1:]), self
        assert len(lines) >= 2, f"it says what happened and nothing else: {self}"
        assert "Traceback" not in self.err
        return lines


class CommandLine:
    """Runs `./gaia` with an environment of its own; whatever is started is ended with `end`."""

    def __init__(self, cwd: Path, **environ: str) -> None:
        self.cwd = cwd
        self.environ = environ
        self._started: list[subprocess.Popen[str] | warm.Running] = []

    def __call__(self, *words: str | Path, stdin: str | None = None, cwd: Path | None = None, **environ: str) -> Said:
        """Run it to its end; the bootstrap left out where it has no say."""
        if warm.possible({**self.environ, **environ}):
            done = warm.run(
                [ROOT / "__main__.py", *words], cwd=cwd or self.cwd, stdin=stdin, timeout=PATIENCE_S,
                environ={**os.environ, **self.environ, **environ},
            )  # fmt: skip
            return Said(done.returncode, done.stdout, done.stderr)
        process = self.start(*words, stdin=subprocess.PIPE if stdin is not None else None, cwd=cwd, **environ)
        out, err = process.communicate(stdin, timeout=PATIENCE_S)
        return Said(process.returncode, out, err)

    def manage(self, *words: str | Path, **environ: str) -> Said:
        """Run `manage.py` to its end."""
        done = warm.run(
            [ROOT / "manage.py", *words], cwd=self.cwd, timeout=PATIENCE_S,
            environ={**os.environ, **self.environ, **environ},
        )  # fmt: skip
        return Said(done.returncode, done.stdout, done.stderr)

    def start(
        self, *words: str | Path, stdin: int | None = None, cwd: Path | None = None, **environ: str
    ) -> subprocess.Popen[str]:
        """Start it."""
        process = subprocess.Popen(
            [ROOT / "gaia", *map(str, words)], cwd=cwd or self.cwd,
            env={**os.environ, **self.environ, **environ},
            stdin=subprocess.DEVNULL if stdin is None else stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            encoding="utf-8", start_new_session=True,
        )  # fmt: skip
        self._started.append(process)
        return process

    def on_a_terminal(self, *words: str, bootstrap: bool = False, **environ: str) -> Terminal:
        """Start it on a terminal of 100 columns and 40 lines; the bootstrap left out unless it is asked for."""
        return Terminal(self, words, environ, bootstrap)

    def end(self) -> None:
        for process in self._started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()  # one that was forked a moment ago has no group of its own yet
            process.wait()
            for stream in (getattr(process, "stdout", None), getattr(process, "stderr", None)):
                if stream is not None:
                    stream.close()


class Terminal:
    """A person at a terminal: reads what is shown, types, presses Ctrl-C."""

    def __init__(self, gaia: CommandLine, words: tuple[str, ...], environ: dict[str, str], bootstrap: bool) -> None:
        self._own, theirs = pty.openpty()
        environ = {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40", **environ}
        environment = {**os.environ, **gaia.environ, **environ}
        self.process: subprocess.Popen[str] | warm.Running
        if bootstrap or not warm.possible({**gaia.environ, **environ}):
            self.process = subprocess.Popen(
                [ROOT / "gaia", *words], cwd=gaia.cwd, env=environment, stdin=theirs, stdout=theirs, stderr=theirs,
                start_new_session=True, encoding="utf-8", preexec_fn=_own_terminal,
            )  # fmt: skip
        else:
            self.process = warm.Running(
                ["-m", "tests.gaia_site.on_terminal", *words],
                cwd=gaia.cwd, environ=environment, log=Path(os.ttyname(theirs)), passed=[theirs],
            )  # fmt: skip
        gaia._started.append(self.process)
        os.close(theirs)
        self.shown = ""

    def until(self, text: str) -> str:
        """Read until the text is shown; all that was shown."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.shown:
            assert time.monotonic() < deadline, f"{text!r} was not shown: {self.shown!r}"
            assert self._read(), f"it ended and did not show {text!r}: {self.shown!r}"
        return self.shown

    def type(self, text: str) -> None:
        os.write(self._own, text.encode())

    def end(self) -> int:
        """Read to the end; the exit code."""
        while self._read():
            pass
        code = self.process.wait(PATIENCE_S)
        os.close(self._own)
        return code

    def _read(self) -> bool:
        ready, _, _ = select.select([self._own], [], [], PATIENCE_S)
        assert ready, f"it hangs: {self.shown!r}"
        try:
            part = os.read(self._own, 65536)
        except OSError:  # Linux: nobody has the other side any more
            return False
        self.shown += part.decode(errors="replace")
        return bool(part)


def _own_terminal() -> None:
    """Make standard input the controlling terminal, or Ctrl-C would reach nobody."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
