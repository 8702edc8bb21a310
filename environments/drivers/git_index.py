"""Gives a copied working tree a copied index that git believes.

The index remembers each file's inode and times. In a copy of the tree they differ, and git would read and hash every
file again at the first status. This writes the copy's own facts into the copied index instead, which changes nothing
about what is checked: a size or time that does not fit still makes git read the file.
Format: https://git-scm.com/docs/index-format (versions 2 to 4).
"""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path

_STAT = struct.Struct(">6I")  # ctime, mtime (seconds, nanoseconds each), device, inode
_OWNER_SIZE = struct.Struct(">3I")  # uid, gid, size; the mode between the two stays
_STAT_BYTES = 40
_EXTENDED = 0x4000
_GITLINK = 0o160000
# The cache of trees stays true in a copy; what knows places, times or offsets does not.
_KEPT_EXTENSIONS = (b"TREE", b"REUC")


class UnknownIndex(Exception):
    """The index is of a kind that this module does not know: let git make a new one."""


def write_copied_index(original: Path, copy: Path, tree: Path, *, hash_name: str = "sha1") -> None:
    """Write the index of a copied working tree.

    Args:
        original: the index of the tree that was copied.
        copy: where the index of the copy goes.
        tree: the copied tree.
        hash_name: the repository's object format, `sha1` or `sha256`.

    Raises: UnknownIndex, and OSError when a file is missing in the copy.
    """
    data = bytearray(original.read_bytes())
    hash_length = hashlib.new(hash_name, usedforsecurity=False).digest_size
    end = _restat(data, os.fsencode(tree) + b"/", hash_length)
    content = bytes(data[:end]) + _kept_extensions(bytes(data[end:-hash_length]))
    copy.write_bytes(content + hashlib.new(hash_name, content, usedforsecurity=False).digest())


def _restat(data: bytearray, top: bytes, hash_length: int) -> int:
    """Put the files' facts into every entry; returns where the entries end."""
    signature, version, count = struct.unpack_from(">4sII", data)
    if signature != b"DIRC" or version not in (2, 3, 4):
        raise UnknownIndex(f"version {version}")
    at, previous = 12, b""
    for _ in range(count):
        flags_at = at + _STAT_BYTES + hash_length
        name_at = flags_at + (4 if data[flags_at] << 8 & _EXTENDED else 2)
        if version == 4:
            strip, name_at = _varint(data, name_at)
            end = data.index(0, name_at)
            name = previous[: len(previous) - strip] + data[name_at:end]
            following = end + 1
        else:
            end = data.index(0, name_at)
            name = bytes(data[name_at:end])
            following = at + ((end - at) // 8 + 1) * 8
        if int.from_bytes(data[at + 24 : at + 28], "big") & 0o170000 != _GITLINK:
            _put_facts(data, at, top + name)
        at, previous = following, bytes(name)
    return at


def _put_facts(data: bytearray, at: int, path: bytes) -> None:
    facts = os.lstat(path)
    changed, modified = facts.st_ctime_ns, facts.st_mtime_ns
    _STAT.pack_into(
        data,
        at,
        changed // 10**9 & 0xFFFFFFFF,
        changed % 10**9,
        modified // 10**9 & 0xFFFFFFFF,
        modified % 10**9,
        facts.st_dev & 0xFFFFFFFF,
        facts.st_ino & 0xFFFFFFFF,
    )
    _OWNER_SIZE.pack_into(data, at + 28, facts.st_uid, facts.st_gid, facts.st_size & 0xFFFFFFFF)


def _varint(data: bytearray, at: int) -> tuple[int, int]:
    """The offset encoding of pack files; returns the number and where it ends."""
    byte = data[at]
    value = byte & 0x7F
    while byte & 0x80:
        at += 1
        byte = data[at]
        value = (value + 1) << 7 | byte & 0x7F
    return value, at + 1


def _kept_extensions(data: bytes) -> bytes:
    kept, at = b"", 0
    while at < len(data):
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "big")
        if name[:1].islower():  # git must not go on without those it does not know: neither do we
            raise UnknownIndex(name.decode("ascii", "replace"))
        if name in _KEPT_EXTENSIONS:
            kept += data[at : at + 8 + length]
        at += 8 + length
    return kept
