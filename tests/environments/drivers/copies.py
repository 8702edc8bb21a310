"""What tests of copied and replaced databases do in a process of its own, in which something happens."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from environments.drivers.backup_files import SQLITE, Facts
from tests import warm

ROOT = Path(__file__).parents[3]


def facts(name: str = "shop-dev1-qa-20250131T120000Z") -> Facts:
    return Facts(name, "environment/shop-dev1/qa", SQLITE, "on demand", "2025-01-31T12:00:00+00:00", "shop.db")


_IN_A_PROCESS = """
import os, resource, signal, sys, threading
from pathlib import Path
from common.errors import GaiaError
from environments.drivers import backup_files, backup_restore
from tests.environments.drivers.copies import facts

what, function, count = sys.argv[1], sys.argv[4], int(sys.argv[5])
source, directory = Path(sys.argv[2]), Path(sys.argv[3])
if what == "limited":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, count))
else:
    calls = []
    def watch(frame, event, argument):
        code = frame.f_code
        name = code.co_name if event == "call" else getattr(argument, "__name__", "") if event == "c_call" else ""
        if name == function and "/environments/drivers/" in code.co_filename:
            calls.append(1)
            if len(calls) == count:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(watch)
try:
    if what == "put":
        backup_restore.put_in_place(backup_restore.place_for(source), source)
    else:
        backup_files.take_sqlite(source, directory, facts(), timeout=60)
except GaiaError as error:
    print(f"{error.exit_code} {error.what} | {error.fix}")
"""


def in_a_process(
    what: str, source: Path, directory: Path, function: str, count: int
) -> subprocess.CompletedProcess[str]:
    if what != "limited":  # one that is measured could not write down what it ran
        with tempfile.NamedTemporaryFile("w", suffix=".py") as program:
            program.write(_IN_A_PROCESS)
            program.flush()
            words: list[str | Path] = [program.name, what, source, directory, function, str(count)]
            return warm.run(words, cwd=ROOT, environ=os.environ, timeout=60)
    return subprocess.run(
        [sys.executable, "-c", _IN_A_PROCESS, what, source, directory, function, str(count)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
