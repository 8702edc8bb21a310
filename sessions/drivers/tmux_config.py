"""Which tmux GAIA needs, and the configuration it gives its own server."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from common.errors import Unavailable
from common.files import write_if_changed
from common.run import CommandMissing, run

MINIMUM = (3, 2)
DEFAULT_HISTORY = 10_000
_VERSION = re.compile(r"(\d+)\.(\d+)")
_INSTALLERS = (
    ("apt-get", "apt-get install -y tmux"),
    ("dnf", "dnf install -y tmux"),
    ("pacman", "pacman -S --noconfirm tmux"),
    ("zypper", "zypper install -y tmux"),
    ("apk", "apk add tmux"),
    ("brew", "brew install tmux"),
    ("port", "port install tmux"),
)

# Not here on purpose: `window-size manual` (crashes tmux 3.3a at start) and `mouse on` (a scroll wheel would put a
# pane into copy mode, where an agent cannot be written to). -q: an option this tmux does not know must not end up
# as an error page in front of the first session. remain-on-exit-format is empty because writing it scrolls the
# program's first line, often its only error message, out of sight; the status line says that it ended.
_CONFIG = """\
# GAIA's tmux server. Written by GAIA: changes are overwritten.
set-option -sq exit-empty on
set-option -sq escape-time 10
set-option -sq focus-events on
set-option -sqg default-terminal "screen-256color"
set-option -asq terminal-features ",*:RGB"
set-option -gq remain-on-exit on
set-option -gq remain-on-exit-format ""
set-option -gq history-limit {history_limit}
set-option -gq destroy-unattached off
set-option -gq window-size latest
set-option -gq default-size 200x50
set-option -gq display-time 4000
set-option -gq mouse off
set-option -gq set-titles off
set-option -gq monitor-activity off
set-option -gq status-interval 15
set-option -gq status-style "bg=colour236,fg=colour252"
set-option -gq status-left-length 80
set-option -gq status-left "#[bold] #{{session_name}} #[default]#{{?@gaia_provider,· #{{@gaia_provider}} ,}}"
set-option -gq status-right "#{{?pane_dead,ended (#{{pane_dead_status}}) · ,}}"
set-option -agq status-right "#{{?pane_in_mode,scrolling (q leaves) · ,}}C-b d detaches "
set-option -gq status-right-length 60
set-option -gq window-status-format ""
set-option -gq window-status-current-format ""
"""


def config_text(*, history_limit: int = DEFAULT_HISTORY) -> str:
    """The configuration of GAIA's server, with this many lines of scrollback per pane."""
    return _CONFIG.format(history_limit=int(history_limit))


def write_config(path: Path, *, history_limit: int = DEFAULT_HISTORY) -> bool:
    """Write the configuration; True when the file changed. tmux reads it when its server starts."""
    return write_if_changed(path, config_text(history_limit=history_limit))


def check_tmux(program: str = "tmux") -> tuple[int, int]:
    """The version of the installed tmux.

    Returns: (major, minor); builds of the development branch count as newest.
    Raises: Unavailable with the command that installs it, when it is missing or older than 3.2.
    """
    try:
        text = run([program, "-V"], timeout=5).stdout.strip()
    except CommandMissing as error:
        raise missing_tmux() from error
    version = parse_version(text)
    if version < MINIMUM:
        raise Unavailable(
            f"tmux is too old: {text}",
            meaning=f"GAIA needs {MINIMUM[0]}.{MINIMUM[1]} or newer for per-session environments.",
            fix=f"Install a newer one: {install_command()}",
        )
    return version


def parse_version(text: str) -> tuple[int, int]:
    """(major, minor) from the answer of `tmux -V`: `tmux 3.3a`, `tmux next-3.7`, `tmux master`, `tmux openbsd-7.4`.

    Raises: Unavailable when it is no tmux that answers.
    """
    if not text.startswith("tmux "):
        raise Unavailable(f"the program tmux answers {text[:80]!r} to -V", fix=f"Install tmux: {install_command()}")
    if "master" in text or "openbsd" in text:  # OpenBSD numbers its tmux after the system
        return (99, 0)
    found = _VERSION.search(text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def missing_tmux() -> Unavailable:
    """The error for a machine without tmux."""
    return Unavailable(
        "tmux is not installed",
        meaning="GAIA's sessions live in tmux; without it none can be started or shown.",
        fix=f"Install it: {install_command()}",
        program="tmux",
    )


def install_command() -> str:
    """The command that installs tmux here, as the operator would type it."""
    for program, line in _INSTALLERS:
        if shutil.which(program):
            return line if os.getuid() == 0 or program == "brew" else f"sudo {line}"
    return "brew install tmux" if sys.platform == "darwin" else "see https://github.com/tmux/tmux/wiki/Installing"
