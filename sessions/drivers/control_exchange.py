"""What is written to a control client, and which of the replies answers what.

Each command answers with a block of its own: `a ; b` with two, or with one when `a` fails, and `if-shell` with as
many as it comes to run. Where the number cannot be told from the line, a word that nobody can guess is printed after
it; and at the end of every exchange, so that a screen that imitates the protocol is found out before anything it
forged is believed.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import NamedTuple

from common.errors import InvalidInput
from sessions.drivers.control_parser import Block
from sessions.drivers.tmux_errors import TmuxError
from sessions.drivers.tmux_script import check_text, command

# Commands that answer with one block, whatever happens. Others may run further ones, or none.
_SINGLE = frozenset(
    (
        "capture-pane", "copy-mode", "delete-buffer", "display-message", "has-session", "kill-pane", "kill-session",
        "kill-window", "link-window", "list-clients", "list-panes", "list-sessions", "list-windows", "new-session",
        "new-window", "paste-buffer", "refresh-client", "rename-session", "rename-window", "resize-window",
        "select-pane", "select-window", "send-keys", "set-buffer", "set-option", "show-buffer", "show-options",
        "split-window", "unlink-window",
    )
)  # fmt: skip
_QUOTED = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_SPECIAL = re.compile(r"""["'\\{}#$~%]""")


class Desynchronised(TmuxError):
    """What tmux answered does not fit what it was asked: no answer can be trusted any more."""

    code = "tmux_desynchronised"


class Reply(NamedTuple):
    """The answer of one line of commands: what it printed, and why it failed; no line after the failing command ran."""

    ok: bool
    lines: list[bytes]
    error: str = ""

    @property
    def text(self) -> str:
        """The lines, separated by newlines; what is not valid UTF-8 is replaced."""
        return b"\n".join(self.lines).decode("utf-8", "replace")


def check_line(text: str) -> str:
    """A line of commands, if it can be sent.

    Raises: InvalidInput for one that is empty, which would end the client, a comment, or one with a newline in it.
    """
    if not text.strip() or "\n" in text or text.lstrip().startswith("#"):
        raise InvalidInput(f"{text[:80]!r} is not one line of tmux commands", fix="Quote newlines as \\n.")
    return check_text(text, what="a tmux command")


def blocks_of(text: str) -> int | None:
    """How many blocks a line answers with when nothing fails; None when that cannot be told."""
    bare = _QUOTED.sub("", text)
    if _SPECIAL.search(bare):
        return None
    commands = bare.split(";")
    return len(commands) if all(part.split(None, 1)[:1] and part.split()[0] in _SINGLE for part in commands) else None


class Exchange:
    """Some lines that are sent together, and their replies as they come in.

    Args:
        lines: as `tmux_script` makes them.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        self.replies: list[Reply] = []
        self._nonce = secrets.token_hex(8)
        self._expected = [blocks_of(line) for line in lines]
        self._blocks: list[Block] = []
        sent = []
        for number, line in enumerate(lines):
            sent.append(line)
            if self._expected[number] is None:
                sent.append(command("display-message", "-p", self._mark(number)))
        sent.append(command("display-message", "-p", self._mark(len(lines))))
        self.payload = ("\n".join(sent) + "\n").encode()

    def take(self, block: Block) -> bool:
        """The next block. Returns: whether it was the last one.

        Raises: Desynchronised when it cannot be.
        """
        number = len(self.replies)
        if number == len(self._expected):
            if not self._is_mark(block, number):
                raise desynchronised()
            return True
        if self._expected[number] is None:
            if self._is_mark(block, number):
                self._reply()
            else:
                self._blocks.append(block)
            return False
        self._blocks.append(block)
        if not block.ok or len(self._blocks) == self._expected[number]:
            self._reply()
        return False

    def _reply(self) -> None:
        blocks, self._blocks = self._blocks, []
        errors = [_reason(block) for block in blocks if not block.ok or block.overlong]
        lines = [line for block in blocks if block.ok for line in block.lines]
        self.replies.append(Reply(not errors, lines, "\n".join(errors)))

    def _mark(self, number: int) -> str:
        return f"{self._nonce}-{number}"

    def _is_mark(self, block: Block, number: int) -> bool:
        return block.ok and block.data == self._mark(number).encode() + b"\n"


def desynchronised() -> Desynchronised:
    """The error for an answer that fits no question."""
    return Desynchronised(
        "tmux answered in an order that makes no sense",
        meaning="A program's screen may have imitated tmux. What was asked for may have been done or not.",
        fix="The connection is made anew by itself.",
    )


def _reason(block: Block) -> str:
    if block.overlong:
        return "the answer is too long"
    return block.data.decode("utf-8", "replace").strip() or "tmux gave no reason"
