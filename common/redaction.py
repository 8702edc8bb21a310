"""Keeps credentials out of messages, events and logs."""

from __future__ import annotations

import re
from collections.abc import Iterable

_URL_PASSWORD = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<who>[^\s/@:]*):[^\s/@]+@", re.IGNORECASE)
_URL_TOKEN = re.compile(r"(?P<scheme>https?://)[^\s/@:]{16,}@", re.IGNORECASE)
MASK = "***"
_SHORTEST_SECRET = 4


def mask_url(text: str) -> str:
    """The text with passwords and tokens inside URLs masked; `https://me:secret@host` → `https://me:***@host`."""
    if "://" not in text:  # nearly always, and looking for it takes far less than the patterns
        return text
    masked = _URL_PASSWORD.sub(lambda m: f"{m['scheme']}{m['who']}:{MASK}@", text)
    return _URL_TOKEN.sub(lambda m: f"{m['scheme']}{MASK}@", masked)


def mask_values(text: str, values: Iterable[str]) -> str:
    """The text with these secrets masked, each line of them by itself, too; `mask_url` is applied besides.

    Args:
        values: the secrets; those of fewer than four characters would mask every other word and are left.
    """
    pieces = _pieces(values)
    if pieces:  # the longest first: one may be part of another
        found = "|".join(re.escape(piece) for piece in sorted(pieces, key=len, reverse=True))
        text = re.sub(found, MASK, text)
    return mask_url(text)


def mask_cut(text: str, values: Iterable[str], end: str = "…") -> str:
    """The text with what is left of a secret masked wherever it was shortened within one.

    Args:
        values: as for `mask_values`.
        end: stands where something was cut off.
    """
    pieces = _pieces(values)
    *parts, last = text.split(end)
    return end.join([*(_without_beginning(part, pieces) for part in parts), last])


def _without_beginning(text: str, pieces: Iterable[str]) -> str:
    lengths = (n for piece in pieces for n in range(_SHORTEST_SECRET, len(piece)) if text.endswith(piece[:n]))
    longest = max(lengths, default=0)
    return text[: len(text) - longest] + MASK if longest else text


def _pieces(values: Iterable[str]) -> set[str]:
    """The secrets, and each line of them, as far as they are long enough."""
    return {piece for value in values for piece in (value, *value.splitlines()) if len(piece) >= _SHORTEST_SECRET}
