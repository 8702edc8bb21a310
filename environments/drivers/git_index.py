"""Gives a working tree an index that git believes without reading every file again.

The index remembers each file's inode and times. In a copied tree they differ, and after a fresh checkout all files are
as young as the index, so that git cannot trust their times ("racy git"): in both cases the first status would read and
hash every file. This writes the files' present facts into the index, which changes nothing about what git checks later:
a size or time that does not fit still makes it read the file.

Formats: https://git-scm.com/docs/index-format (versions 2 to 4), https://git-scm.com/docs/racy-git
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
from pathlib import Path

SETTLED_NS = 10 * 10**9
"""How old the files of a new checkout are made to look, nanoseconds: any change from now on has another time."""

_HEADER = struct.Struct(">4sII")
_ENTRY = struct.Struct(">10I")  # ctime, mtime (seconds, nanoseconds each), device, inode, mode, uid, gid, size
_EXTENDED = 0x40
_KIND, _GITLINK = 0o170000, 0o160000
_WORD = 0xFFFFFFFF
_SECOND = 10**9
# The cache of trees stays true in a copy; what knows places, times or offsets does not.
_KEPT_EXTENSIONS = (b"TREE", b"REUC")


class UnknownIndex(Exception):
    """The index is of a kind that this module does not know: let git make a new one."""


def settled_ns() -> int:
    """The time, in nanoseconds, of modification to give to files that were written just now."""
    return time.time_ns() - SETTLED_NS


def write_index(original: Path, index: Path, tree: Path, *, hash_name: str, modified_ns: int | None = None) -> None:
    """Write an index with the present facts of a tree's files.

    Args:
        original: an index with the right content: of the tree that was copied, or of this one.
        index: where it goes; may be the same.
        tree: the working tree.
        hash_name: the repository's object format, `sha1` or `sha256`.
        modified_ns: give all files and directories this time of modification.

    Raises: UnknownIndex, and OSError when a file is missing in the tree.
    """
    data = bytearray(original.read_bytes())
    hash_length = hashlib.new(hash_name, usedforsecurity=False).digest_size
    top = os.fsencode(tree) + b"/"
    end = _put_facts(data, top, hash_length, modified_ns)
    if modified_ns is not None:  # the untracked cache distrusts directories as young as the index just the same
        for name, _, _ in os.walk(top):
            os.utime(name, ns=(modified_ns, modified_ns))
    content = bytes(data[:end]) + _kept_extensions(bytes(data[end:-hash_length]))
    index.write_bytes(content + hashlib.new(hash_name, content, usedforsecurity=False).digest())


def _put_facts(data: bytearray, top: bytes, hash_length: int, modified_ns: int | None) -> int:
    """Put the files' facts into every entry; returns where the entries end. One loop: it runs for every file."""
    signature, version, count = _HEADER.unpack_from(data)
    if signature != b"DIRC" or version not in (2, 3, 4):
        raise UnknownIndex(f"version {version}")
    at, name = _HEADER.size, b""
    lstat, utime, pack, find = os.lstat, os.utime, _ENTRY.pack_into, data.index
    flags_at = _ENTRY.size + hash_length
    for _ in range(count):
        name_at = at + flags_at + (4 if data[at + flags_at] & _EXTENDED else 2)
        if version == 4:
            shared, name_at = _varint(data, name_at)
            end = find(0, name_at)
            name = name[: len(name) - shared] + data[name_at:end]
            following = end + 1
        else:
            end = find(0, name_at)
            name = bytes(data[name_at:end])
            following = at + ((end - at) // 8 + 1) * 8
        mode = int.from_bytes(data[at + 24 : at + 28], "big")
        if mode & _KIND != _GITLINK:
            path = top + name
            if modified_ns is not None:
                utime(path, ns=(modified_ns, modified_ns), follow_symlinks=False)
            facts = lstat(path)
            changed, changed_ns = divmod(facts.st_ctime_ns, _SECOND)
            modified, nanoseconds = divmod(facts.st_mtime_ns, _SECOND)
            device, inode, size = facts.st_dev & _WORD, facts.st_ino & _WORD, facts.st_size & _WORD
            pack(
                data, at, changed & _WORD, changed_ns, modified & _WORD, nanoseconds,
                device, inode, mode, facts.st_uid, facts.st_gid, size,
            )  # fmt: skip
        at = following
    return at


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
