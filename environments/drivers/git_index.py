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
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Index:
    """An index taken apart, to be written for any number of copies of its tree.

    Args:
        content: everything but the checksum at the end.
        files: where a file's entry begins, its mode as the index has it, and its name.
        hash_name: the repository's object format, `sha1` or `sha256`.
    """

    content: bytes
    files: tuple[tuple[int, int, bytes], ...]
    hash_name: str

    def write(self, file: Path, tree: Path) -> None:
        """Write the index of a tree with the present facts of its files.

        Raises: OSError when a file is missing in the tree.
        """
        data, top = bytearray(self.content), os.fsencode(tree) + b"/"
        lstat, pack = os.lstat, _ENTRY.pack_into
        for at, mode, name in self.files:  # runs for every file of every checkout
            facts = lstat(top + name)
            changed, changed_ns = divmod(facts.st_ctime_ns, _SECOND)
            modified, modified_ns = divmod(facts.st_mtime_ns, _SECOND)
            pack(
                data, at, changed & _WORD, changed_ns, modified & _WORD, modified_ns, facts.st_dev & _WORD,
                facts.st_ino & _WORD, mode, facts.st_uid, facts.st_gid, facts.st_size & _WORD,
            )  # fmt: skip
        file.write_bytes(data + hashlib.new(self.hash_name, data, usedforsecurity=False).digest())


def read_index(file: Path, hash_name: str) -> Index:
    """Take an index apart.

    Raises: UnknownIndex.
    """
    data = file.read_bytes()
    hash_length = hashlib.new(hash_name, usedforsecurity=False).digest_size
    try:
        files, end = _entries(data, hash_length)
        extensions = _kept_extensions(data[end:-hash_length])
    except (IndexError, ValueError, struct.error) as error:
        raise UnknownIndex("damaged") from error
    return Index(data[:end] + extensions, files, hash_name)


def settle(tree: Path, index: Index) -> None:
    """Make a tree that was written just now look a little older, files and directories: what git's index and its
    untracked cache distrust is whatever is as young as they are."""
    then = time.time_ns() - SETTLED_NS
    times, top = (then, then), os.fsencode(tree) + b"/"
    for _, _, name in index.files:
        os.utime(top + name, ns=times, follow_symlinks=False)
    for directory, _, _ in os.walk(top):
        os.utime(directory, ns=times)


def _entries(data: bytes, hash_length: int) -> tuple[tuple[tuple[int, int, bytes], ...], int]:
    """Every file, and where the entries end."""
    signature, version, count = _HEADER.unpack_from(data)
    if signature != b"DIRC" or version not in (2, 3, 4):
        raise UnknownIndex(f"version {version}")
    found = []
    at, name = _HEADER.size, b""
    flags_at = _ENTRY.size + hash_length
    for _ in range(count):
        name_at = at + flags_at + (4 if data[at + flags_at] & _EXTENDED else 2)
        if version == 4:
            dropped, name_at = _varint(data, name_at)
            end = data.index(0, name_at)
            name = name[: len(name) - dropped] + data[name_at:end]
            following = end + 1
        else:
            end = data.index(0, name_at)
            name = data[name_at:end]
            following = at + ((end - at) // 8 + 1) * 8
        mode = int.from_bytes(data[at + 24 : at + 28], "big")
        if mode & _KIND != _GITLINK:
            found.append((at, mode, name))
        at = following
    return tuple(found), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
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
