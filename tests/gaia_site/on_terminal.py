"""`./gaia` in a process that was forked, on the terminal that it was given as descriptor 10: see `command_line`."""

from __future__ import annotations

import fcntl
import os
import sys
import termios
from pathlib import Path

from tests import program

_TERMINAL = 10


def take_terminal() -> None:
    """Make it standard input, output and error, and this session's own, or Ctrl-C would reach nobody."""
    for number in (0, 1, 2):
        os.dup2(_TERMINAL, number)
    os.close(_TERMINAL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


if __name__ == "__main__":
    take_terminal()
    sys.exit(program.run([str(Path(__file__).resolve().parents[2] / "__main__.py"), *sys.argv[1:]]))
