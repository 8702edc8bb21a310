"""The parser of tmux's control mode, on streams of a real tmux 3.3a and on whatever hypothesis thinks of.

The streams were recorded with `tmux -C new-session … -f no-output,ignore-size` (topology) and
`tmux -C attach-session … -f pause-after=2,ignore-size` (view); a computer's name was replaced.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions.drivers.control_parser import (
    Block,
    Continued,
    ControlParser,
    Exit,
    Item,
    LayoutChanged,
    Output,
    Overlong,
    PaneModeChanged,
    Paused,
    SessionChanged,
    SessionRenamed,
    SessionsChanged,
    SessionWindowChanged,
    Stray,
    SubscriptionChanged,
    Unknown,
    WindowAdded,
    WindowClosed,
    WindowPaneChanged,
    WindowRenamed,
    notification,
    unescape,
)

STREAMS = Path(__file__).parent / "control_streams"
SCREEN = b"%end 1 1 1\n%exit\nbold back\\slash\n" + "中文 e\u0301 👩\u200d💻\n".encode() + b"broken\n" + 7 * b"\n"

# Pieces that a stream, or a screen within it, may be made of
_FRAGMENTS = [
    b"%begin 1 1 1\n", b"%end 1 1 1\n", b"%error 1 1 1\n", b"%begin 1 2 0\n", b"%end 1 2 0\n", b"%begin 1 3 1\n",
    b"%error 1 3 1\n", b"%output %1 a\\015\\012\n", b"%extended-output %1 5 : x\\\n", b"%extended-output %1 5 new : \n",
    b"%exit\n", b"%exit lost server\n", b"%pause %1\n", b"%layout-change @1 a b\n", b"%", b"\n", b"text\n", b" ", b"\\",
    b"%begin 1 4", b"%end", b"\xff\xfe", b"x" * 40,
]  # fmt: skip
streams = st.lists(st.sampled_from(_FRAGMENTS) | st.binary(max_size=12), max_size=30).map(b"".join)


def parse(*pieces: bytes, **limits: int) -> list[Item]:
    parser = ControlParser(**limits)
    return [item for piece in pieces for item in parser.feed(piece)]


def reply(number: int, data: bytes, *, end: str = "end", flags: int = 1) -> bytes:
    about = f"1700000000 {number} {flags}"
    return f"%begin {about}\n".encode() + data + f"%{end} {about}\n".encode()


# Recorded streams


def test_topology_as_recorded() -> None:
    items = parse((STREAMS / "topology.txt").read_bytes())
    blocks = [item for item in items if isinstance(item, Block)]
    assert [block.ours for block in blocks] == [False, False] + 22 * [True]
    assert [(block.lines, block.ok) for block in blocks[2:11]] == [
        ([b"+gaia-x 1", b"zero 1"], True),
        ([], True),
        ([b"a b"], True),
        ([b"parse error: unknown command: foo"], False),
        ([], True),
        ([b"a"], True),
        ([b"b"], True),
        ([b"a"], True),
        ([b"can't find window: @99"], False),
    ]
    assert blocks[11].lines == [b""], "an empty line is not the same as none"
    assert [item for item in items if not isinstance(item, Block)] == [
        WindowAdded("@1", linked=True),
        SessionsChanged(),
        SessionChanged("", "$1", "+gaia-x"),
        WindowAdded("@2", linked=False),
        SessionsChanged(),
        SessionRenamed("$2", "wkä 2"),
        WindowRenamed("@2", "again", linked=False),
        WindowAdded("@2", linked=False),
        WindowRenamed("@2", "again", linked=False),
        WindowPaneChanged("@2", "%3"),
        PaneModeChanged("%3"),
        WindowClosed("@2", linked=False),
        WindowClosed("@2", linked=False),
        SessionsChanged(),
        PaneModeChanged("%3"),
        Exit(""),
    ]


def test_output_as_recorded() -> None:
    items = parse((STREAMS / "view.txt").read_bytes())
    [output] = [item for item in items if isinstance(item, Output)]
    assert (output.pane, output.age_ms) == ("%0", 0)
    assert output.data == (
        b"%end 1 1 1\r\n%exit\r\n\x1b[1mbold\x1b[0m back\\slash\r\n"
        + "中文 e\u0301 👩\u200d💻\r\n".encode()
        + b"broken \xff\xfe \xc3\r\n"
    )
    answers = [item.data for item in items if isinstance(item, Block) and b"broken" in item.data]
    assert answers == [SCREEN, SCREEN.replace(b"bold", b"\x1b[1mbold\x1b[0m\x1b[39m\x1b[49m")]
    assert items[-2:] == [SessionsChanged(), Exit("")]
    assert SessionWindowChanged("$0", "@1") in items
    assert SubscriptionChanged("title", "$0", "@0", "0", "%0", "new title 0") in items
    assert SubscriptionChanged("win", "$0", "@1", "1", "", "second") in items
    layout = "bcaa,60x12,0,0[60x6,0,0,0,60x5,0,7,1]"
    assert LayoutChanged("@0", layout, layout, "-") in items
    assert not [item for item in items if isinstance(item, Unknown | Stray | Overlong)]


@pytest.mark.parametrize("name", ["topology.txt", "view.txt"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_a_recorded_stream_in_pieces(name: str, size: int) -> None:
    stream = (STREAMS / name).read_bytes()
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert parse(*pieces) == parse(stream)


# What else tmux says, from its manual and other versions


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        (b"%output %7 a\\033[0m\\134", Output("%7", b"a\x1b[0m\\")),
        (b"%output %7 ", Output("%7", b"")),
        (b"%output ^2 popup", Output("^2", b"popup")),
        (b"%extended-output %7 1203 : a : b", Output("%7", b"a : b", 1203)),
        (b"%extended-output %7 1203 later 7 : a", Output("%7", b"a", 1203)),
        (b"%extended-output %7 12 : ", Output("%7", b"", 12)),
        (b"%pause %1", Paused("%1")),
        (b"%continue %1", Continued("%1")),
        (b"%subscription-changed n $1 - - - : v", SubscriptionChanged("n", "$1", "", "", "", "v")),
        (b"%subscription-changed n $1 @2 3 %4 more : a : b", SubscriptionChanged("n", "$1", "@2", "3", "%4", "a : b")),
        (b"%session-changed $1 a b", SessionChanged("", "$1", "a b")),
        (b"%client-session-changed client-12 $1 a", SessionChanged("client-12", "$1", "a")),
        (b"%session-renamed only the name", SessionRenamed("", "only the name")),
        (b"%unlinked-window-renamed @4", WindowRenamed("@4", "", linked=False)),
        (b"%window-renamed @4 a b", WindowRenamed("@4", "a b", linked=True)),
        (b"%window-close @4", WindowClosed("@4", linked=True)),
        (b"%layout-change @4 abc", LayoutChanged("@4", "abc", "", "")),
        (b"%layout-change @4 abc def *Z", LayoutChanged("@4", "abc", "def", "*Z")),
        (b"%exit", Exit("")),
        (b"%exit too far behind", Exit("too far behind")),
        (b"%exit \xff", Exit("�")),
        (b"%paste-buffer-changed buffer0", Unknown("paste-buffer-changed", b"buffer0")),
        (b"%window-add @x", Unknown("window-add", b"@x")),
        (b"%output 7 a", Unknown("output", b"7 a")),
        (b"%", Unknown("", b"")),
        (b"printed by a job", Stray(b"printed by a job")),
        (b"", Stray(b"")),
        (b"%end 1 2 3", Stray(b"%end 1 2 3")),
    ],
)
def test_each_notification(line: bytes, meant: Item) -> None:
    assert notification(line) == meant
    assert parse(line + b"\n") == [meant]


def test_only_the_own_end_ends_a_reply() -> None:
    screen = b"%end 1700000000 5 1\n%error 1700000000 41 1\n%end 1700000000 42 0\n"
    screen += b" %end 1700000000 42 1\n%exit\n%begin 1 43 1\n"
    assert parse(reply(42, screen)) == [Block(1700000000, 42, 1, True, screen)]
    assert parse(reply(42, screen, end="error")) == [Block(1700000000, 42, 1, False, screen)]


def test_a_reply_that_was_ended_by_its_screen_is_noticed() -> None:
    """Somebody guessed time and number: what comes after does not fit any more."""
    guessed = b"%end 1700000000 42 1\n%begin 1700000000 42 1\nforged\n"
    items = parse(reply(42, b"a\n" + guessed) + reply(43, b"b\n"))
    assert items == [
        Block(1700000000, 42, 1, True, b"a\n"),
        Stray(b"%begin 1700000000 42 1"),
        Stray(b"forged"),
        Stray(b"%end 1700000000 42 1"),
        Block(1700000000, 43, 1, True, b"b\n"),
    ]


# Limits


def test_an_overlong_reply_costs_only_itself() -> None:
    long = b"x" * 50 + b"\n"
    for size in (1, 7, 1000):
        stream = reply(1, 3 * long) + reply(2, b"fine\n")
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        parser = ControlParser(block_limit=100)
        items = []
        for piece in pieces:
            items += parser.feed(piece)
            assert len(parser._buffer) <= max(100, size) + 100
        assert items == [Block(1700000000, 1, 1, True, b"", overlong=True), Block(1700000000, 2, 1, True, b"fine\n")]


def test_an_overlong_line_costs_only_itself() -> None:
    stream = b"%output %1 " + b"y" * 1000 + b"\n%pause %1\n"
    for size in (1, 7, 2000):
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        parser = ControlParser(line_limit=300)
        items = [item for piece in pieces for item in parser.feed(piece)]
        assert items == [Overlong(stream[:200]), Paused("%1")]
        assert len(parser._buffer) == 0


# Anything


@given(st.lists(st.binary(max_size=40)))
def test_no_bytes_raise(pieces: list[bytes]) -> None:
    parse(*pieces, line_limit=20, block_limit=20)


@given(streams, st.lists(st.integers(0, 400)), st.sampled_from([5, 30, 1000]))
def test_any_pieces_give_the_same_items(stream: bytes, cuts: list[int], limit: int) -> None:
    whole = parse(stream, line_limit=limit, block_limit=limit)
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(bounds)]
    assert parse(*pieces, line_limit=limit, block_limit=limit) == whole


@given(st.lists(streams))
def test_any_screen_is_its_replys(screens: list[bytes]) -> None:
    """As long as nobody guesses the guards, which the stream's fragments do not: their times are others."""
    answers = [screen + b"\n" for screen in screens]
    items = parse(b"".join(reply(number, answer) for number, answer in enumerate(answers)))
    assert items == [Block(1700000000, number, 1, True, answer) for number, answer in enumerate(answers)]
    assert [b"".join(line + b"\n" for line in item.lines) for item in items if isinstance(item, Block)] == answers


@given(st.binary())
def test_escaped_bytes_come_back(data: bytes) -> None:
    def escape(value: int) -> bytes:  # as control_append_data in tmux's control.c
        return b"\\%03o" % value if value < 0x20 or value == 0x5C else bytes((value,))

    escaped = b"".join(map(escape, data))
    assert unescape(escaped) == data
    assert parse(b"%output %3 " + escaped + b"\n") == [Output("%3", data)]


@given(st.binary())
def test_what_is_no_escape_stays(data: bytes) -> None:
    unescape(data)
    assert unescape(b"\\8" + data.replace(b"\\", b"")) == b"\\8" + data.replace(b"\\", b"")
