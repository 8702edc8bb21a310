"""`gaia watch`: the whole picture, live, in the terminal."""

from __future__ import annotations

import json
import shutil
import sys
import time
from argparse import Namespace
from typing import Any

from gaia_site.cli import fast, pictures, screen

_ENTER = "\x1b[?1049h\x1b[?25l"  # a screen of its own, without the cursor
_LEAVE = "\x1b[?25h\x1b[?1049l"


def watch(arguments: Namespace) -> int:
    """Draw again and again until Ctrl-C; with --json a line of data each time. Returns: the exit code."""
    live = sys.stdout.isatty() and not arguments.once and not arguments.json
    if not live:
        return _print(arguments)
    sys.stdout.write(_ENTER)
    try:
        while True:
            size = shutil.get_terminal_size()
            lines = screen.draw(_look(), width=size.columns, height=size.lines)
            # home, each line to its end, clear what is below: no flicker
            sys.stdout.write("\x1b[H" + "\r\n".join(f"{line}\x1b[K" for line in lines) + "\x1b[J")
            sys.stdout.flush()
            time.sleep(arguments.interval)
    except KeyboardInterrupt:
        return 0
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()


def _print(arguments: Namespace) -> int:
    """One picture after the other, for pipes and files."""
    try:
        while True:
            status = _look()
            print(json.dumps(status) if arguments.json else _whole(status), flush=True)
            if arguments.once:
                return 0
            time.sleep(arguments.interval)
    except KeyboardInterrupt:
        return 0


def _whole(status: dict[str, Any]) -> str:
    head = f"GAIA  {time.strftime('%H:%M:%S')}"
    return "\n".join([head, "", pictures.multi_env_status(status), "", pictures.group_status(status["groups"])])


def _look() -> Any:
    status = fast.look("/api/multi-env/status")
    if status is not None:
        return status
    from gaia_site.cli.show import look_now

    look_now()
    from gaia_site import multi_env

    return multi_env.status()
