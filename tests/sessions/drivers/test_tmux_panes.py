"""Writing into panes, and ending them."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from common.errors import InvalidInput
from sessions.drivers.tmux import NotSubmitted, PaneDead, PaneInMode, PaneMissing, TmuxServer
from sessions.drivers.tmux_keys import KEYS, check_key, clean_text
from tests.sessions.drivers.conftest import Start
from tests.sessions.drivers.panes import pane_of
from tests.waiting import until

# Writes every byte it is given to a file; with 2004h it asks for brackets around pastes, as agents' TUIs do.
RECORD = 'stty raw -echo; printf "%s" "$2"; touch "$1.ready"; exec cat > "$1"'
BRACKETS = "\x1b[?2004h"


class Recorder:
    """A pane whose program keeps what it is sent."""

    def __init__(self, start: Start, directory: Path, name: str = "recorder", *, brackets: bool = False) -> None:
        self.file = directory / name
        self.pane_id = start(name, "/bin/sh", "-c", RECORD, "sh", str(self.file), BRACKETS if brackets else "").pane_id
        until((directory / f"{name}.ready").exists)

    def received(self) -> str:
        return self.file.read_bytes().decode(errors="replace") if self.file.exists() else ""

    def wait(self, text: str) -> None:
        until(lambda: len(self.received().encode()) >= len(text.encode()))
        assert self.received() == text


@pytest.fixture
def recorder(start: Start, tmux_dir: Path) -> Recorder:
    return Recorder(start, tmux_dir)


@pytest.mark.parametrize(
    "text",
    [
        "plain", "with spaces  and\ttab", "ends with;", ";", "\\;", "-l", "--", "Enter", "C-c", "$HOME ~ #{pid} #(id)",
        "'\"`\\",
        "世界 é 👩‍💻 ｗｉｄｅ", "x" * 4096, "% {} }",
    ],
)  # fmt: skip
def test_short_text_arrives_as_it_is(server: TmuxServer, recorder: Recorder, text: str) -> None:
    server.send_keys(recorder.pane_id, text)
    recorder.wait(text)


def test_enter_follows_the_text(server: TmuxServer, recorder: Recorder) -> None:
    server.send_keys(recorder.pane_id, "make test\n\n", enter=True)
    recorder.wait("make test\r")


def test_enter_may_wait_for_a_slow_reader(server: TmuxServer, recorder: Recorder) -> None:
    server.send_keys(recorder.pane_id, "prompt", enter=True, enter_delay=0.05)
    recorder.wait("prompt\r")


def test_nothing_is_nothing(server: TmuxServer, recorder: Recorder) -> None:
    server.send_keys(recorder.pane_id, "")
    server.send_keys(recorder.pane_id, "\x1b\x07")
    server.send_keys(recorder.pane_id, "", enter=True, enter_delay=0.05)
    recorder.wait("\r")


def test_lines_are_pasted_in_brackets_for_a_program_that_asks_for_them(
    server: TmuxServer, start: Start, tmux_dir: Path
) -> None:
    recorder = Recorder(start, tmux_dir, brackets=True)
    server.send_keys(recorder.pane_id, "one\ntwo", enter=True)
    recorder.wait("\x1b[200~one\rtwo\x1b[201~\r")


def test_text_cannot_break_out_of_its_brackets(server: TmuxServer, start: Start, tmux_dir: Path) -> None:
    recorder = Recorder(start, tmux_dir, brackets=True)
    server.send_keys(recorder.pane_id, "one\n\x1b[201~; rm -rf /\n\x9b201~x\u202eevil", enter=True)
    recorder.wait("\x1b[200~one\r[201~; rm -rf /\r201~xevil\x1b[201~\r")


def test_a_megabyte_arrives_whole(server: TmuxServer, recorder: Recorder) -> None:
    text = "".join(f"{number:09d} 世\n" for number in range(80_000))
    server.send_keys(recorder.pane_id, text)
    recorder.wait(text.replace("\n", "\r"))
    buffers = subprocess.run(
        ["tmux", "-S", str(server.socket_path), "list-buffers"], capture_output=True, text=True, check=True
    )
    assert not buffers.stdout, "the paste leaves no copy behind"


def test_more_than_tmux_takes_is_refused() -> None:
    with pytest.raises(InvalidInput, match="longer"):
        clean_text("x" * 2_000_001)


def test_cleaning_takes_what_a_terminal_obeys_and_nothing_else() -> None:
    kept = "a\tb\nc é 世界 👩‍💻 \u00a0 ~ \\ "
    assert clean_text(kept) == kept
    removed = [
        *map(chr, range(9)),
        "\x0b",
        "\x0c",
        *map(chr, range(14, 32)),
        *map(chr, range(127, 160)),
        "\u202e",
        "\u2066",
    ]
    assert clean_text("x".join(removed)) == "x" * (len(removed) - 1)
    assert clean_text("a\r\nb\rc") == "a\nb\nc"


@pytest.mark.parametrize(
    ("key", "sent"),
    [
        ("Enter", "\r"),
        ("Escape", "\x1b"),
        ("C-c", "\x03"),
        ("Up", "\x1b[A"),
        ("Delete", "\x1b[3~"),
        ("BSpace", "\x7f"),
        ("S-Tab", "\x1b[Z"),
    ],
)
def test_keys_are_pressed(server: TmuxServer, recorder: Recorder, key: str, sent: str) -> None:
    server.send_key(recorder.pane_id, key)
    recorder.wait(sent)


def test_every_key_on_the_list_is_one_to_tmux(server: TmuxServer, recorder: Recorder) -> None:
    for key in sorted(KEYS):
        server.send_key(recorder.pane_id, key)
    server.send_keys(recorder.pane_id, "END")
    until(lambda: recorder.received().endswith("END"))
    assert not [key for key in KEYS if len(key) > 2 and key in recorder.received()], "none was typed as a word"


@pytest.mark.parametrize("key", ["", "enter", "Enter; kill-server", "C-", "MouseDown1Pane", "F99", "x"])
def test_other_keys_are_refused(key: str) -> None:
    with pytest.raises(InvalidInput):
        check_key(key)


def test_nothing_is_written_into_copy_mode(server: TmuxServer, recorder: Recorder) -> None:
    subprocess.run(["tmux", "-S", str(server.socket_path), "copy-mode", "-t", recorder.pane_id], check=True)
    for text in ("q", "one\ntwo"):
        with pytest.raises(PaneInMode):
            server.send_keys(recorder.pane_id, text, enter=True)
    with pytest.raises(PaneInMode):
        server.send_key(recorder.pane_id, "q" if "q" in KEYS else "Escape")
    assert pane_of(server, "recorder").in_mode, "not even the key that leaves it"
    leave = ["tmux", "-S", str(server.socket_path), "send-keys", "-X", "-t", recorder.pane_id, "cancel"]
    subprocess.run(leave, check=True)
    server.send_keys(recorder.pane_id, "now")
    recorder.wait("now")


def test_an_enter_that_comes_too_late_is_told(server: TmuxServer, start: Start) -> None:
    """The text was typed then: who is told that it was not would type it again."""
    pane = start("brief", "/bin/sh", "-c", "stty raw -echo; exec head -c 6")
    until(lambda: pane_of(server, "brief").current_command == "head")
    with pytest.raises(NotSubmitted, match="but Enter was not pressed: the program in this pane has ended"):
        server.send_keys(pane.pane_id, "prompt", enter=True, enter_delay=1.5)


def test_an_enter_nobody_knows_of_is_told(
    server: TmuxServer, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = server.snapshot().server
    assert identity is not None
    monkeypatch.setattr("sessions.drivers.tmux_panes.TIMEOUT", 3.0)

    def hang() -> None:
        recorder.wait("prompt")
        os.kill(identity.pid, signal.SIGSTOP)

    hanging = threading.Thread(target=hang)
    hanging.start()
    try:
        with pytest.raises(NotSubmitted, match="the text was typed, but perhaps not Enter: tmux did not answer"):
            server.send_keys(recorder.pane_id, "prompt", enter=True, enter_delay=1.5)
    finally:
        hanging.join()
        os.kill(identity.pid, signal.SIGCONT)


def test_only_the_pane_with_this_mark_is_written_into(server: TmuxServer, recorder: Recorder) -> None:
    """A number is another pane's after a restart of tmux."""
    for act in (
        lambda: server.send_keys(recorder.pane_id, "secret", enter=True, gaia_id="id-somebody"),
        lambda: server.send_keys(recorder.pane_id, "se\ncret", gaia_id="id-somebody"),
        lambda: server.send_key(recorder.pane_id, "Enter", gaia_id="id-somebody"),
    ):
        with pytest.raises(PaneMissing):
            act()
    server.send_keys(recorder.pane_id, "mine", gaia_id="id-recorder")
    recorder.wait("mine")
    with pytest.raises(InvalidInput):
        server.send_keys(recorder.pane_id, "x", gaia_id="#(touch /tmp/x)")


def test_nothing_is_written_to_the_dead(server: TmuxServer, start: Start) -> None:
    pane = start("dead", "/bin/true")
    until(lambda: pane_of(server, "dead").dead)
    for act in (lambda: server.send_keys(pane.pane_id, "x"), lambda: server.send_key(pane.pane_id, "Enter")):
        with pytest.raises(PaneDead) as error:
            act()
    assert error.value.fix


def test_a_missing_pane_is_said(server: TmuxServer, start: Start) -> None:
    start("a")
    for act in (
        lambda: server.send_keys("%99", "x", enter=True),
        lambda: server.send_keys("%99", "x\ny"),
        lambda: server.send_key("=ab:", "Enter"),
        lambda: server.capture("%99"),
    ):
        with pytest.raises(PaneMissing):
            act()


@pytest.mark.parametrize("target", ["", "a", "=a", "@1", "0", "a:0.0", "%1;kill-server", "{last}", "!"])
def test_targets_that_tmux_would_guess_at_are_refused(server: TmuxServer, target: str) -> None:
    for act in (
        lambda: server.send_keys(target, "x"),
        lambda: server.send_key(target, "Enter"),
        lambda: server.capture(target),
    ):
        with pytest.raises(InvalidInput):
            act()


@pytest.mark.parametrize("target", ["a", "=a:", "$1", "@", "@1;kill-server", "a:0"])
def test_only_ids_are_ended(server: TmuxServer, target: str) -> None:
    with pytest.raises(InvalidInput):
        server.kill([target])


def test_a_name_that_starts_another_names_only_itself(server: TmuxServer, start: Start, tmux_dir: Path) -> None:
    """`-t abc` of tmux takes abcd when there is no abc."""
    longer = Recorder(start, tmux_dir, "abcd")
    with pytest.raises(PaneMissing):
        server.send_keys("=abc:", "for abc")
    shorter = Recorder(start, tmux_dir, "abc")
    server.send_keys("=abc:", "short")
    server.send_keys("=abcd:", "long")
    shorter.wait("short")
    longer.wait("long")
    server.kill([shorter.pane_id])
    assert {pane.session_name for pane in server.snapshot().panes} == {"abcd"}


def test_ending_many_reports_those_that_were_gone(server: TmuxServer, start: Start) -> None:
    panes = [start(f"s{number}") for number in range(4)]
    ids = [panes[0].pane_id, "@77", panes[1].window_id, "%88", panes[1].window_id]
    assert server.kill(ids) == ("@77", "%88")
    assert {pane.session_name for pane in server.snapshot().panes} == {"s2", "s3"}
    assert server.kill([]) == ()
