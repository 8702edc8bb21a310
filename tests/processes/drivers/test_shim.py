"""The exit shim, under every POSIX shell that is here: what it journals, what it survives, what it passes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.locks import lock_held
from processes.drivers import journal, liveness
from processes.drivers.journal import Entry, Record
from processes.drivers.shim import shim_path
from tests.processes.drivers.conftest import Place, Until

SHELLS = [
    pytest.param(argv, id=" ".join(argv))
    for argv in (["/bin/sh"], ["dash"], ["busybox", "ash"], ["bash"], ["bash", "--posix"])
    if shutil.which(argv[0])
]


class Shim:
    """Runs the shim the way a launch script does: a lock on fd 9, a session of its own."""

    def __init__(self, shell: list[str], place: Place) -> None:
        self.shell = shell
        self.place = place
        self.script = shim_path()
        self.lock = place.root / "lock"

    def start(
        self,
        *argv: str,
        token: str | None = None,
        journal: str | None = None,
        cwd: str | None = None,
        options: tuple[str, ...] = (),
    ) -> subprocess.Popen[bytes]:
        token = token or self.place.token()
        launch = ["/bin/sh", "-c", 'exec 9>"$0" && flock -n 9 && exec "$@"', self.lock]
        with open(self.place.log, "ab") as log:
            process = subprocess.Popen(
                [
                    *launch,
                    *self.shell,
                    self.script,
                    *options,
                    journal or self.place.journal,
                    token,
                    cwd or self.place.root,
                    *argv,
                ],
                cwd=self.place.root,
                env={"PATH": f"{self.place.root}:{os.environ['PATH']}"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.place.pids.append(process.pid)
        return process

    def run(self, *argv: str, **options: Any) -> int:
        return self.start(*argv, **options).wait(30)

    @property
    def output(self) -> str:
        return self.place.log.read_text()


@pytest.fixture(params=SHELLS)
def shim(request: pytest.FixtureRequest, place: Place) -> Shim:
    return Shim(request.param, place)


@pytest.mark.parametrize("code", [0, 1, 7, 127, 137, 255])
def test_code_is_journalled_and_passed_on(shim: Shim, place: Place, code: int) -> None:
    token = place.token()
    process = shim.start("sh", "-c", f"exit {code}", token=token)
    assert process.wait(30) == code
    assert journal.read(place.journal) == [Entry("S", token, process.pid), Entry("E", token, code)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSEGV, signal.SIGPIPE])
def test_command_killed_by_a_signal(shim: Shim, place: Place, number: signal.Signals) -> None:
    token = place.token()
    assert shim.run("sh", "-c", f"kill -{int(number)} $$", token=token) == 128 + number
    assert place.code(token) == 128 + number


def test_program_that_is_missing_or_not_executable(shim: Shim, place: Place) -> None:
    (place.root / "text").write_text("not a program\n")
    missing, forbidden = place.token(), place.token()
    assert shim.run("no-such-program", token=missing) == 127
    assert shim.run("./text", token=forbidden) == 126
    assert (place.code(missing), place.code(forbidden)) == (127, 126)
    assert "no-such-program" in shim.output


def test_directory_that_cannot_be_entered(shim: Shim, place: Place) -> None:
    token = place.token()
    assert shim.run("touch", "ran", token=token, cwd=f"{place.root}/gone") == 126
    assert journal.records(place.journal)[token].code == 126
    assert f"cannot enter the directory {place.root}/gone" in shim.output
    assert not place.exists("ran")


@pytest.mark.parametrize("name", ["exit", "note", "eval", "exec", "cd"])
def test_command_is_a_program_even_if_the_shell_has_a_word_of_that_name(shim: Shim, place: Place, name: str) -> None:
    program = place.root / name
    program.write_text("#!/bin/sh\necho program $1\nexit 5\n")
    program.chmod(0o755)
    assert shim.run(name, "3") == 5
    assert "program 3" in shim.output


def test_arguments_arrive_as_they_are(shim: Shim, place: Place) -> None:
    words = ["a b", "", "*", "$HOME", "-n", "'\"", "line\nline", "ü"]
    shim.run("printf", "<%s>", *words)
    assert shim.output == "".join(f"<{word}>" for word in words)


def test_term_to_the_group_ends_the_command_and_the_shim_notes_it(shim: Shim, place: Place, until: Until) -> None:
    token = place.token()
    process = shim.start("sh", "-c", "trap 'exit 3' TERM; touch up; while :; do sleep 0.01; done", token=token)
    until(lambda: place.exists("up"))
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(30) == 3
    assert place.code(token) == 3


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2]
)
def test_signals_to_the_group_reach_a_command_that_does_nothing_about_them(
    shim: Shim, place: Place, until: Until, number: signal.Signals
) -> None:
    token = place.token()
    process = shim.start("sh", "-c", "touch up; exec sleep 100", token=token)
    until(lambda: place.exists("up"))
    until(lambda: b"sleep\0" in b"".join(_command_lines(process.pid, token)))
    os.killpg(process.pid, number)
    assert process.wait(30) == 128 + number
    assert place.code(token) == 128 + number


def test_command_ignores_no_signal(shim: Shim) -> None:
    shim.run("grep", "-E", "Sig(Ign|Blk)", "/proc/self/status")
    ignored = {line.split()[0]: int(line.split()[1], 16) for line in shim.output.splitlines()}
    python_ignores = 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)
    assert ignored["SigBlk:"] == 0
    assert ignored["SigIgn:"] & ~python_ignores == 0  # Popen resets these by itself or not; the shim adds none


def test_command_does_not_have_the_lock(shim: Shim, place: Place) -> None:
    shim.run("sh", "-c", "ls -l /proc/$$/fd")
    assert str(place.log) in shim.output
    assert str(shim.lock) not in shim.output


def test_lock_lasts_exactly_as_long_as_the_shim(shim: Shim, place: Place, until: Until) -> None:
    script = "setsid sh -c 'echo $$ >daemon; exec sleep 100' & until [ -s daemon ]; do sleep 0.01; done; read x <fifo"
    os.mkfifo(place.root / "fifo")
    process = shim.start("sh", "-c", script)
    daemon = until(lambda: place.pid_in("daemon"))
    assert lock_held(shim.lock)
    (place.root / "fifo").write_text("go\n")
    assert process.wait(30) == 0
    assert not lock_held(shim.lock)
    assert liveness.identify(daemon) is not None


def test_shim_killed_leaves_the_command_running_and_the_lock_free(shim: Shim, place: Place, until: Until) -> None:
    token = place.token()
    process = shim.start("sh", "-c", "echo $$ >command; exec sleep 100", token=token)
    command = until(lambda: place.pid_in("command"))
    process.kill()
    process.wait(30)
    assert not lock_held(shim.lock)
    assert journal.records(place.journal) == {token: Record(token, pid=process.pid, code=None)}
    assert [found.pid for found in liveness.members(process.pid, token)] == [command]


@pytest.mark.parametrize("path", ["/dev/full", "/proc/nowhere/journal", "/"])
def test_command_runs_though_the_journal_cannot_be_written(shim: Shim, place: Place, path: str) -> None:
    assert shim.run("sh", "-c", "touch ran; exit 9", journal=path) == 9
    assert place.exists("ran")
    assert shim.output == ""  # and the log is the command's own


def test_journal_may_be_relative_to_where_the_script_was(shim: Shim, place: Place) -> None:
    token = place.token()
    (place.root / "elsewhere").mkdir()
    shim.run("true", token=token, journal="journal", cwd=str(place.root / "elsewhere"))
    assert place.code(token) == 0


def test_upgrade_of_the_file_does_not_disturb_a_running_shim(shim: Shim, place: Place, until: Until) -> None:
    shim.script = Path(shutil.copy(shim_path(), place.root / "shim.sh"))
    token = place.token()
    os.mkfifo(place.root / "fifo")
    process = shim.start("sh", "-c", "touch up; read x <fifo; exit 6", token=token)
    until(lambda: place.exists("up"))
    with open(shim.script, "r+b") as script:  # in place, the same inode
        script.write(b"echo rubbish\n" * (script.seek(0, os.SEEK_END) // 13 + 1))
        script.seek(0)
        script.write(b"echo rubbish\n" * 400)
    (place.root / "fifo").write_text("go\n")
    assert process.wait(30) == 6
    assert place.code(token) == 6
    assert "rubbish" not in shim.output


def test_command_sees_its_token_and_its_directory(shim: Shim, place: Place) -> None:
    token = place.token()
    inner = place.root / "inner"
    inner.mkdir()
    shim.run("sh", "-c", 'echo "$GAIA_ATTEMPT_TOKEN $PWD $(pwd -P)"', token=token, cwd=str(inner))
    assert shim.output == f"{token} {inner} {inner}\n"


def test_many_at_once_write_whole_lines(shim: Shim, place: Place) -> None:
    tokens = [place.token() for _ in range(20)]
    processes = []
    for token in tokens:
        shim.lock = place.root / f"{token}.lock"
        processes.append(shim.start("true", token=token))
    for process in processes:
        assert process.wait(30) == 0
    lines = place.journal.read_text().splitlines()
    starts = [f"S {token} {process.pid}" for token, process in zip(tokens, processes, strict=True)]
    assert sorted(lines) == sorted(starts + [f"E {token} 0" for token in tokens])


def test_without_a_lock_it_runs_all_the_same(place: Place) -> None:
    done = subprocess.run(
        ["/bin/sh", shim_path(), place.journal, place.token(), place.root, "sh", "-c", "exit 4"],
        timeout=30,
        check=False,
    )
    assert done.returncode == 4


def test_too_few_arguments_are_told(place: Place) -> None:
    done = subprocess.run(
        ["/bin/sh", shim_path(), place.journal, "token", place.root],
        timeout=30,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr.startswith("usage: ")) == (64, True)
    assert not place.journal.exists()


def _command_lines(session: int, token: str) -> list[bytes]:
    lines = []
    for row in liveness.member_rows(session, token):
        try:
            lines.append(Path(f"/proc/{row.pid}/cmdline").read_bytes())
        except OSError:
            continue
    return lines


def test_conftest_kills_what_is_left(place: Place, until: Until, reaped: Callable[[int], int]) -> None:
    _, spawned = place.sh("setsid sh -c 'echo $$ >daemon; exec sleep 100' & echo $$ >command; exec sleep 100")
    daemon, command = until(lambda: place.pid_in("daemon")), until(lambda: place.pid_in("command"))
    place.kill_all()
    assert [liveness.identify(pid) for pid in (spawned.pid, daemon, command)] == [None, None, None]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("link", ["the directory", "the file"])
def test_a_journal_that_the_command_turned_into_a_link_is_not_followed(
    shell: list[str], place: Place, link: str
) -> None:
    notes, elsewhere = place.root / "notes", place.root / "elsewhere"
    for directory in (notes, elsewhere):
        directory.mkdir()
    (elsewhere / "journal").write_text("theirs\n")
    swap = {"the directory": "mv notes old; ln -s elsewhere notes", "the file": "ln -sf ../elsewhere/journal notes/"}

    shim = Shim(shell, place)
    assert shim.start("sh", "-c", f"{swap[link]}; exit 3", journal=str(notes / "journal")).wait(30) == 3

    assert (notes / "journal").samefile(elsewhere / "journal"), "it does lead there"
    assert (elsewhere / "journal").read_text() == "theirs\n"


def test_open_files_are_limited_for_the_command_alone(shim: Shim, place: Place) -> None:
    """And core dumps are off until the command wants one."""
    token = place.token()
    assert shim.run("sh", "-c", "ulimit -n; ulimit -c; ulimit -c 1 && exit 3", token=token, options=("-n", "64")) == 3
    assert shim.output.split() == ["64", "0"]
    assert place.code(token) == 3


def test_more_open_files_than_the_account_may_have(shim: Shim, place: Place) -> None:
    token = place.token()
    launch = shim.shell
    shim.shell = ["/bin/sh", "-c", 'ulimit -n 256; exec setpriv --inh-caps=-all --bounding-set=-all "$@"', "-", *launch]
    assert shim.run("true", token=token, options=("-n", "4096")) == 126
    assert "cannot limit open files to 4096" in shim.output
    assert place.code(token) == 126


def test_a_cgroup_that_cannot_be_entered(shim: Shim, place: Place) -> None:
    token = place.token()
    assert shim.run("touch", "ran", token=token, options=("-g", str(place.root / "gone"))) == 126
    assert "cannot enter the cgroup" in shim.output
    assert not place.exists("ran")


def test_enters_its_cgroup_before_anything_else(shim: Shim, place: Place) -> None:
    """What the kernel reads there is which process to take: 0 is the writer itself."""
    (place.root / "group").mkdir()
    assert shim.run("cat", "group/cgroup.procs", options=("-g", str(place.root / "group"), "-n", "32")) == 0
    assert shim.output == "0\n"
