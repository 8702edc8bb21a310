"""A repository like a grown web project, made on the fly and the same every time: text, binaries, history.

The full one has 5,000 files, 70 MB of them, and a pack of more than 100 MB: text files of 8 KB on average with
thousands of commits of edits on top, and 3 % binaries (images, fonts) that were replaced now and then. It is written by
`git fast-import`.
"""

from __future__ import annotations

import random
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import IO

FILES_PER_DIRECTORY = 18
EDITS_PER_COMMIT = 8
BINARY_SHARE = 0.03
_WORDS = 4000


@dataclass(frozen=True)
class Size:
    """How big: files at the tip, commits after the first, bytes of a binary, how often the binaries were replaced."""

    files: int
    commits: int
    binary_bytes: int = 120_000
    binary_versions: int = 2


FULL = Size(files=5000, commits=2500, binary_bytes=110_000, binary_versions=3)
SMALL = Size(files=500, commits=100, binary_bytes=20_000)


def make_repository(path: Path, size: Size) -> None:
    """Write a repository with `main` checked out.

    Args:
        path: the repository's directory, which must not exist.
        size: see `Size`.
    """
    subprocess.run(["git", "init", "-q", "-b", "main", str(path)], check=True)
    process = subprocess.Popen(["git", "-C", str(path), "fast-import", "--quiet"], stdin=subprocess.PIPE)
    assert process.stdin is not None
    with process.stdin as stream:
        _Writer(stream, size).write()
    assert process.wait() == 0
    subprocess.run(["git", "-C", str(path), "reset", "-q", "--hard"], check=True)


def pack_bytes(path: Path) -> int:
    """Size of the packs of a repository, in bytes."""
    return sum(pack.stat().st_size for pack in (path / ".git/objects/pack").glob("*.pack"))


class _Writer:
    def __init__(self, stream: IO[bytes], size: Size) -> None:
        self._stream = stream
        self._size = size
        self._random = random.Random(20)
        letters = "abcdefghijklmnopqrstuvwxyz_"
        words = ["".join(self._random.choices(letters, k=self._random.randint(2, 11))) for _ in range(_WORDS)]
        # zlib makes about a third of it, as of source code
        weights = [1 / (rank + 8) for rank in range(_WORDS)]
        chosen = self._random.choices(words, weights, k=400_000)
        self._text = " ".join(
            f"{word}\n{' ' * self._random.choice((0, 4, 4, 8, 8, 12))}" if index % 9 == 8 else word
            for index, word in enumerate(chosen)
        ).encode()
        self._contents: dict[str, bytes] = {}

    def write(self) -> None:
        names = [self._name(number) for number in range(self._size.files)]
        binaries = [name for name in names if not name.endswith(".py")]
        for version in range(self._size.binary_versions):
            self._commit(f"Images, take {version}", [(name, self._binary()) for name in binaries])
        self._commit("Everything", [(name, self._new_text(name)) for name in names if name.endswith(".py")])
        sources = list(self._contents)
        for number in range(self._size.commits):
            # people work in a few directories at a time
            start = self._random.randrange(len(sources))
            near = [sources[(start + self._random.randrange(60)) % len(sources)] for _ in range(EDITS_PER_COMMIT)]
            self._commit(f"Change {number}", [(name, self._edited(name)) for name in sorted(set(near))])

    def _name(self, number: int) -> str:
        directory = number // FILES_PER_DIRECTORY
        suffix = "png" if number % 100 < BINARY_SHARE * 100 else "py"
        return f"area{directory % 12}/part{directory // 12}/file_{number}.{suffix}"

    def _binary(self) -> bytes:
        return self._random.randbytes(int(self._size.binary_bytes * self._random.uniform(0.3, 1.7)))

    def _new_text(self, name: str) -> bytes:
        length = int(min(120_000, self._random.lognormvariate(8.6, 0.9)))
        start = self._random.randrange(len(self._text) - length)
        self._contents[name] = self._text[start : start + length]
        return self._contents[name]

    def _edited(self, name: str) -> bytes:
        old = self._contents[name]
        at, source = self._random.randrange(len(old) + 1), self._random.randrange(len(self._text) - 400)
        new = old[:at] + self._text[source : source + self._random.randrange(40, 400)] + old[at + 60 :]
        self._contents[name] = new
        return new

    def _commit(self, message: str, files: list[tuple[str, bytes]]) -> None:
        write = self._stream.write
        text = message.encode()
        write(b"commit refs/heads/main\ncommitter Sample <sample@example.org> 1700000000 +0000\n")
        write(b"data %d\n%s\n" % (len(text), text))
        for name, content in files:
            write(b"M 100644 inline %s\ndata %d\n" % (name.encode(), len(content)))
            write(content)
            write(b"\n")
        write(b"\n")
