"""Reading tmux's control mode: bytes in, in pieces of any size; replies and notifications out. Pure, it never raises.

The protocol is in tmux(1), CONTROL MODE. What stands between the guards of a reply, `%begin TIME NUMBER FLAGS` and
`%end` or `%error` with the same three, is the answer of a command, whatever it looks like; everything else is a
notification. Pane output in notifications is escaped, answers are not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

LINE_LIMIT = 8_000_000  # bytes of a line outside replies; one of a pane's output has a few thousand
BLOCK_LIMIT = 64_000_000  # bytes of a reply; 2,000 lines of 500 coloured cells have about 20 million

_KEPT = 200  # bytes that are shown of a line that is too long
_GUARD = re.compile(rb"%(begin|end|error) (\d{1,20}) (\d{1,20}) (\d{1,9})")
_ESCAPES = {b"%03o" % value: bytes((value,)) for value in range(256)}


class Block(NamedTuple):
    """The answer of one command. `time` is in seconds since the epoch; `number` grows with each one of the server."""

    time: int
    number: int
    flags: int  # 1: of a command that this client wrote; 0: of another, such as the one it was started with
    ok: bool
    data: bytes  # the lines, each with its newline; empty when there were too many
    overlong: bool = False

    @property
    def lines(self) -> list[bytes]:
        return self.data.split(b"\n")[:-1]

    @property
    def ours(self) -> bool:
        return bool(self.flags & 1)


class Output(NamedTuple):
    """What a pane's program wrote, byte by byte. `age_ms` is how long tmux held it back, told with `pause-after`."""

    pane: str
    data: bytes
    age_ms: int | None = None


class Paused(NamedTuple):
    """tmux does not send this pane's output any more: this client was too slow. What it held back is lost."""

    pane: str


class Continued(NamedTuple):
    """tmux sends this pane's output again."""

    pane: str


class SubscriptionChanged(NamedTuple):
    """The value of a format (`refresh-client -B`); what it is not about has empty ids."""

    name: str
    session: str
    window: str
    window_index: str
    pane: str
    value: str


class SessionsChanged(NamedTuple):
    """A session was made or ended."""


class SessionChanged(NamedTuple):
    """A client is attached to another session; `client` is empty for this one."""

    client: str
    session: str
    name: str


class SessionRenamed(NamedTuple):
    session: str
    name: str


class SessionWindowChanged(NamedTuple):
    """A session shows another of its windows."""

    session: str
    window: str


class WindowAdded(NamedTuple):
    """`linked`: into the session that this client is attached to."""

    window: str
    linked: bool


class WindowClosed(NamedTuple):
    window: str
    linked: bool


class WindowRenamed(NamedTuple):
    window: str
    name: str
    linked: bool


class WindowPaneChanged(NamedTuple):
    """A window has another active pane."""

    window: str
    pane: str


class LayoutChanged(NamedTuple):
    """A window's panes have other sizes."""

    window: str
    layout: str
    visible: str
    flags: str


class PaneModeChanged(NamedTuple):
    """A pane went into copy mode, or came out of it."""

    pane: str


class ClientDetached(NamedTuple):
    client: str


class Exit(NamedTuple):
    """The client is about to end; the reason is often empty."""

    reason: str


class Unknown(NamedTuple):
    """A notification that is not known here, or not in this form."""

    name: str
    rest: bytes


class Stray(NamedTuple):
    """A line that is no notification, or a guard that fits nothing."""

    line: bytes


class Overlong(NamedTuple):
    """A line that was dropped, and how it began."""

    start: bytes


Notification = (
    Output | Paused | Continued | SubscriptionChanged | SessionsChanged | SessionChanged | SessionRenamed
    | SessionWindowChanged | WindowAdded | WindowClosed | WindowRenamed | WindowPaneChanged | LayoutChanged
    | PaneModeChanged | ClientDetached | Exit | Unknown | Stray | Overlong
)  # fmt: skip
Item = Block | Notification


class ControlParser:
    """The state between two pieces of the stream.

    Args:
        line_limit: bytes of a line outside replies; of a longer one only an `Overlong` remains.
        block_limit: bytes of a reply; a longer one comes without its lines and says so.
    """

    def __init__(self, *, line_limit: int = LINE_LIMIT, block_limit: int = BLOCK_LIMIT) -> None:
        self._line_limit = line_limit
        self._kept = min(_KEPT, line_limit)
        self._block_limit = block_limit
        self._buffer = bytearray()  # in a reply it starts with the newline before its first line
        self._seen = 0  # bytes of it in which the end was looked for
        self._open: tuple[int, int, int] | None = None  # the reply's time, number and flags
        self._ends: tuple[bytes, bytes] = (b"", b"")
        self._start = b""  # how the line began that is being dropped
        self._overlong = False  # whether the reply's lines are being dropped
        self._last_number = -1

    def feed(self, data: bytes) -> list[Item]:
        """What is complete with these bytes, in order."""
        self._buffer += data
        return list(self._items())

    def _items(self) -> Iterator[Item]:
        while True:
            if self._open is not None:
                block = self._block(self._open)
                if block is None:
                    return
                yield block
                continue
            end = self._line_end()
            if end is None:
                return
            line, self._seen = bytes(self._buffer[:end]), 0
            overlong = bool(self._start) or end > self._line_limit
            begins = not overlong and self._begins(line)
            del self._buffer[: end if begins else end + 1]
            if overlong:
                yield Overlong(self._start or line[: self._kept])
                self._start = b""
            elif not begins:
                yield notification(line)

    def _line_end(self) -> int | None:
        """Where the line ends that the buffer starts with, outside of replies."""
        end = self._buffer.find(b"\n", self._seen)
        if end >= 0:
            return end
        self._seen = len(self._buffer)
        if self._seen > self._line_limit:
            self._start = self._start or bytes(self._buffer[: self._kept])
            self._buffer.clear()
            self._seen = 0
        return None

    def _begins(self, line: bytes) -> bool:
        """Open a reply, if this line is the first guard of one."""
        guard = _GUARD.fullmatch(line) if line.startswith(b"%begin ") else None
        if guard is None or int(guard[3]) <= self._last_number:  # they grow: such a line is from a screen
            return False
        self._open = int(guard[2]), int(guard[3]), int(guard[4])
        self._last_number = int(guard[3])
        about = line.removeprefix(b"%begin ")
        self._ends = b"\n%end " + about + b"\n", b"\n%error " + about + b"\n"
        return True

    def _block(self, about: tuple[int, int, int]) -> Block | None:
        """The reply that is open, once its own end is there."""
        found = [(at, end) for end in self._ends if (at := self._buffer.find(end, self._seen)) >= 0]
        if not found:
            self._seen = max(len(self._buffer) - max(map(len, self._ends)) + 1, 0)
            if self._seen > self._block_limit:
                self._overlong = True
                del self._buffer[: self._seen]
                self._seen = 0
            return None
        at, end = min(found)
        overlong = self._overlong or at > self._block_limit
        data = b"" if overlong else bytes(self._buffer[1 : at + 1])
        del self._buffer[: at + len(end)]
        self._open, self._overlong, self._seen = None, False, 0
        time, number, flags = about
        return Block(time, number, flags, end is self._ends[0], data, overlong)


def unescape(value: bytes) -> bytes:
    """Pane output without its escapes: tmux writes a backslash, and what is below a space, as `\\ooo`.

    A backslash that begins no such escape stays.
    """
    first, *parts = value.split(b"\\")
    if not parts:
        return value
    known = _ESCAPES
    return first + b"".join([known[part[:3]] + part[3:] if part[:3] in known else b"\\" + part for part in parts])


def notification(line: bytes) -> Notification:
    """What one line outside of replies says."""
    if not line.startswith(b"%") or _GUARD.match(line):
        return Stray(line)
    name, _, rest = line[1:].partition(b" ")
    form = _FORMS.get(name)
    found = form[0].fullmatch(rest) if form is not None else None
    if form is None or found is None:
        return Unknown(_text(name), rest)
    return form[1](found)


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


def _output(found: re.Match[bytes]) -> Notification:
    return Output(_text(found[1]), unescape(found[2]))


def _extended_output(found: re.Match[bytes]) -> Notification:
    return Output(_text(found[1]), unescape(found[3]), int(found[2]))


def _subscription(found: re.Match[bytes]) -> Notification:
    session, window, index, pane = ("" if word == b"-" else _text(word) for word in found.groups()[1:5])
    return SubscriptionChanged(_text(found[1]), session, window, index, pane, _text(found[7]))


def _texts(kind: Callable[..., Notification], **more: bool) -> Callable[[re.Match[bytes]], Notification]:
    """Makes a notification whose fields are the groups, in order."""
    return lambda found: kind(*map(_text, found.groups()), **more)


def _form(
    pattern: bytes, make: Callable[[re.Match[bytes]], Notification]
) -> tuple[re.Pattern[bytes], Callable[[re.Match[bytes]], Notification]]:
    return re.compile(pattern, re.DOTALL), make


# What follows the name (tmux(1)). A target of output is a pane, or a popup (`^1`, tmux 3.7); words that newer versions
# put before a colon are passed over. Texts come last, and may be missing where older versions left them out.
_FORMS = {
    b"output": _form(rb"([%^]\d+) (.*)", _output),
    b"extended-output": _form(rb"([%^]\d+) (\d{1,20})(?: [^:\s]+)* : (.*)", _extended_output),
    b"pause": _form(rb"(%\d+)", _texts(Paused)),
    b"continue": _form(rb"(%\d+)", _texts(Continued)),
    b"subscription-changed": _form(rb"(\S+) (\$\d+|-) (@\d+|-) (\d+|-) (%\d+|-)((?: [^:\s]+)*) : (.*)", _subscription),
    b"sessions-changed": _form(rb"", _texts(SessionsChanged)),
    b"session-changed": _form(rb"()(\$\d+) (.*)", _texts(SessionChanged)),
    b"client-session-changed": _form(rb"(.*) (\$\d+) (.*)", _texts(SessionChanged)),
    b"session-renamed": _form(rb"(?:(\$\d+) )?(.*)", _texts(SessionRenamed)),
    b"session-window-changed": _form(rb"(\$\d+) (@\d+)", _texts(SessionWindowChanged)),
    b"window-add": _form(rb"(@\d+)", _texts(WindowAdded, linked=True)),
    b"unlinked-window-add": _form(rb"(@\d+)", _texts(WindowAdded, linked=False)),
    b"window-close": _form(rb"(@\d+)", _texts(WindowClosed, linked=True)),
    b"unlinked-window-close": _form(rb"(@\d+)", _texts(WindowClosed, linked=False)),
    b"window-renamed": _form(rb"(@\d+)(?: (.*))?", _texts(WindowRenamed, linked=True)),
    b"unlinked-window-renamed": _form(rb"(@\d+)(?: (.*))?", _texts(WindowRenamed, linked=False)),
    b"window-pane-changed": _form(rb"(@\d+) (%\d+)", _texts(WindowPaneChanged)),
    b"layout-change": _form(rb"(@\d+) (\S+)(?: (\S+)(?: (\S*))?)?", _texts(LayoutChanged)),
    b"pane-mode-changed": _form(rb"(%\d+)", _texts(PaneModeChanged)),
    b"client-detached": _form(rb"(.*)", _texts(ClientDetached)),
    b"exit": _form(rb"(.*)", _texts(Exit)),
}
