"""Seeing every pane: true to what tmux and libtmux say, and never an empty list for want of an answer."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import socket
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from common.errors import InvalidInput, Unavailable
from sessions.drivers import tmux, tmux_panes, tmux_process
from sessions.drivers.tmux import NewSession, NoServer, ServerIdentity, TmuxError, TmuxHung, TmuxServer
from sessions.drivers.tmux_facts import parse_listing
from tests.sessions.drivers.conftest import ServerMaker, Start
from tests.sessions.drivers.panes import pane_of
from tests.waiting import until

CAT = ("/bin/cat",)


def raw(server: TmuxServer, *words: str) -> str:
    """tmux itself, on the server's socket."""
    argv = ["tmux", "-u", "-S", str(server.socket_path), *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=10).stdout


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that hangs, for as long as the block lasts."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def attached(argv: list[str], env: dict[str, str]) -> Iterator[None]:
    """A person's terminal with this command in it."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(argv[0], argv, env)  # noqa: S606, a terminal of its own is what the test needs
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    reader = threading.Thread(target=_drain, args=(terminal,), daemon=True)
    reader.start()
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        reader.join()
        os.close(terminal)


def _drain(terminal: int) -> None:
    try:
        while os.read(terminal, 65_536):
            pass
    except OSError:
        pass


def test_it_agrees_with_libtmux(server: TmuxServer, tmux_dir: Path) -> None:
    directory = tmux_dir / "世界 dir"
    directory.mkdir()
    server.create([NewSession(f"s{number}", f"id{number}", directory, CAT, {}, {}, 100, 30) for number in range(7)])
    raw(server, "split-window", "-d", "-t", "=s1:", "/bin/sleep", "100")
    raw(server, "new-window", "-d", "-t", "=s2:", "/bin/sleep", "100")
    raw(server, "select-pane", "-t", "=s3:", "-T", "título 世界 · ✋")
    until(lambda: {pane.current_command for pane in server.snapshot().panes} == {"cat", "sleep"})
    until(lambda: {pane.cwd for pane in server.snapshot().panes} >= {str(directory)})
    theirs = server.objects()
    sessions = {session.session_id: session for session in theirs.sessions}
    expected = {
        (
            pane.pane_id, pane.pane_pid, pane.window_id, pane.session_id, sessions[pane.session_id].session_name,
            pane.pane_width, pane.pane_height, pane.pane_current_command, pane.pane_current_path, pane.pane_title,
            sessions[pane.session_id].session_created, sessions[pane.session_id].session_attached,
        )
        for pane in theirs.panes
    }  # fmt: skip
    found = server.snapshot()
    ours = {
        (
            pane.pane_id, str(pane.pane_pid), pane.window_id, pane.session_id, pane.session_name, str(pane.width),
            str(pane.height), pane.current_command, pane.cwd, pane.title, str(pane.created), str(pane.attached),
        )
        for pane in found.panes
    }  # fmt: skip
    assert ours == expected
    assert len(ours) == 9
    assert found.server == ServerIdentity(
        int(raw(server, "display", "-p", "#{pid}")), int(raw(server, "display", "-p", "#{start_time}"))
    )
    assert {pane.gaia_id for pane in found.panes} == {"", *(f"id{number}" for number in range(7))}
    assert len(found.by_gaia_id()) == 7, "panes that somebody split off have no id of ours"


def test_without_a_server_there_is_nothing(server: TmuxServer) -> None:
    assert server.snapshot() == tmux.Snapshot(None, ())
    assert server.kill(["@1"]) == ("@1",)
    with pytest.raises(NoServer):
        server.objects()


def test_a_server_that_died_leaves_nothing(server: TmuxServer, start: Start) -> None:
    start("a")
    before = server.snapshot().server
    assert before is not None
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: server.snapshot() == tmux.Snapshot(None, ()))
    assert server.socket_path.exists(), "the socket stays behind"
    pane = start("a")
    assert pane.pane_id == "%0", "ids are used again, which is why the server's identity belongs to them"
    after = server.snapshot().server
    assert after is not None
    assert after != before


def test_the_server_goes_with_its_last_session(server: TmuxServer, start: Start) -> None:
    pane = start("a")
    pid = server.snapshot().server
    assert pid is not None
    assert server.kill([pane.window_id]) == ()
    until(lambda: server.snapshot().server is None)
    until(lambda: not psutil.pid_exists(pid.pid) or psutil.Process(pid.pid).status() == psutil.STATUS_ZOMBIE)


def test_a_hung_server_is_an_error_and_not_an_empty_list(
    server: TmuxServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    start("a")
    monkeypatch.setattr(tmux, "SNAPSHOT_TIMEOUT", 0.3)
    for module in (tmux, tmux_panes):
        monkeypatch.setattr(module, "TIMEOUT", 0.3)
    identity = server.snapshot().server
    assert identity is not None
    with stopped(identity.pid):
        with pytest.raises(TmuxHung) as error:
            server.snapshot()
        for act in (
            lambda: server.capture("%0"),
            lambda: server.send_keys("%0", "x"),
            lambda: server.kill(["%0"]),
            lambda: server.create([NewSession("b", "id", Path("/"), CAT)]),
        ):
            with pytest.raises(TmuxHung):
                act()
    assert isinstance(error.value, TmuxError | Unavailable)
    assert "did not answer" in error.value.what
    assert error.value.fix
    monkeypatch.undo()
    assert server.snapshot().server == identity


def test_a_hung_server_can_still_be_ended(server: TmuxServer, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tmux, "SNAPSHOT_TIMEOUT", 0.3)
    start("a")
    identity = server.snapshot().server
    assert identity is not None
    os.kill(identity.pid, signal.SIGSTOP)
    assert server.kill_server()
    assert server.snapshot().server is None
    assert not server.socket_path.exists()


def test_something_else_on_the_socket_is_an_error(server: TmuxServer) -> None:
    """It accepts and hangs up, like a server of an incompatible version."""
    server.socket_path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(server.socket_path))
        listener.listen(64)
        stop = threading.Event()
        thread = threading.Thread(target=_hang_up, args=(listener, stop))
        thread.start()
        try:
            with pytest.raises(TmuxError) as error:
                server.snapshot()
            assert not isinstance(error.value, NoServer)
        finally:
            stop.set()
            thread.join()


def _hang_up(listener: socket.socket, stop: threading.Event) -> None:
    listener.settimeout(0.05)
    while not stop.is_set():
        try:
            listener.accept()[0].close()
        except TimeoutError:
            continue


def test_a_socket_directory_that_others_can_write_is_an_error(server: TmuxServer) -> None:
    server.socket_path.parent.mkdir()
    server.socket_path.parent.chmod(0o777)
    with pytest.raises(TmuxError, match="unsafe permissions"):
        server.snapshot()


def test_a_socket_path_that_is_too_long_is_said_before_tmux_says_it(tmux_dir: Path) -> None:
    with pytest.raises(Unavailable) as error:
        TmuxServer("t", tmpdir=tmux_dir / ("x" * 100)).snapshot()
    assert "shorter" in error.value.fix


def test_everybody_finds_the_same_socket(monkeypatch: pytest.MonkeyPatch, tmux_dir: Path) -> None:
    """A daemon started from a login with TMUX_TMPDIR and a terminal without it would have a server each."""
    monkeypatch.delenv("TMUX_TMPDIR", raising=False)
    without = TmuxServer("t")
    monkeypatch.setenv("TMUX_TMPDIR", str(tmux_dir))
    other = TmuxServer("t")
    assert without.socket_path == other.socket_path == Path(f"/tmp/tmux-{os.getuid()}/t")
    assert "TMUX_TMPDIR" not in other.environment


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a b", "-x", "a\n"])
def test_a_socket_name_is_no_path(name: str) -> None:
    with pytest.raises(InvalidInput, match="not a name"):
        TmuxServer(name)


def test_a_linked_window_is_listed_once_under_the_session_it_was_made_in(server: TmuxServer, start: Start) -> None:
    made = start("worker", tags={"provider": "claude"})
    start("aaa-view")  # sorts before, so tmux lists the link first
    start("zzz-view")
    for view in ("aaa-view", "zzz-view"):
        raw(server, "link-window", "-d", "-s", "=worker:", "-t", f"={view}:7")
    assert raw(server, "list-panes", "-a", "-F", "#{pane_id}").split().count(made.pane_id) == 3
    panes = [pane for pane in server.snapshot().panes if pane.pane_id == made.pane_id]
    assert [(pane.session_name, pane.gaia_id, pane.tags) for pane in panes] == [
        ("worker", "id-worker", {"provider": "claude"})
    ]


def test_a_linked_window_ends_everywhere(server: TmuxServer, start: Start) -> None:
    """kill-session would leave it running in the other session."""
    made = start("worker")
    start("view")
    raw(server, "link-window", "-d", "-s", "=worker:", "-t", "=view:7")
    assert server.kill([made.pane_id]) == ()
    assert [pane.session_name for pane in server.snapshot().panes] == ["view"]
    until(lambda: not psutil.pid_exists(made.pane_pid))


def test_a_renamed_session_is_still_ours(server: TmuxServer, start: Start) -> None:
    start("before")
    raw(server, "rename-session", "-t", "=before", "after")
    [pane] = server.snapshot().panes
    assert (pane.session_name, pane.gaia_id) == ("after", "id-before")


def test_copy_mode_and_viewers_are_reported(server: TmuxServer, start: Start) -> None:
    start("a")
    assert (pane_of(server, "a").in_mode, pane_of(server, "a").attached) == (False, 0)
    raw(server, "copy-mode", "-t", "=a:")
    assert pane_of(server, "a").in_mode
    env = {"TERM": "screen", "PATH": os.environ["PATH"], "TMUX_TMPDIR": server.environment["TMUX_TMPDIR"]}
    with attached(server.passthrough_argv(["attach-session", "-t", "=a"]), env):
        until(lambda: pane_of(server, "a").attached == 1)
    until(lambda: pane_of(server, "a").attached == 0)


def test_activity_follows_output(server: TmuxServer, start: Start) -> None:
    """session_activity does not, and a reaper that believed it would end busy agents."""
    pane = start("busy", "/bin/sh", "-c", "while read line; do echo $line; done")
    first = pane.activity
    until(lambda: int(subprocess.check_output(["date", "+%s"])) > first + 1)
    server.send_keys(pane.pane_id, "work", enter=True)
    until(lambda: pane_of(server, "busy").activity > first)


def test_a_program_cannot_forge_rows(server: TmuxServer, start: Start, tmux_dir: Path) -> None:
    """By its directory, its title or the name of its executable."""
    honest = start("honest")
    evil = tmux_dir / ("x\n" + "\t".join(map(str, (honest[:19]))) + "\n\t1\t2")[:200].replace("/", "_")
    evil.mkdir()
    program = evil / "na\tme\nx"
    program.symlink_to("/bin/cat")
    [_] = server.create([NewSession("evil", "id-evil", evil, (str(program),))])
    until(lambda: pane_of(server, "evil").current_command not in ("sh", ""))
    snapshot = server.snapshot()
    assert [(pane.session_name, pane.gaia_id, pane.pane_pid) for pane in snapshot.panes] == [
        ("evil", "id-evil", pane_of(server, "evil").pane_pid),
        ("honest", "id-honest", honest.pane_pid),
    ]


@pytest.mark.parametrize("text", ["", "nonsense", "1\t2\nnonce\t1\t2\n", "1\t2\nnonce\t" + "\t".join("x" * 27) + "\n"])
def test_what_is_no_listing_is_an_error(text: str) -> None:
    with pytest.raises(TmuxError):
        parse_listing(text, "nonce")


# A server whose socket was deleted (a cleaner of /tmp does that)


def test_a_deleted_socket_comes_back(server: TmuxServer, start: Start) -> None:
    start("a")
    before = server.snapshot().server
    server.socket_path.unlink()
    after = server.snapshot()
    assert after.server == before
    assert [pane.session_name for pane in after.panes] == ["a"]


def test_a_deleted_socket_comes_back_for_one_who_never_saw_the_server(
    make_server: ServerMaker, start: Start, server: TmuxServer
) -> None:
    start("a")
    before = server.snapshot().server
    server.socket_path.unlink()
    server.socket_path.parent.rmdir()
    assert make_server().snapshot().server == before


def test_no_second_server_is_started_beside_one_without_socket(
    make_server: ServerMaker, start: Start, server: TmuxServer, tmux_dir: Path
) -> None:
    start("a")
    before = server.snapshot().server
    server.socket_path.unlink()
    newcomer = make_server()
    newcomer.create([NewSession("b", "id-b", tmux_dir, CAT)])
    snapshot = newcomer.snapshot()
    assert snapshot.server == before
    assert {pane.session_name for pane in snapshot.panes} == {"a", "b"}


def test_a_server_without_socket_can_be_ended(make_server: ServerMaker, start: Start, server: TmuxServer) -> None:
    start("a")
    identity = server.snapshot().server
    assert identity is not None
    server.socket_path.unlink()
    assert make_server().kill_server()
    assert tmux_process.find_servers(server.socket_name, str(server.socket_path.parent.parent)) == []
    assert not make_server().kill_server()


def test_a_server_that_has_the_socket_now_keeps_it(server: TmuxServer, start: Start) -> None:
    """SIGUSR1 would make the older one take it away."""
    start("older")
    older = server.snapshot().server
    assert older is not None
    server.socket_path.unlink()
    argv = ["tmux", "-L", "t", "-f", "/dev/null", "new-session", "-d", "-s", "newer", "/bin/cat"]
    subprocess.run(argv, env=dict(server.environment), check=True, timeout=10)
    assert not server.revive(older.pid)
    snapshot = server.snapshot()
    assert [pane.session_name for pane in snapshot.panes] == ["newer"]
    assert server.kill_server(), "both"
    assert tmux_process.find_servers("t", str(server.socket_path.parent.parent)) == []


def test_only_a_server_of_this_socket_is_signalled(
    server: TmuxServer, make_server: ServerMaker, tmux_dir: Path
) -> None:
    """SIGUSR1 would end any other program."""
    other = make_server("other")
    other.create([NewSession("a", "id", tmux_dir, CAT)])
    identity = other.snapshot().server
    assert identity is not None
    bystander = subprocess.Popen(["/bin/sleep", "100"])
    try:
        assert not server.revive(bystander.pid)
        assert not server.revive(identity.pid)
        assert not server.revive(2**22 + 1)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
    other.socket_path.unlink()
    assert other.revive(identity.pid)
    assert other.snapshot().server == identity


def test_a_server_that_lost_its_last_session_has_nothing(server: TmuxServer, start: Start) -> None:
    """It is there for a moment longer, or for as long as somebody keeps it."""
    pane = start("a")
    raw(server, "set-option", "-s", "exit-empty", "off")
    server.kill([pane.window_id])
    assert server.snapshot() == tmux.Snapshot(None, ())
    assert start("b").session_name == "b"
