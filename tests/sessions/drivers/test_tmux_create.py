"""Starting sessions: what they run, where, in which environment, and what happens to those that cannot start."""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
from pathlib import Path

import psutil
import pytest

from sessions.drivers.tmux import EXISTS, Created, CreateFailed, NewSession, PaneDead, TmuxServer
from sessions.drivers.tmux_create import refusal
from tests.sessions.drivers.conftest import ServerMaker, Start
from tests.sessions.drivers.panes import pane_of
from tests.waiting import until

CAT = ("/bin/cat",)


def environment_of(server: TmuxServer, directory: Path, **options: object) -> dict[str, str]:
    """The environment that a new session's program sees."""
    file = directory / "environment"
    argv = ("/bin/sh", "-c", 'env -0 > "$0.part" && mv "$0.part" "$0"; exec cat', str(file))
    [result] = server.create([NewSession("env", "id", directory, argv, **options)])  # type: ignore[arg-type]
    assert isinstance(result, Created), result
    until(file.exists)
    return dict(line.split("=", 1) for line in file.read_text().split("\0") if line)


def test_a_session_runs_its_program_and_carries_its_marks(server: TmuxServer, tmux_dir: Path) -> None:
    tags = {"name": "alpha", "provider": "claude", "group": "dev_workers", "role": "Prüfer", "runs": "agent"}
    [made] = server.create([NewSession("alpha", "id-1", tmux_dir, ("/bin/sleep", "100"), {}, tags, 120, 40)])
    assert isinstance(made, Created)
    [pane] = server.snapshot().panes
    assert Created(pane.session_name, pane.session_id, pane.window_id, pane.pane_id, pane.pane_pid) == made
    assert pane.gaia_id == "id-1"
    assert pane.tags == tags
    assert (pane.width, pane.height) == (120, 40)
    assert pane.cwd == str(tmux_dir)
    assert not pane.dead
    until(lambda: psutil.Process(made.pane_pid).cmdline() == ["/bin/sleep", "100"])


def test_one_that_fails_does_not_keep_the_others_from_starting(server: TmuxServer, tmux_dir: Path) -> None:
    server.create([NewSession("taken", "id", tmux_dir, CAT)])
    file = tmux_dir / "file"
    file.touch()
    results = server.create(
        [
            NewSession("first", "1", tmux_dir, CAT),
            NewSession("taken", "thief", tmux_dir, CAT),
            NewSession("nowhere", "2", tmux_dir / "missing", CAT),
            NewSession("in-a-file", "3", file, CAT),
            NewSession("first", "4", tmux_dir, CAT),
            NewSession("nothing", "5", tmux_dir, ()),
            NewSession("last", "6", tmux_dir, CAT),
        ]
    )
    assert [result.name for result in results] == ["first", "taken", "nowhere", "in-a-file", "first", "nothing", "last"]
    assert [isinstance(result, Created) for result in results] == [True, False, False, False, False, False, True]
    assert results[1] == CreateFailed("taken", EXISTS)
    assert results[2] == CreateFailed("nowhere", f"the directory {tmux_dir / 'missing'} does not exist")
    assert results[4] == CreateFailed("first", EXISTS)
    assert {pane.session_name: pane.gaia_id for pane in server.snapshot().panes} == {
        "first": "1",
        "taken": "id",
        "last": "6",
    }


@pytest.mark.parametrize("name", ["", "a.b", "a:b", "a b", "-a", "=a", "../a", "a\nb", "é", "$1", "x" * 65])
def test_names_that_tmux_would_rewrite_or_misread_are_refused(server: TmuxServer, tmux_dir: Path, name: str) -> None:
    [result] = server.create([NewSession(name, "id", tmux_dir, CAT)])
    assert isinstance(result, CreateFailed)
    assert "not a valid session name" in result.reason
    assert server.snapshot().server is None, "nothing was even started"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"argv": ("/bin/cat", "a\0b")}, "NUL"),
        ({"argv": ("/bin/cat", "\udcff")}, "not valid Unicode"),
        ({"argv": ("/bin/cat", "x" * 140_000)}, "longer than the system's"),
        ({"argv": ("/bin/cat", *["x" * 100_000] * 11)}, "together"),
        ({"env": {"A B": "1"}}, "not a name for an environment variable"),
        ({"env": {"A": "\0"}}, "NUL"),
        ({"env": {"A": "x" * 140_000}}, "longer than the system's"),
        ({"tags": {"colour": "red"}}, "not a tag"),
        ({"tags": {"role": "a\tb"}}, "unprintable"),
        ({"cwd": Path("/tmp/#[bold]")}, "#["),
        ({"width": 0}, "no size"),
    ],
)
def test_what_no_process_could_be_given_is_refused(tmux_dir: Path, options: dict[str, object], reason: str) -> None:
    values: dict[str, object] = {"name": "a", "gaia_id": "id", "cwd": tmux_dir, "argv": CAT, **options}
    assert reason in refusal(NewSession(**values))  # type: ignore[arg-type]


def test_the_program_is_the_panes_own_process(server: TmuxServer, start: Start) -> None:
    """No shell is left that would run what is typed after the program has ended."""
    pane = start("ends", "/bin/sh", "-c", "read line; exit 7")
    assert psutil.Process(pane.pane_pid).parent() == psutil.Process(server.snapshot().server.pid)  # type: ignore[union-attr]
    server.send_keys(pane.pane_id, "go", enter=True)
    until(lambda: pane_of(server, "ends").dead_status == 7)
    dead = pane_of(server, "ends")
    assert (dead.dead, dead.dead_signal) == (True, None)
    with pytest.raises(PaneDead):
        server.send_keys(pane.pane_id, "rm -rf something", enter=True)


def test_a_program_that_a_signal_ended_says_so(server: TmuxServer, start: Start) -> None:
    start("killed", "/bin/sh", "-c", "kill -9 $$")
    until(lambda: pane_of(server, "killed").dead_signal == 9)
    assert pane_of(server, "killed").dead


def test_a_program_that_is_missing_says_so_in_its_pane(server: TmuxServer, start: Start) -> None:
    start("missing", "/nonexistent/agent")
    until(lambda: pane_of(server, "missing").dead_status == 127)
    start("keeper")

    def said() -> bool:  # tmux may lose what a program writes in the moment in which it ends
        server.kill([pane_of(server, "missing").window_id])
        again = start("missing", "/nonexistent/agent")
        until(lambda: pane_of(server, "missing").dead_status == 127)
        return "/nonexistent/agent" in server.capture(again.pane_id)

    until(said)


def test_how_a_program_ended_is_known_even_when_tmux_missed_it(server: TmuxServer, tmux_dir: Path) -> None:
    """tmux before 3.5 loses the exit code of about one in fifty programs that end at once."""
    for number in range(120):
        server.create([NewSession(f"s{number}", "id", tmux_dir, ("/bin/sh", "-c", "exit 3"))])
        until(lambda name=f"s{number}": pane_of(server, name).dead_status == 3)


def test_a_single_word_is_a_program_and_not_a_shell_command(server: TmuxServer, start: Start, tmux_dir: Path) -> None:
    program = tmux_dir / "my $(touch hit); `prog` 'x"
    program.symlink_to("/bin/cat")
    pane = start("odd", str(program))
    until(lambda: Path(f"/proc/{pane.pane_pid}/cmdline").read_text() == f"{program}\0")
    assert not (tmux_dir / "hit").exists()


def test_arguments_arrive_to_the_byte(server: TmuxServer, start: Start, tmux_dir: Path) -> None:
    words = [
        "", " ", "two words", "tab\there", "line\n  # not a comment\nend", 'quote"s', "it's", "back\\slash\\n", "$HOME",
        "${HOME}", "~", "~/x", "#{pid}", "#(id)", "%if", "{", "}", ";", "a;", "\\;", "\x01\x1b[201~\x7f",
        "世界 é 👩‍💻", "-t", "--",
    ]  # fmt: skip
    file = tmux_dir / "words"
    start("words", "/bin/sh", "-c", 'printf "%s\\0" "$@" > "$0.part" && mv "$0.part" "$0"; exec cat', str(file), *words)
    until(file.exists)
    assert file.read_text().split("\0")[:-1] == words


def test_an_argument_may_be_longer_than_tmux_takes_on_its_command_line(start: Start, tmux_dir: Path) -> None:
    """`tmux new-session …` ends at 16,347 bytes; a first prompt may be longer."""
    prompt = "Fix the bug in " + "x" * 100_000
    file = tmux_dir / "prompt"
    start("long", "/bin/sh", "-c", 'printf %s "$1" > "$0.part" && mv "$0.part" "$0"; exec cat', str(file), prompt)
    until(file.exists)
    assert file.read_text() == prompt


def test_the_environment_is_the_login_and_what_was_asked_for(
    make_server: ServerMaker, tmux_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", "/opt/venv")
    monkeypatch.setenv("PATH", f"/opt/venv/bin:{os.environ['PATH']}")
    for name in ("GAIA_HOME", "DJANGO_SETTINGS_MODULE", "PYTHONPATH", "PYTHONHOME", "SECRET", "SSH_AUTH_SOCK"):
        monkeypatch.setenv(name, "/leaked")
    monkeypatch.setenv("LC_TIME", "C.UTF-8")
    monkeypatch.setenv("TMUX", "/tmp/other,1,0")
    monkeypatch.setenv("TMUX_PANE", "%77")
    wanted = {"ODD": "a\n  b \"c\" 'd' $HOME ~ #{pid} \\", "EMPTY": "", "TILDE": "~"}
    found = environment_of(make_server(env={"EXTRA": "1"}), tmux_dir, env=wanted)
    assert not {name for name, value in found.items() if "/leaked" in value}
    assert "VIRTUAL_ENV" not in found
    assert "/opt/venv/bin" not in found["PATH"].split(":")
    assert found["PATH"]
    assert found["TMUX"].startswith(str(tmux_dir))
    assert found["TMUX_PANE"] == "%0"
    assert {name: found[name] for name in wanted} == wanted
    assert found["LC_TIME"] == "C.UTF-8"
    assert found["EXTRA"] == "1"
    assert found["HOME"] == os.environ["HOME"]


@pytest.mark.parametrize(
    ("set_to", "found"), [({}, "C.UTF-8"), ({"LANG": "de_DE.UTF-8"}, "de_DE.UTF-8"), ({"LC_ALL": "C"}, None)]
)
def test_text_is_utf8_unless_somebody_said_otherwise(
    make_server: ServerMaker,
    tmux_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    set_to: dict[str, str],
    found: str | None,
) -> None:
    for name in ("LANG", "LC_ALL", "LC_CTYPE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in set_to.items():
        monkeypatch.setenv(name, value)
    assert environment_of(make_server(), tmux_dir).get("LANG") == found


def test_a_session_can_have_a_path_of_its_own(server: TmuxServer, tmux_dir: Path) -> None:
    """tmux itself would put the PATH of whoever calls it over this one."""
    assert environment_of(server, tmux_dir, env={"PATH": "/usr/bin:/bin:/opt/own"})["PATH"] == "/usr/bin:/bin:/opt/own"


@pytest.mark.parametrize(
    "name",
    ["plain", "two words", "#{pid}", "#(touch hit)", "##", "'q\"", "$HOME", "~", "世界", "tab\there", "line\nP\t%9\tx"],
)
def test_directories_are_taken_literally(server: TmuxServer, tmux_dir: Path, name: str) -> None:
    directory = tmux_dir / name
    directory.mkdir()
    [result] = server.create([NewSession("here", "id", directory, CAT)])
    assert isinstance(result, Created), result
    until(lambda: pane_of(server, "here").cwd == str(directory))
    assert len(server.snapshot().panes) == 1
    assert not list(tmux_dir.rglob("hit"))


def test_more_than_one_conversation_full_of_sessions_keeps_its_order(server: TmuxServer, tmux_dir: Path) -> None:
    batch = [NewSession(f"s{number}", f"id-{number}", tmux_dir, CAT) for number in range(120)]
    results = server.create(batch)
    assert [result.name for result in results if isinstance(result, Created)] == [session.name for session in batch]
    found = {pane.session_name: pane.gaia_id for pane in server.snapshot().panes}
    assert found == {session.name: session.gaia_id for session in batch}


def test_the_server_keeps_no_directory_busy(server: TmuxServer, start: Start) -> None:
    """It would keep the one it was started in from being unmounted."""
    start("a")
    identity = server.snapshot().server
    assert identity is not None
    assert psutil.Process(identity.pid).cwd() == "/"


def test_of_100_creators_of_one_name_one_wins(make_server: ServerMaker, tmux_dir: Path) -> None:
    """They start the server, too, all at once."""
    results: list[Created | CreateFailed] = []
    gate = threading.Barrier(100)

    def create(number: int) -> None:
        server = make_server()
        gate.wait()
        results.extend(server.create([NewSession("one", f"id-{number}", tmux_dir, CAT)]))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 100
    [winner] = [result for result in results if isinstance(result, Created)]
    assert {result for result in results if result is not winner} == {CreateFailed("one", EXISTS)}
    [pane] = make_server().snapshot().panes
    assert pane.pane_id == winner.pane_id
    assert pane.gaia_id.startswith("id-")


def test_the_users_own_server_is_left_alone(tmux_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With GAIA started from inside the user's tmux, its socket in the same directory."""
    env = {"PATH": os.environ["PATH"], "HOME": str(tmux_dir), "TMUX_TMPDIR": str(tmux_dir)}

    def decoy(words: str) -> str:
        argv = ["tmux", "-f", "/dev/null", *shlex.split(words)]
        return subprocess.run(argv, env=env, check=True, capture_output=True, text=True, timeout=10).stdout

    decoy("new-session -d -s mine -x 80 -y 24 /bin/cat")
    look = (
        "list-panes -a -F '#{pid} #{session_name} #{session_id} #{pane_id} #{pane_pid} #{pane_dead} #{history_limit}'"
    )
    before, options = decoy(look), decoy("show-options -g")
    monkeypatch.setenv("TMUX_TMPDIR", str(tmux_dir))
    monkeypatch.setenv("TMUX", f"{tmux_dir}/tmux-{os.getuid()}/default,{before.split()[0]},0")
    monkeypatch.setenv("TMUX_PANE", "%0")
    server = TmuxServer("gaia-test", config=tmux_dir / "tmux.conf", tmpdir=tmux_dir)
    server.create([NewSession("mine", "id", tmux_dir, CAT), NewSession("other", "id2", tmux_dir, CAT)])
    assert {pane.gaia_id for pane in server.snapshot().panes} == {"id", "id2"}
    server.send_keys("%0", "typed", enter=True)
    server.kill(["%1"])
    assert server.kill_server()
    assert not server.kill_server()
    assert (decoy(look), decoy("show-options -g")) == (before, options)
    assert "typed" not in decoy("capture-pane -p -t mine")
