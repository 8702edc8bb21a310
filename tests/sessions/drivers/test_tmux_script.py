"""What is written in tmux's language means what was meant."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import InvalidInput
from sessions.drivers.tmux import TmuxServer
from sessions.drivers.tmux_script import command, line, literal_format, quote, script
from tests.sessions.drivers.conftest import Start

# Everything an argument can hold; more often what means something to tmux.
TEXT = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
        st.sampled_from(list("\\\"'$~#{}%;\n\r\t\x1b\x7f =:@-[]()nu0123")),
    ),
    min_size=1,
    max_size=60,
)


def tmux(server: TmuxServer, text: str) -> subprocess.CompletedProcess[bytes]:
    argv = ["tmux", "-u", "-S", str(server.socket_path), "source-file", "-"]
    return subprocess.run(argv, input=text.encode(), capture_output=True, check=False, timeout=10)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(TEXT, min_size=1, max_size=20))
def test_any_text_comes_back_to_the_byte(server: TmuxServer, start: Start, tmux_dir: Path, texts: list[str]) -> None:
    if not server.snapshot().panes:
        start("a")
    files = [tmux_dir / f"buffer{index}" for index in range(len(texts))]
    done = tmux(
        server,
        script(
            line(command("set-buffer", "-b", "b", "--", text), command("save-buffer", "-b", "b", str(file)))
            for text, file in zip(texts, files, strict=True)
        ),
    )
    assert not done.stderr
    assert [file.read_bytes().decode() for file in files] == texts


def test_a_failing_command_stops_its_line_and_no_other(server: TmuxServer, start: Start) -> None:
    start("a")
    say = command("display-message", "-p", "said")
    done = tmux(server, script([line(command("kill-window", "-t", "@99"), say), say]))
    assert done.stdout == b"said\n"
    assert b"@99" in done.stderr


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_what_no_argument_can_hold_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        quote(text)


def test_a_style_in_a_format_cannot_be_escaped() -> None:
    assert literal_format("#{x}#(y)##") == "##{x}##(y)####"
    with pytest.raises(InvalidInput):
        literal_format("a#[b")
