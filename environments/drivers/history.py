"""Commits and differences of a checkout, as data that every door can show."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from common.errors import InvalidInput
from common.text import decodable, plain
from environments.drivers.git import Repository, checkout
from environments.drivers.outcome import default_branch

DIFF_S = 60.0
"""Seconds for a difference."""
MAX_LINES = 20_000
"""Lines of one answer; what is beyond is counted and not shown."""
MAX_FILE_LINES = 2_000
"""Lines of one file."""
AGAINST = ("changes", "staged", "branch")

LineKind = Literal["context", "added", "removed"]
_KINDS: dict[str, LineKind] = {" ": "context", "+": "added", "-": "removed"}
_COMMIT = "%H%x1f%h%x1f%aI%x1f%D%x1f%an%x1f%s"  # what may hold anything comes last
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_HUNK = re.compile(r"^@@ -(?P<old>\d+)(?:,\d+)? \+(?P<new>\d+)(?:,\d+)? @@(?P<context>.*)")


@dataclass(frozen=True)
class Commit:
    """One commit: id, short id, author's name, when, refs that point to it, first line of its message."""

    id: str
    short: str
    author: str
    at: datetime
    refs: str
    subject: str


@dataclass(frozen=True)
class Line:
    """A line of a hunk with its numbers before and after; None on the side that lacks it."""

    kind: LineKind
    old: int | None
    new: int | None
    text: str


@dataclass
class Hunk:
    """Lines that belong together; `context` is the function or heading they are in."""

    context: str
    lines: list[Line] = field(default_factory=list)


@dataclass
class FileDiff:
    """What happened to one file.

    Args:
        path: its name now.
        old_path: its name before, when that was another one.
        kind: modified, added, deleted, renamed, copied, mode.
        binary: there are no lines to show.
        added: how many lines.
        removed: how many lines.
        truncated: how many further lines are not shown.
    """

    path: str
    old_path: str = ""
    kind: str = "modified"
    binary: bool = False
    added: int = 0
    removed: int = 0
    truncated: int = 0
    hunks: list[Hunk] = field(default_factory=list)


@dataclass(frozen=True)
class Diff:
    """A difference: against what, the files, and how many more were left out."""

    against: str
    files: tuple[FileDiff, ...]
    left_out: int
    untracked: tuple[str, ...]

    @property
    def added(self) -> int:
        return sum(file.added for file in self.files)

    @property
    def removed(self) -> int:
        return sum(file.removed for file in self.files)


def log(path: Path, *, limit: int = 30, since: str = "") -> list[Commit]:
    """The commits of the branch that is checked out, newest first.

    Args:
        limit: how many at most.
        since: leave out those that this branch or commit has.
    """
    repository = checkout(path)
    if not repository.text("rev-parse", "-q", "--verify", "HEAD", check=False):
        return []
    span = "HEAD"
    if since:
        span = f"{_commit(repository, since)}..HEAD"
    listed = repository.run("log", "-z", f"--max-count={limit}", f"--format={_COMMIT}", span, "--", timeout=DIFF_S)
    return [_read_commit(record) for record in listed.stdout.split("\0") if record]


def diff(path: Path, *, against: str = "changes", names: tuple[str, ...] = ()) -> Diff:
    """What differs in a checkout.

    Args:
        against: `changes` (files against the last commit), `staged` (index against it), `branch` (commits and files
            since it left the default branch), or a commit.
        names: only these files.

    Raises: InvalidInput for an unknown commit.
    """
    repository = checkout(path)
    head = repository.text("rev-parse", "-q", "--verify", "HEAD", check=False) or _empty_tree(repository)
    if against == "branch":
        default = default_branch(repository)
        base = repository.text("merge-base", head, default, check=False) or default
    elif against in AGAINST:
        base = head
    else:
        base = _commit(repository, against)
    words = [
        "diff", "--no-ext-diff", "--no-textconv", "--no-color", "--find-renames", "--src-prefix=a/", "--dst-prefix=b/",
        *(["--cached"] if against == "staged" else []), base, "--", *(f":(literal){name}" for name in names),
    ]  # fmt: skip
    text = repository.run(*words, timeout=DIFF_S, env={"GIT_OPTIONAL_LOCKS": "0"}).stdout
    files, left_out = read_diff(text)
    untracked: tuple[str, ...] = ()
    if against != "staged":
        listed = repository.run("ls-files", "-z", "--others", "--exclude-standard", timeout=DIFF_S).stdout
        untracked = tuple(_shown(name) for name in listed.split("\0") if name)
    return Diff(against, tuple(files), left_out, untracked)


def read_diff(text: str) -> tuple[list[FileDiff], int]:
    """Read what `git diff` prints. Returns: the files, and how many more did not fit into `MAX_LINES`.

    Lines end at a newline and nowhere else: unidiff, the library for this, gives up on a carriage return in a line.
    Format: https://git-scm.com/docs/diff-format#generate_patch_text_with_p
    """
    reader = _Reader()
    for line in text.split("\n"):
        reader.take(line)
    return reader.files, reader.left_out


class _Reader:
    """What was read so far, line by line."""

    def __init__(self) -> None:
        self.files: list[FileDiff] = []
        self.left_out = 0
        self._file: FileDiff | None = None
        self._hunk: Hunk | None = None
        self._old = self._new = 0
        self._shown = self._shown_of_file = 0

    def take(self, line: str) -> None:
        if line.startswith("diff --git "):
            self._begin_file(line)
        elif self._file is None:
            return
        elif found := _HUNK.match(line):
            self._hunk = Hunk(_shown(found["context"].strip()))
            self._file.hunks.append(self._hunk)
            self._old, self._new = int(found["old"]), int(found["new"])
        elif self._hunk is None:
            _read_header(self._file, line)
        elif line[:1] in _KINDS:
            self._line(self._file, self._hunk, _KINDS[line[0]], line[1:])

    def _begin_file(self, line: str) -> None:
        self._file = self._hunk = None
        self._shown_of_file = 0
        if self._shown >= MAX_LINES:
            self.left_out += 1
        else:
            self._file = FileDiff(_named(line))
            self.files.append(self._file)

    def _line(self, file: FileDiff, hunk: Hunk, kind: LineKind, text: str) -> None:
        file.added += kind == "added"
        file.removed += kind == "removed"
        if self._shown < MAX_LINES and self._shown_of_file < MAX_FILE_LINES:
            self._shown += 1
            self._shown_of_file += 1
            old = self._old if kind != "added" else None
            new = self._new if kind != "removed" else None
            hunk.lines.append(Line(kind, old, new, _shown(text)))
        else:
            file.truncated += 1
        self._old += kind != "added"
        self._new += kind != "removed"


def _read_header(file: FileDiff, line: str) -> None:
    """One line between `diff --git` and the first hunk."""
    word, _, rest = line.partition(" ")
    for start, kind in (("new file", "added"), ("deleted file", "deleted"), ("old mode", "mode")):
        if line.startswith(start):
            file.kind = kind
    if word in ("rename", "copy"):
        file.kind = "renamed" if word == "rename" else "copied"
        side, _, name = rest.partition(" ")
        if side == "from":
            file.old_path = _unquoted(name)
        elif side == "to":
            file.path = _unquoted(name)
    elif line.startswith(("Binary files", "GIT binary patch")):
        file.binary = True
    elif word in ("---", "+++") and rest != "/dev/null":
        file.path = _unquoted(rest.rstrip("\t"))[2:]
        file.kind = "modified" if file.kind == "mode" else file.kind


def _named(line: str) -> str:
    """The name in `diff --git a/NAME b/NAME`; a renamed file tells both names later."""
    names = line.removeprefix("diff --git ")
    if found := _QUOTED.match(names):
        return _unquoted(found[0])[2:]
    return _shown(names[2 : 2 + (len(names) - 5) // 2])


def _unquoted(name: str) -> str:
    """A name as git prints it: in quotes with octal bytes when it has unusual characters."""
    if not name.startswith('"'):
        return _shown(name)
    raw = name[1:-1].encode("ascii", "surrogateescape").decode("unicode_escape").encode("latin-1")
    return _shown(raw.decode("utf-8", "replace"))


def _shown(text: str) -> str:
    """Text of a repository as it may be shown: no control characters, no undecodable bytes."""
    return plain(decodable(text))


def _read_commit(record: str) -> Commit:
    sha, short, at, refs, author, subject = record.split("\x1f", 5)
    when = datetime.fromtimestamp(0, UTC)
    with suppress(ValueError):  # git takes any number for a moment or a zone
        when = datetime.fromisoformat(at)
    return Commit(sha, short, _shown(author), when, _shown(refs), _shown(subject))


def _commit(repository: Repository, name: str) -> str:
    sha = repository.text("rev-parse", "-q", "--verify", "--end-of-options", f"{name}^{{commit}}", check=False)
    if not sha or sha.startswith("^"):
        raise InvalidInput(f"there is no branch, tag or commit {name!r}", fix=f"Name one, or: {', '.join(AGAINST)}.")
    return sha


def _empty_tree(repository: Repository) -> str:
    return repository.text("mktree", stdin="")
