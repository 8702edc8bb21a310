"""The common frame of every benchmark: engines in turn in the same run (A B A B …), medians, a table or JSON.

Use from `bench/NAME.py`, run as `python bench/NAME.py [--json] [--quick] [--rounds N]`:

    bench = Bench("environments", sys.argv[1:], description=__doc__)
    bench.compare("status of 5", {"gaia": ours, "GitPython": theirs})
    bench.ratio("status of 5: GitPython / GAIA", case="status of 5", fast="gaia", slow="GitPython", budget=4)
    sys.exit(bench.finish())

A measured function returns its own seconds (when set-up must not count) or None: then the whole call is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Measure = Callable[[], float | None]
Better = Literal["lower", "higher"]
FULL_ROUNDS = 5


@dataclass(frozen=True)
class Row:
    """The median of one engine on one case."""

    engine: str
    case: str
    value: float
    unit: str


@dataclass(frozen=True)
class Ratio:
    """A quotient or an absolute figure with its budget; `ok` says whether the budget is kept."""

    name: str
    value: float
    budget: float
    better: Better
    ok: bool


class Bench:
    """One benchmark: collects rows and ratios, prints them at the end.

    Args:
        name: what `--json` puts under "bench".
        argv: the command line without the program: `--json`, `--quick`, `--rounds N`.
        description: shown by `--help`.
        rounds: rounds of a full run; never fewer than five.
        quick_rounds: rounds with `--quick`, which has to end within 60 s.

    `quick` and `rounds` are there to be read: a quick run may use a smaller repository, never another case.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        description: str | None,
        rounds: int = FULL_ROUNDS,
        quick_rounds: int = 5,
    ) -> None:
        parser = argparse.ArgumentParser(prog=f"bench/{name}.py", description=description)
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
        parser.add_argument("--quick", action="store_true", help="end within 60 seconds")
        parser.add_argument("--rounds", type=int, help="rounds of every comparison")
        options = parser.parse_args(argv)
        self.name = name
        self.quick: bool = options.quick
        self.rounds: int = options.rounds or (quick_rounds if self.quick else max(FULL_ROUNDS, rounds))
        self.rows: list[Row] = []
        self.ratios: list[Ratio] = []
        self.notes: list[str] = []
        self._json: bool = options.json

    def compare(
        self,
        case: str,
        engines: Mapping[str, Measure],
        *,
        unit: str = "s",
        rounds: int | None = None,
        warm_up: bool = True,
        between: Callable[[], None] | None = None,
    ) -> dict[str, float]:
        """Run the engines in turn, round after round, and record each one's median.

        Args:
            case: the row's name.
            engines: engine → measured function, GAIA's under "gaia".
            unit: of what the functions return; functions that return None are timed in seconds.
            warm_up: one unmeasured round first, so that caches and imports count for nobody.
            between: called, unmeasured, before every measured call: clear what the call before left.

        Returns: engine → median.
        """
        samples: dict[str, list[float]] = {engine: [] for engine in engines}
        for number in range((1 if warm_up else 0) + (rounds or self.rounds)):
            for engine, measure in engines.items():
                if between is not None:
                    between()
                value = timed(measure)
                if number or not warm_up:
                    samples[engine].append(value)
                self.say(f"{case}: {engine}: {value:.4g} {unit}{'' if number or not warm_up else ' (warm-up)'}")
        medians = {engine: statistics.median(values) for engine, values in samples.items()}
        for engine, value in medians.items():
            self.record(engine, case, value, unit)
        return medians

    def record(self, engine: str, case: str, value: float, unit: str) -> None:
        """Add a row that was measured elsewhere."""
        self.rows.append(Row(engine, case, value, unit))

    def ratio(self, name: str, *, case: str, fast: str, slow: str, budget: float) -> float:
        """Record how many times `fast` beats `slow` on a case (median / median); the budget is the least allowed."""
        value = self.value(slow, case) / self.value(fast, case)
        return self.figure(name, value, budget=budget, better="higher")

    def figure(self, name: str, value: float, *, budget: float, better: Better) -> float:
        """Record an absolute figure, or a ratio computed by the caller, with its budget."""
        ok = value >= budget if better == "higher" else value <= budget
        self.ratios.append(Ratio(name, value, budget, better, ok))
        return value

    def value(self, engine: str, case: str) -> float:
        """The recorded median of an engine on a case; KeyError when there is none."""
        for row in self.rows:
            if (row.engine, row.case) == (engine, case):
                return row.value
        raise KeyError((engine, case))

    def note(self, text: str) -> None:
        """Say something about the conditions that a reader of the figures has to know."""
        if text:
            self.notes.append(text)

    def say(self, text: str) -> None:
        """Progress, on stderr."""
        print(f"  {text}", file=sys.stderr, flush=True)

    def finish(self) -> int:
        """Print everything; returns the exit code: 0, or 1 when a budget is missed."""
        print(json.dumps(self.as_dict(), indent=2) if self._json else self._table(), flush=True)
        return 0 if all(ratio.ok for ratio in self.ratios) else 1

    def as_dict(self) -> dict[str, Any]:
        """The result as `--json` prints it (DESIGN §7)."""
        return {
            "bench": self.name,
            "machine": machine(),
            "quick": self.quick,
            "rounds": self.rounds,
            "notes": self.notes,
            "rows": [asdict(row) for row in self.rows],
            "ratios": [asdict(ratio) for ratio in self.ratios],
        }

    def _table(self) -> str:
        rows = [("case", "engine", "median", "unit")]
        rows += [(row.case, row.engine, f"{row.value:.4g}", row.unit) for row in self.rows]
        ratios = [("ratio", "value", "budget", "")]
        for item in self.ratios:
            sign = "≥" if item.better == "higher" else "≤"
            ratios.append((item.name, f"{item.value:.2f}", f"{sign} {item.budget:g}", "ok" if item.ok else "MISSED"))
        head = f"{self.name}: {self.rounds} rounds, medians" + (" (quick)" if self.quick else "")
        about = "\n".join(f"{key}: {value}" for key, value in machine().items())
        return "\n\n".join([head, _aligned(rows), _aligned(ratios), "\n".join([about, *self.notes])])


def timed(measure: Measure) -> float:
    """What the function returns, or the wall-clock seconds that it took when it returns None."""
    started = time.perf_counter()
    value = measure()
    return time.perf_counter() - started if value is None else value


def machine() -> dict[str, str]:
    """What the figures were measured on: processor count, memory, system, Python."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processors": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


class Peer:
    """A peer library in a warm Python process of its own virtual environment.

    Args:
        directory: where the virtual environment is made; give a temporary directory.
        requirements: what pip installs there, pinned.
        program: Python source that defines `measure(argument) -> float` (seconds).

    `measure(argument)` runs it there. Use as a context manager: the process ends with the block.
    When nothing can be installed, GAIA's own interpreter serves if it has the modules, and `note` says so.
    """

    def __init__(self, directory: Path, requirements: Sequence[str], program: str) -> None:
        self.note = ""
        script = directory / "peer.py"
        script.write_text(program + _PEER_LOOP, encoding="utf-8")
        self._process = subprocess.Popen(
            [self._python(directory, requirements), str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _python(self, directory: Path, requirements: Sequence[str]) -> str:
        python = directory / "venv" / "bin" / "python"
        try:
            subprocess.run([sys.executable, "-m", "venv", directory / "venv"], check=True, capture_output=True)
            subprocess.run([python, "-m", "pip", "install", "-q", *requirements], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            self.note = f"{', '.join(requirements)}: could not be installed apart, measured with GAIA's own copy"
            return sys.executable
        return str(python)

    def measure(self, argument: str = "") -> float:
        """Run the peer's `measure` once; seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(argument + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)


_PEER_LOOP = """
import sys as _sys
for _line in _sys.stdin:
    print(measure(_line.rstrip("\\n")), flush=True)
"""


def scratch(name: str) -> tempfile.TemporaryDirectory[str]:
    """A temporary directory for a benchmark's files; use it with `with`."""
    return tempfile.TemporaryDirectory(prefix=f"gaia-bench-{name}-")


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)
