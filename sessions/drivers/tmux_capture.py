"""Reading a pane's screen and scrollback in pages, so that a long one does not stop the server for everybody."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from common.errors import Conflict
from sessions.drivers.tmux_facts import GAIA_ID, PROCESS
from sessions.drivers.tmux_script import command, line

PAGE = 2_000  # lines per conversation; 50,000 at once stop the server for half a second
OVERLAP = 20  # lines that are read twice, to see that two pages fit


_TRIES = 5
_MARGIN = 100  # lines that may scroll by while one asks


class Page(NamedTuple):
    """Lines of a pane from the one numbered `first`, where 0 is the oldest that tmux has; it has `total`."""

    first: int
    total: int
    rows: list[str]


class History(NamedTuple):
    """How many lines of scrollback a pane has, and may have."""

    size: int
    limit: int

    def moved_since(self, earlier: History) -> int:
        """How many lines scrolled off the screen since; a full history has dropped a tenth (grid_collect_history)."""
        grown = self.size - earlier.size
        return grown if grown >= 0 else grown + max(self.limit // 10, 1)


def page_line(pane_id: str, start: str, end: str, ansi: bool) -> str:
    """The script line that prints the history's size and which pane it is, then the lines from `start` to `end`.

    See tmux(1), capture-pane.
    """
    flags = ("-e",) if ansi else ()
    return line(
        command(
            "display-message", "-p", "-t", pane_id, f"#{{history_size}} #{{history_limit}} {PROCESS} #{{{GAIA_ID}}}"
        ),
        command("capture-pane", "-p", *flags, "-S", start, "-E", end, "-t", pane_id),
    )


def read_pages(read: Callable[[str, str], str], lines: int, ansi: bool) -> str:
    """The screen with up to so many lines of scrollback before it, none lost and none twice while more scroll by.

    Args:
        read: runs a `page_line` with this start and end, and returns what tmux printed.
        lines: of scrollback.
        ansi: whether the pages hold escape sequences.
    """
    first = min(lines, PAGE)
    rows, history = _page(read(f"-{first}" if first > 0 else "0", "-"))
    pages, above = [rows], min(first, history.size)  # lines above the screen that we have
    while above < min(lines, history.size):
        take = min(PAGE, lines - above)
        rows, now = _page(read(str(-above - take), str(-above - 1 + OVERLAP)))
        # What the pane wrote since the last page moved its lines up: the end of this one is the start of the last one.
        known = OVERLAP + now.moved_since(history)
        if not _continues(rows, pages[-1], known, ansi):  # it writes faster than we read: all in one piece then
            return "\n".join(_page(read(str(-lines), "-"))[0])
        pages.append(rows[:-known])
        above, history = above + take, now
    joint = "\x1b[0m\n" if ansi else "\n"  # each page starts with plain attributes
    return joint.join("\n".join(rows) for rows in reversed(pages))


def read_page(read: Callable[[str, str], str], lines: int, height: int, before: int | None) -> Page:
    """Up to so many lines that end before the one with this number, or at the end of the screen.

    Args:
        read, lines: as for `read_pages`, at most `PAGE`.
        height: of the pane, in lines.
        before: a number as in `Page`; None for the end.

    Raises: Conflict when more lines scroll by than can be read.
    """
    if before is None:
        rows, history = _page(read(str(height - lines), "-"))
        return Page(max(0, history.size + height - lines), history.size + height, rows)
    _, history = _page(read("0", "0"))
    margin = 0
    for _ in range(_TRIES):
        end = min(before, history.size + height)
        first, size = max(0, end - lines), history.size
        if first >= end:
            return Page(first, size + height, [])
        # tmux counts from the screen's top: what scrolls by until it answers moves the page down by as many lines
        start = max(first - margin, 0)
        rows, history = _page(read(str(start - size) if start else "-", str(end - 1 - size)))
        moved = history.size - size
        skipped = first - (start + moved if start else 0)
        if moved >= 0 and skipped >= 0:
            return Page(first, history.size + height, rows[skipped : skipped + end - first])
        margin = min(PAGE, max(_MARGIN, 2 * moved))
    raise Conflict(
        "the pane writes faster than this page can be read", fix="Ask for its end, without before=, or ask again."
    )


def whose(text: str) -> tuple[str, str]:
    """The mark of the pane that a printed page is of, empty when it has none, and its process as `PROCESS` has it."""
    words = text.partition("\n")[0].split(" ", 3)
    return (words[3], words[2]) if len(words) > 3 else ("", "")


def _continues(rows: list[str], later: list[str], known: int, ansi: bool) -> bool:
    """Whether the last `known` rows are the first of the later page, and some are new."""
    if not known < len(rows) or known > len(later):
        return False
    begin = 1 if ansi else 0  # a page's first row repeats the attributes that are in force
    return rows[len(rows) - known + begin :] == later[begin:known]


def _page(text: str) -> tuple[list[str], History]:
    head, _, body = text.partition("\n")
    size, limit, *_ = f"{head}  ".split(" ", 2)
    return body.removesuffix("\n").split("\n"), History(int(size or 0), int(limit or 0))
