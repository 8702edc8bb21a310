"""A Python program as Python starts one. As a script (`python tests/program.py -m MODULE …`) it measures it."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path


def run(words: list[str]) -> int:
    """Run a program in this process.

    Args:
        words: `-m MODULE` or a file, and the arguments.

    Returns: its exit code.
    """
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from tests import measuring

    measuring.begin(measuring.STARTED)
    try:
        code = run(sys.argv[1:])
    finally:
        measuring.write()
    sys.exit(code)
