"""`gaia watch`: the whole picture, live, in the terminal."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from typing import Any

from common.errors import InvalidInput
from gaia_site.cli import fast, pictures


def watch(arguments: Namespace) -> int:
    """Draw again and again until Ctrl-C. Returns: the exit code."""
    if arguments.interval < 0.2:
        raise InvalidInput("--interval must be at least 0.2 seconds")
    live = sys.stdout.isatty() and not arguments.once
    try:
        while True:
            status = _look()
            text = draw(status)
            # home, draw each line to its end, clear what is below: no flicker
            sys.stdout.write("\x1b[H" + text.replace("\n", "\x1b[K\n") + "\x1b[K\n\x1b[J" if live else text + "\n")
            sys.stdout.flush()
            if arguments.once:
                return 0
            time.sleep(arguments.interval)
    except KeyboardInterrupt:
        sys.stdout.write("\n")
        return 0


def draw(status: dict[str, Any]) -> str:
    """Environments and sessions side by side with the time of the look."""
    head = f"GAIA  {time.strftime('%H:%M:%S')}   (Ctrl-C ends)"
    return "\n".join([head, "", pictures.multi_env_status(status), "", pictures.group_status(status["groups"])])


def _look() -> Any:
    status = fast.fetch("/api/multi-env/status")
    if status is not None:
        return status
    from gaia_site.cli.ground import ready

    ready()
    from gaia_site import multi_env
    from sessions import reconcile

    reconcile.look()
    return multi_env.status()
