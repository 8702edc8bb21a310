"""A difference as people read it: which files begin folded, and what changed within a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from environments.drivers.history import Diff, FileDiff, Line

FOLDED_FROM = 400
"""Lines from which on a file begins folded."""
UNFOLDED_LINES = 4_000
"""Lines of a page that begin unfolded; the files after them do not."""
_WORTH = 0.4  # a line of which more was changed than stayed is another line: marking most of it says nothing


@dataclass(frozen=True)
class ShownFile:
    """A file of the page.

    Args:
        anchor: its place on the page.
        letter: what happened to it, for the list: M, A, D, R, C.
        told: the same in a word, with what is to be known of it.
        unfolded: whether its lines are seen at once.
    """

    file: FileDiff
    anchor: str
    letter: str
    told: str
    unfolded: bool

    @property
    def folder(self) -> str:
        """The directory, with its slash."""
        head, slash, _ = self.file.path.rpartition("/")
        return head + slash

    @property
    def name(self) -> str:
        return self.file.path.rpartition("/")[2]


_WORDS = {
    "modified": ("M", "modified"),
    "added": ("A", "new file"),
    "deleted": ("D", "deleted"),
    "renamed": ("R", "renamed"),
    "copied": ("C", "copied"),
    "mode": ("M", "mode changed"),
}


def shown_files(diff: Diff) -> list[ShownFile]:
    """The files of a page."""
    shown, left = [], UNFOLDED_LINES
    for number, file in enumerate(diff.files, 1):
        lines = sum(len(hunk.lines) for hunk in file.hunks)
        unfolded = lines < FOLDED_FROM and lines <= left
        left -= lines if unfolded else 0
        letter, told = _WORDS[file.kind]
        shown.append(ShownFile(file, f"file-{number}", letter, told, unfolded))
    return shown


def changed_spans(lines: Sequence[Line]) -> dict[int, tuple[int, int]]:
    """What changed within lines that were replaced one by one: begin and end, by the line's index."""
    spans: dict[int, tuple[int, int]] = {}
    for removed, added in _replacements(lines):
        if len(removed) != len(added):
            continue
        for old, new in zip(removed, added, strict=True):
            found = _differ(lines[old].text, lines[new].text)
            if found is not None:
                spans[old], spans[new] = found
    return spans


def _replacements(lines: Sequence[Line]) -> Iterator[tuple[list[int], list[int]]]:
    """Runs of removed lines with the run of added lines that follows."""
    removed: list[int] = []
    added: list[int] = []
    for index, line in enumerate(lines):
        if line.kind == "added":
            added.append(index)
            continue
        if added or line.kind == "context":
            if removed and added:
                yield removed, added
            removed, added = [], []
        if line.kind == "removed":
            removed.append(index)
    if removed and added:
        yield removed, added


def _differ(old: str, new: str) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """What two lines do not share at their beginning and end, in whole words; None when that is most of them."""
    shortest = min(len(old), len(new))
    begin = next((place for place in range(shortest) if old[place] != new[place]), shortest)
    end = next((back for back in range(shortest - begin) if old[-1 - back] != new[-1 - back]), shortest - begin)
    while begin and _of_word(old[begin - 1]) and (_of_word(old[begin : begin + 1]) or _of_word(new[begin : begin + 1])):
        begin -= 1
    while end and _of_word(old[-end]) and (_of_word(old[-end - 1 : -end]) or _of_word(new[-end - 1 : -end])):
        end -= 1
    spans = (begin, len(old) - end), (begin, len(new) - end)
    longest = max(len(old.strip()), len(new.strip()), 1)
    changed = max(last - first for first, last in spans)
    return spans if 0 < changed <= longest * (1 - _WORTH) else None


def _of_word(sign: str) -> bool:
    return sign.isalnum() or sign == "_"
