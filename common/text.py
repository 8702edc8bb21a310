"""Text that programs wrote, made safe to show to people."""

from __future__ import annotations

import re

# ECMA-48: control sequences, strings such as OSC (titles, the clipboard) up to their end, single escapes, and the
# control characters themselves, C1 included; newline and tab are text.
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]P^_X].*?(?:\x07|\x1b\\|\x9c|$)"
    r"|\x1b[ -/]*[0-~]?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]",
    re.DOTALL,
)


def decodable(text: str) -> str:
    """The text with U+FFFD for bytes that are no UTF-8: names of files and branches hold any, JSON holds none."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def plain(text: str) -> str:
    """The text without escape sequences and control characters: what was captured must not steer a terminal."""
    return _CONTROL.sub("", text)
