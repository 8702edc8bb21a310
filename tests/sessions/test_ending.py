"""The end of a session is the end of what ran in it, also of what ignores the hang-up; and of nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from django.conf import settings

from events.models import Event
from processes.drivers.liveness import Identity, alive, identify
from processes.drivers.shim import TOKEN_VARIABLE
from processes.drivers.table import table
from sessions import reconcile
from sessions.actions import control, record, start
from sessions.drivers import pane_programs
from sessions.drivers.pane_programs import Program, ended_for_sure
from sessions.models import Session
from sessions.server import end_server
from sessions.states import SessionState
from tests.sessions.by_hand import Tmux, install
from tests.waiting import until

STUBBORN = 'trap "" HUP TERM; touch "$GAIA_SESSION.ready"; while :; do sleep 1; done'

Begin = Callable[..., "Run"]


class Run:
    """A session whose program has begun."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.pid = session.pane_pid or 0
        found = identify(self.pid)
        assert found is not None
        self.identity = found

    @property
    def lives(self) -> bool:
        return alive(self.identity)


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pane_programs, "_GRACE", 1.0)


@pytest.fixture
def begin(db: None, acting: str, tmux: Tmux, agents: Path) -> Iterator[Begin]:
    """Starts a session with this agent, and waits for the agent; all of its OS session is gone afterwards."""
    begun: list[Run] = []

    def make(script: str = STUBBORN, name: str = "architect") -> Run:
        install(agents, "claude", script)
        assert start.start_fleet(only=[name]).started == [name]
        session = control.find(name)
        until(Path(session.cwd, f"{name}.ready").exists)
        begun.append(Run(session))
        return begun[-1]

    yield make
    for run in begun:
        for pid in in_session(run.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def in_session(session: int) -> list[int]:
    rows = [table().row(pid) for pid in table().pids()]
    return [row.pid for row in rows if row is not None and row.session == session and not row.dead]


def kinds(name: str = "architect") -> list[str]:
    return list(Event.objects.filter(subject=f"session/{name}").order_by("id").values_list("kind", flat=True))


def test_a_stop_is_asked_for_before_it_is_done(begin: Begin) -> None:
    run = begin('touch "$GAIA_SESSION.ready"; exec cat')
    assert control.stop([run.session]) == ["architect"]
    assert kinds() == ["session.requested", "session.started", "session.stop_requested", "session.stopped"]
    asked = Event.objects.get(kind="session.stop_requested")
    assert (asked.message, asked.actor) == ("Stop of session architect was asked for", "user:tester")
    assert asked.data["gaia_id"] == run.session.gaia_id
    assert control.stop([control.find("architect")]) == []
    assert kinds().count("session.stop_requested") == 1


def test_who_ignores_the_hang_up_ends_with_its_session(begin: Begin) -> None:
    run = begin()
    assert control.stop([run.session]) == ["architect"]
    assert not run.lives
    assert in_session(run.pid) == []
    assert control.find("architect").state == SessionState.STOPPED


def test_who_takes_the_hang_up_for_a_reason_to_tidy_up_has_the_time(begin: Begin) -> None:
    tidy = 'trap "" HUP; trap "sleep 0.1; touch tidied; exit" TERM; '
    run = begin(tidy + 'touch "$GAIA_SESSION.ready"; while :; do sleep 0.05; done')
    control.stop([run.session])
    assert Path(run.session.cwd, "tidied").exists()


def test_a_job_in_the_background_ends_with_its_session(begin: Begin) -> None:
    run = begin('nohup sleep 1000 >/dev/null 2>&1 & echo $! > job; touch "$GAIA_SESSION.ready"; exec cat')
    job = int(Path(run.session.cwd, "job").read_text())
    assert in_session(run.pid) == sorted([run.pid, job])
    control.stop([run.session])
    assert in_session(run.pid) == []


def test_a_job_that_outlived_the_agent_ends_with_the_session(begin: Begin) -> None:
    run = begin('nohup sleep 1000 >/dev/null 2>&1 & touch "$GAIA_SESSION.ready"; read line')
    control.send_keys(run.session, "end")
    until(lambda: reconcile.look() or control.find("architect").state == SessionState.EXITED)
    assert len(in_session(run.pid)) == 1
    control.stop([control.find("architect")])
    assert in_session(run.pid) == []


def test_what_has_left_the_session_is_not_ours(begin: Begin) -> None:
    """Such as a tmux server of the agent's own, or GAIA's daemon, started from there."""
    run = begin('setsid -f sh -c "echo \\$\\$ > daemon; exec sleep 1000"; touch "$GAIA_SESSION.ready"; ' + STUBBORN)
    noted = Path(run.session.cwd, "daemon")
    until(lambda: noted.exists() and noted.read_text().strip())
    daemon = int(noted.read_text())
    try:
        control.stop([run.session])
        assert not run.lives
        assert identify(daemon) is not None
    finally:
        os.kill(daemon, signal.SIGKILL)


def test_what_runs_under_the_shim_has_an_end_of_its_own(begin: Begin) -> None:
    run = begin(f'trap "" HUP; {TOKEN_VARIABLE}=theirs sleep 1000 & echo $! > job; {STUBBORN}')
    job = int(Path(run.session.cwd, "job").read_text())
    control.stop([run.session])
    assert not run.lives
    assert identify(job) is not None


def test_many_at_once_and_none_of_the_others(begin: Begin, tmux: Tmux) -> None:
    runs = [begin(name=name) for name in ("architect", "inspector", "foundation")]
    theirs = int(tmux("new-session", "-d", "-P", "-F", "#{pane_pid}", "-s", "theirs", "sh", "-c", STUBBORN))
    control.stop([run.session for run in runs[:2]])
    assert [run.lives for run in runs] == [False, False, True]
    assert identify(theirs) is not None
    try:
        assert control.stop_everything() == 1
        assert not runs[2].lives
        assert identify(theirs) is not None, "GAIA ends what it started"
    finally:
        os.kill(theirs, signal.SIGKILL)


def test_who_was_killed_while_ending_one_is_finished_for(begin: Begin, tmux: Tmux) -> None:
    run = begin()
    record.request_stop([run.session])
    tmux("kill-server")  # and then: kill -9
    assert run.lives
    reconcile.look()
    assert not run.lives
    assert control.find("architect").state == SessionState.STOPPED


def lose(run: Run, tmux: Tmux) -> None:
    """tmux lets go of the session, and the program goes on."""
    tmux("kill-session", "-t", f"={run.session.name}")
    until(lambda: reconcile.look() or control.find(run.session.name).state == SessionState.GONE)
    assert run.lives


def test_what_a_lost_session_left_running_ends_with_everything(begin: Begin, tmux: Tmux) -> None:
    run = begin()
    lose(run, tmux)
    assert control.stop_everything() == 0
    assert not run.lives
    assert kinds()[-2:] == ["session.gone", "session.left_over"]


def test_what_a_lost_session_left_running_ends_before_it_is_started_again(begin: Begin, tmux: Tmux) -> None:
    """Or there would be two agents in one directory."""
    run = begin()
    lose(run, tmux)
    Path(run.session.cwd, "architect.ready").unlink()
    again = begin()
    assert (run.lives, again.lives) == (False, True)


def test_without_a_database_it_ends_too(begin: Begin) -> None:
    run = begin()
    assert end_server(settings.GAIA.home) == 1
    assert not run.lives


def test_a_later_process_with_the_same_pid_is_not_ours(begin: Begin) -> None:
    """Neither by a start time of another, nor, without one, by an environment without our mark."""
    stranger = subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True)
    try:
        found = identify(stranger.pid)
        assert found is not None
        for ticks in (found.start_ticks - 1, None):
            with ended_for_sure([Program("somebody", stranger.pid, ticks)]) as survivors:
                pass
            assert survivors == {}
        assert stranger.poll() is None
        run = begin()
        with ended_for_sure([Program(run.session.gaia_id, run.pid, None)]):
            pass
        assert not run.lives
    finally:
        stranger.kill()
        stranger.wait()


def test_an_earlier_boots_pids_mean_nothing(begin: Begin, tmux: Tmux) -> None:
    run = begin()
    lose(run, tmux)
    Session.objects.update(boot_id="before")
    control.stop_everything()
    assert run.lives


def test_a_respawned_program_is_known_too(begin: Begin, tmux: Tmux) -> None:
    begin()
    Path(control.find("architect").cwd, "architect.ready").unlink()
    tmux("respawn-pane", "-k", "-t", "=architect:")
    reconcile.look()
    session = control.find("architect")
    until(Path(session.cwd, "architect.ready").exists)
    again = Run(session)
    assert Identity(session.boot_id, again.pid, session.pane_start_ticks or 0) == again.identity
    lose(again, tmux)
    control.stop_everything()
    assert not again.lives


def test_who_cannot_be_killed_is_told(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin()
    monkeypatch.setattr(pane_programs, "send_signal", lambda identity, number: False)  # of another user: sudo
    monkeypatch.setattr(pane_programs, "_KILL", 0.2)
    assert control.stop([run.session]) == ["architect"]
    problem = control.find("architect").problem
    assert problem.startswith("still there, and cannot be killed: pid ")
    assert str(run.pid) in problem
    assert Event.objects.get(kind="session.stopped").level == "warning"
