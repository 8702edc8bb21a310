"""Reading panes."""

from __future__ import annotations

import pytest

from sessions.drivers.tmux import PaneMissing, TmuxServer
from tests.sessions.drivers.conftest import Start
from tests.sessions.drivers.panes import pane_of
from tests.waiting import until


def test_the_screen_is_read(server: TmuxServer, start: Start) -> None:
    pane = start("show", "/bin/sh", "-c", "printf 'wide 世界 é\\n\\033[31mred\\033[0m  \\n'; exec cat")
    until(lambda: "red" in server.capture(pane.pane_id))
    lines = server.capture(pane.pane_id).split("\n")
    assert lines[:2] == ["wide 世界 é", "red"]
    assert len(lines) == 50
    assert "\x1b[31mred" in server.capture(pane.pane_id, ansi=True)


@pytest.mark.parametrize("ansi", [False, True])
def test_scrollback_is_read_in_pages_without_seams(server: TmuxServer, start: Start, ansi: bool) -> None:
    pane = start("long", "/bin/sh", "-c", "seq 1 7000; exec cat", height=20)
    until(lambda: "7000" in server.capture(pane.pane_id))
    text = server.capture(pane.pane_id, lines=100_000, ansi=ansi).replace("\x1b[0m", "")
    numbers = [int(line) for line in text.split("\n") if line]
    assert numbers == list(range(1, 7001))
    text = server.capture(pane.pane_id, lines=10, ansi=ansi)
    assert int(text.split("\n")[0]) == 7000 - 19 - 10 + 1


FLOOD = "i=0; while :; do i=$((i+1)); echo $i; [ $((i % 40)) -gt 0 ] || sleep 0.001; done"


@pytest.mark.parametrize("limit", [6_000, 1_000_000])
def test_reading_while_lines_scroll_by_neither_loses_nor_repeats_any(
    server: TmuxServer, start: Start, limit: int
) -> None:
    """Before the history is full, and when it drops its oldest tenth again and again."""
    server.history_limit = limit
    pane = start("flood", "/bin/sh", "-c", FLOOD, height=20)
    until(lambda: int((server.capture(pane.pane_id).split() or ["0"])[-1]) > 7_000)
    for _ in range(20):
        numbers = [int(line) for line in server.capture(pane.pane_id, lines=5_000).split("\n") if line]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert len(numbers) > 1_000  # fewer than asked for by as many as scroll by while they are read


def test_a_dead_pane_can_still_be_read(server: TmuxServer, start: Start) -> None:
    pane = start("dead", "/bin/sh", "-c", "stty -echo; echo last words; read line")
    until(lambda: "last words" in server.capture(pane.pane_id))
    server.send_key(pane.pane_id, "Enter")
    until(lambda: pane_of(server, "dead").dead)
    assert server.capture(pane.pane_id).startswith("last words")


def test_the_history_limit_is_kept(make_server: object, start: Start, server: TmuxServer) -> None:
    server.history_limit = 100
    pane = start("short", "/bin/sh", "-c", "seq 1 5000; exec cat", height=10)
    until(lambda: "5000" in server.capture(pane.pane_id))
    assert len(server.capture(pane.pane_id, lines=100_000).split("\n")) <= 110


def test_only_the_pane_with_this_mark_is_read(server: TmuxServer, start: Start) -> None:
    """A number is another pane's after a restart of tmux."""
    pane = start("mine", "/bin/sh", "-c", "echo my screen; exec cat")
    until(lambda: "my screen" in server.capture(pane.pane_id, gaia_id="id-mine"))
    for lines in (0, 5_000):
        with pytest.raises(PaneMissing):
            server.capture(pane.pane_id, lines=lines, gaia_id="id-somebody")
