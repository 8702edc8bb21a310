"""Keeps credentials out of messages, events and logs."""

from __future__ import annotations

import re

_URL_PASSWORD = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<who>[^\s/@:]*):[^\s/@]+@", re.IGNORECASE)
_URL_TOKEN = re.compile(r"(?P<scheme>https?://)[^\s/@:]{16,}@", re.IGNORECASE)
MASK = "***"


def mask_url(text: str) -> str:
    """The text with passwords and tokens inside URLs masked; `https://me:secret@host` → `https://me:***@host`."""
    masked = _URL_PASSWORD.sub(lambda m: f"{m['scheme']}{m['who']}:{MASK}@", text)
    return _URL_TOKEN.sub(lambda m: f"{m['scheme']}{MASK}@", masked)
