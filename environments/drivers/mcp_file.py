"""A checkout's `.mcp.json`: where agents read which MCP servers they may use.

It is GAIA's only as long as it is as GAIA wrote it, which a digest in `.gaia/` tells. What the repository tracks, and
what somebody else wrote or edited, is theirs and stays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.containment import stays_inside
from common.files import managed_block
from environments.drivers.git import checkout
from environments.drivers.partial import cannot_write
from environments.drivers.stage_env import read_text
from environments.drivers.writing import put, put_if_changed

NAME = ".mcp.json"
_DIGEST = ".gaia/mcp.sha256"
_EXCLUDE = ".git/info/exclude"


@dataclass(frozen=True)
class Written:
    """What became of it.

    Args:
        changed: it was written, or taken away.
        kept: why it was left as it is, not being GAIA's; "" when it is.
    """

    changed: bool = False
    kept: str = ""


def is_ours(path: Path) -> bool:
    """Whether a checkout has one that GAIA wrote."""
    return bool(_read(path)) and _digest(_read(path)) == read_text(path / _DIGEST).strip()


def write(path: Path, config: Mapping[str, Any]) -> Written:
    """Bring a checkout's file into line; without any server there is none.

    Args:
        path: the checkout.
        config: `{"mcpServers": {…}}`.

    Raises: Unavailable or Refused when nothing can be written.
    """
    servers = bool(config.get("mcpServers"))
    if not servers and not is_ours(path):
        return Written()
    theirs = _not_ours(path)
    if theirs:
        return Written(kept=theirs)
    try:
        return Written(changed=_put(path, config) if servers else _remove(path))
    except OSError as error:
        raise cannot_write(path, error) from error


def _not_ours(path: Path) -> str:
    """Why the file is not GAIA's to write."""
    file = path / NAME
    if checkout(path).run("ls-files", "-z", "--", NAME).stdout:
        return "the repository tracks it"
    if file.is_symlink() or (file.exists() and not file.is_file()):
        return "it is a link or a directory"
    if not all(stays_inside(path, name) for name in (_DIGEST, _EXCLUDE)):
        return ".gaia or .git leads out of the checkout"
    return "somebody else wrote or changed it" if file.exists() and not is_ours(path) else ""


def _put(path: Path, config: Mapping[str, Any]) -> bool:
    """The excludes first, and the digest before the file: a kill in between leaves nothing that looks like work."""
    data = (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode()
    exclude = path / _EXCLUDE
    exclude.parent.mkdir(exist_ok=True)
    old = read_text(exclude)
    new = managed_block(old, f"/{NAME}", name="GAIA MCP")
    if new != old:
        mode = exclude.stat().st_mode & 0o777 if exclude.exists() else 0o644
        put(exclude, new.encode("utf-8", "surrogateescape"), mode)
    if _read(path) == data:
        return False
    (path / NAME).unlink(missing_ok=True)
    put_if_changed(path / _DIGEST, f"{_digest(data)}\n".encode())
    put(path / NAME, data, 0o600)
    return True


def _remove(path: Path) -> bool:
    (path / NAME).unlink(missing_ok=True)
    (path / _DIGEST).unlink(missing_ok=True)
    return True


def _read(path: Path) -> bytes:
    with suppress(OSError):
        return (path / NAME).read_bytes()
    return b""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
