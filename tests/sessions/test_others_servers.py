"""The tmux servers of others: which are looked at, and what follows when one is dead, hangs or is no server."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
from django.conf import settings

from sessions.actions import start
from sessions.actions.seen import UNANSWERED
from sessions.models import Session
from sessions.others import Lookout
from sessions.states import Origin, SessionState
from tests.sessions.by_hand import Tmux
from tests.sessions.seen import Make, listens, looked, rows
from tests.waiting import until


@pytest.fixture(autouse=True)
def _acting(db: None, acting: str) -> None:
    pass


def test_a_dead_socket_stays_dead(stranger: Make) -> None:
    server = stranger("default", "one")
    looked()
    os.kill(server.pid, signal.SIGKILL)
    until(lambda: not listens(server.socket))
    entries = set(server.socket.parent.iterdir())
    assert server.socket in entries
    until(lambda: looked() == {})  # its socket is closed a moment before its process is gone
    assert set(server.socket.parent.iterdir()) == entries
    assert not listens(server.socket)
    assert Session.objects.get().state == SessionState.GONE


def test_a_server_whose_socket_was_deleted_is_not_taken_for_ended(stranger: Make) -> None:
    server = stranger("default", "one")
    pid = server.pid
    looked()
    server.socket.unlink()
    [row] = looked().values()
    assert (row.state, row.problem) == (
        SessionState.RUNNING,
        "Its tmux server does not answer; this is how it was before.",
    )
    assert not server.socket.exists(), "nobody made it again"
    os.kill(pid, signal.SIGUSR1)
    until(server.socket.exists)
    [row] = looked().values()
    assert row.problem == ""


def test_a_server_that_hangs_keeps_nobody_waiting_and_concludes_nothing(stranger: Make) -> None:
    hung, well = stranger("hung", "one"), stranger("well", "two")
    clock = [0.0]
    lookout = Lookout(clock=lambda: clock[0])

    def later() -> dict[str, Session]:
        clock[0] += 60.0
        return looked(lookout)

    until(lambda: set(later()) == {"one", "two"})
    hung_pid = hung.pid
    os.kill(hung_pid, signal.SIGSTOP)
    well("kill-session", "-t", "=two")
    until(lambda: "two" not in later())
    assert (rows()["one"].state, rows()["one"].problem) == (SessionState.RUNNING, UNANSWERED)
    os.kill(hung_pid, signal.SIGCONT)
    well.new("three")
    found = looked(lookout)
    assert "three" in found
    assert found["one"].problem == UNANSWERED, "it is left alone for a while"
    until(lambda: later()["one"].problem == "")


def test_gaias_own_sockets_are_not_among_them(stranger: Make, tmux: Tmux) -> None:
    start.create("mine")
    stranger("gaia", "of-the-default-home")
    stranger("gaia-0123456789", "of-another-home")
    stranger("gaia-notes", "somebody")
    found = looked()
    assert set(found) == {"mine", "somebody"}


def test_its_own_server_is_not_even_when_it_is_named(
    stranger: Make, tmux: Tmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    start.create("mine")
    monkeypatch.setitem(settings.GAIA.values, "sessions.sockets", str(tmux.server.socket_path))
    assert {name: row.origin for name, row in looked().items()} == {"mine": Origin.GAIA}


def test_sockets_that_are_named_are_looked_at_too(
    stranger: Make, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server = stranger("default", "one")
    monkeypatch.setitem(settings.GAIA.values, "sessions.socket_dirs", "/nowhere")
    assert looked() == {}
    monkeypatch.setitem(settings.GAIA.values, "sessions.sockets", f"/nowhere/else:{server.socket}")
    assert set(looked()) == {"one"}


def test_a_server_with_two_paths_is_one(stranger: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    server = stranger("default", "one")
    link = server.socket.parent / "link"
    link.symlink_to(server.socket.parent)
    monkeypatch.setitem(settings.GAIA.values, "sessions.sockets", str(link / "default"))
    looked()
    assert Session.objects.count() == 1


def test_what_is_no_tmux_server_is_passed_over(stranger: Make) -> None:
    server = stranger("default", "one")
    directory = server.socket.parent
    (directory / "file").write_text("no socket")
    (directory / "directory").mkdir()
    stranger("no\ntext", "two")
    stranger(os.fsdecode(b"no\xfftext"), "three")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(directory / "deaf"))
        listening.listen()
        assert set(looked(Lookout(patience=2.0))) == {"one"}


def test_a_directory_may_be_a_link(stranger: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    link = tmp_path / "tmux-0"
    link.symlink_to(stranger("default", "one").socket.parent)
    monkeypatch.setitem(settings.GAIA.values, "sessions.socket_dirs", f"/nowhere:{link}")
    assert set(looked()) == {"one"}
