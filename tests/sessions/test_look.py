"""What the rows say follows what tmux has: ends, respawns, renames, lost rows, half-done stops; and at what price."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from environments.models import Environment
from events.actor import acting_as
from events.models import Event
from sessions import reconcile
from sessions.actions import control, record, start
from sessions.drivers.pane_programs import RunningNames
from sessions.drivers.tmux import NewSession, TmuxHung
from sessions.models import Session
from sessions.overview import sessions_overview
from sessions.server import tmux_server
from sessions.states import SESSION_TERMINAL, SESSION_TRANSITIONS, Runs, SessionState
from tests.live import ROOT
from tests.sessions.by_hand import Tmux, install
from tests.waiting import until


def state_of(name: str) -> str:
    return control.find(name).state


def kinds(name: str) -> list[str]:
    return list(Event.objects.filter(subject=f"session/{name}").order_by("id").values_list("kind", flat=True))


def test_an_end_and_a_respawn(db: None, acting: str, tmux: Tmux, agents: Path) -> None:
    # tmux 3.3a may close the terminal of a program that ends at once before it has read what that wrote
    install(agents, "claude", "echo last words; sleep 0.5; exit 4")
    start.start_fleet(only=["architect"])
    until(lambda: reconcile.look() or control.find("architect").exit_status == 4)
    assert state_of("architect") == SessionState.EXITED
    assert "last words" in control.capture(control.find("architect"))
    install(agents, "claude", "cat")
    tmux("respawn-pane", "-t", "=architect:")
    until(lambda: reconcile.look() or state_of("architect") == SessionState.RUNNING)
    assert control.find("architect").exit_status is None
    assert kinds("architect") == ["session.requested", "session.started", "session.exited", "session.respawned"]
    assert Session.objects.count() == 1


def test_a_program_that_ended_since_tmux_told_of_it_is_no_shell(
    db: None, acting: str, tmux: Tmux, agents: Path
) -> None:
    install(agents, "claude")
    start.start_fleet(only=["architect"])
    session = control.find("architect")
    pane = tmux_server().snapshot().by_gaia_id()[session.gaia_id]._replace(current_command="sh")
    os.kill(pane.pane_pid, signal.SIGKILL)
    until(lambda: RunningNames().ended(pane.pane_pid))
    reconcile.judge_again(session, pane, RunningNames(), thorough=True)
    assert (session.runs, kinds("architect")) == (Runs.AGENT, ["session.requested", "session.started"])


def test_a_program_ended_by_a_signal(db: None, acting: str, tmux: Tmux, agents: Path) -> None:
    install(agents, "claude", "exec sleep 1000")
    start.start_fleet(only=["architect"])
    # typed before it has its terminal, nobody would hear it
    until(lambda: reconcile.look() or control.find("architect").command == "sleep")
    tmux("send-keys", "-t", "=architect:", "C-c")
    until(lambda: reconcile.look() or control.find("architect").exit_status is not None)
    assert control.find("architect").exit_status == -2
    # tmux may know how it ended a moment after it knows that it did
    assert Event.objects.get(kind="session.exited").message in {
        "The program of session architect ended",
        "The program of session architect ended by signal 2",
    }


def test_what_it_shows_and_does_is_followed(db: None, acting: str, tmux: Tmux, agents: Path) -> None:
    install(agents, "claude", r"printf '\033]2;thinking\007'; exec sleep 1000")
    start.start_fleet(only=["architect"])
    until(lambda: reconcile.look() or control.find("architect").command == "sleep")  # it comes after the title
    row = control.find("architect")
    assert row.title == "thinking"
    assert str(row.pane_pid) == tmux("list-panes", "-t", "=architect:", "-F", "#{pane_pid}").strip()


def test_output_is_noted_in_steps(db: None, acting: str, tmux: Tmux) -> None:
    start.start_fleet(only=["architect"])
    reconcile.look()
    Session.objects.update(active_at=timezone.now() - timedelta(seconds=5))
    before = control.find("architect").active_at
    reconcile.look()
    assert control.find("architect").active_at == before
    Session.objects.update(active_at=timezone.now() - timedelta(minutes=1))
    reconcile.look()
    moved = control.find("architect").active_at
    assert moved is not None
    assert before is not None
    assert abs(moved - before) < timedelta(seconds=30)


def test_what_was_seen_of_one_that_has_ended_meanwhile_is_not_written(db: None, acting: str) -> None:
    row = {"group": "other", "provider": "system", "cwd": "/", "state": SessionState.RUNNING}
    ended, lives = (Session.objects.create(gaia_id=name, name=name, **row) for name in ("ended", "lives"))
    assert record.record_stopped(Session.objects.get(pk=ended.pk))
    record.record_shown({ended: {"title": "thinking"}, lives: {"title": "waiting", "command": "sh"}})
    stored = Session.objects.order_by("name").values_list("name", "title", "command")
    assert list(stored) == [("ended", "", ""), ("lives", "waiting", "sh")]
    assert lives.title == "waiting"


def test_renamed_in_tmux_it_keeps_its_name_and_answers_to_both(db: None, acting: str, tmux: Tmux) -> None:
    start.start_fleet(group="pr_review")
    tmux("rename-session", "-t", "=pr_review1", "my review")
    tmux("rename-session", "-t", "=pr_review2", "pr_review1")
    reconcile.look()
    named = {one["name"]: one["tmux_name"] for one in sessions_overview()}
    assert named == {"pr_review1": "my review", "pr_review2": "pr_review1", "pr_review3": "pr_review3"}
    assert kinds("pr_review1")[-1] == "session.renamed"
    assert control.find("my review").name == "pr_review1"
    assert control.find("pr_review1").name == "pr_review1"
    assert start.start_fleet(group="pr_review").started == []
    control.send_keys(control.find("pr_review1"), "echo right-$((40 + 2))")
    until(lambda: "right-42" in tmux("capture-pane", "-p", "-t", "=my review:"))
    reconcile.look()
    assert Event.objects.filter(kind="session.renamed").count() == 2
    assert control.stop([control.find("pr_review1")]) == ["pr_review1"]
    assert tmux.names() == ["pr_review1", "pr_review3"]


def test_lost_rows_are_found_again(
    acting: str, tmux: Tmux, agents: Path, make_environments: Callable[..., list[Environment]]
) -> None:
    [environment] = make_environments(1)
    install(agents, "opencode")
    start.start_fleet(only=["architect", "dev1_worker", "pr_review1"])
    fields = ("name", "gaia_id", "group", "provider", "role", "protected", "runs", "environment_id", "cwd", "pane_pid")
    before = list(Session.objects.order_by("name").values(*fields))
    Session.objects.all().delete()
    reconcile.look()
    assert list(Session.objects.order_by("name").values(*fields)) == before
    assert control.find("dev1_worker").environment == environment
    assert control.find("dev1_worker").runs == Runs.AGENT
    assert control.find("architect").protected
    assert kinds("architect")[-1] == "session.found"
    reconcile.look()
    assert Event.objects.filter(kind="session.found").count() == 3


def test_with_a_lost_database_a_start_finds_them_too(db: None, acting: str, tmux: Tmux) -> None:
    start.start_fleet()
    Session.objects.all().delete()
    done = start.start_fleet()
    assert (done.started, len(done.already), done.failed) == ([], 26, {})
    assert len(tmux.names()) == 26


def test_a_pane_whose_row_ended_gets_a_new_life(db: None, acting: str, tmux: Tmux) -> None:
    start.start_fleet(only=["architect"])
    first = control.find("architect")
    record.record_gone(first, "somebody was wrong")
    reconcile.look()
    second = control.find("architect")
    assert (second.pk > first.pk, second.gaia_id, second.state) == (True, first.gaia_id, SessionState.RUNNING)
    first.refresh_from_db()
    assert first.state == SessionState.GONE


def test_a_name_that_was_given_away_meanwhile(db: None, acting: str, tmux: Tmux, tmp_path: Path) -> None:
    start.start_fleet(only=["architect"])
    lost = control.find("architect")
    tmux("rename-session", "-t", "=architect", "old")
    record.record_gone(lost, "somebody was wrong")
    tmux.server.create([NewSession("architect", "another", tmp_path, ("/bin/cat",))])
    row = {"gaia_id": "another", "name": "architect", "group": "other", "provider": "system", "cwd": "/"}
    Session.objects.create(**row, state=SessionState.RUNNING)
    reconcile.look()
    assert control.find("architect-2").gaia_id == lost.gaia_id
    assert control.find("architect").gaia_id == "another"


def test_who_was_killed_while_ending_one_is_finished_for(db: None, acting: str, tmux: Tmux) -> None:
    start.start_fleet(group="pr_review")
    record.request_stop([control.find("pr_review1"), control.find("pr_review2")])  # and then: kill -9
    tmux("kill-session", "-t", "=pr_review2")
    reconcile.look()
    assert [state_of(f"pr_review{number}") for number in (1, 2, 3)] == ["stopped", "stopped", "running"]
    assert tmux.names() == ["pr_review3"]


def test_what_gaia_ends_is_never_taken_for_gone(transactional_db: None, acting: str, tmux: Tmux) -> None:
    start.start_fleet()
    done, problems = threading.Event(), list[BaseException]()

    def watch() -> None:
        try:
            with acting_as("node:test"):
                while not done.is_set():
                    reconcile.look()
        except BaseException as error:
            problems.append(error)
        finally:
            connection.close()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for group in ("pr_review", "pr_implementation", "pr_integration", "existing", "dev_workers", "high_level"):
            start.stop_fleet(group=group)
    finally:
        done.set()
        watcher.join()
    assert problems == []
    assert set(Session.objects.values_list("state", flat=True)) == {"stopped"}
    assert not Event.objects.filter(kind="session.gone").exists()
    assert Event.objects.filter(kind="session.stopped").count() == 26


def test_when_tmux_hangs_nothing_is_concluded(
    db: None, acting: str, tmux: Tmux, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    start.start_fleet(only=["architect"])
    pid = int(tmux("display-message", "-p", "#{pid}"))
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(TmuxHung):
            reconcile.look()
        assert state_of("architect") == SessionState.RUNNING
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: _looked())
    assert state_of("architect") == SessionState.RUNNING


def _looked() -> bool:
    try:
        reconcile.look()
    except TmuxHung:
        return False
    return True


def test_a_terminal_with_another_socket_directory_sees_the_same_sessions(
    transactional_db: None, acting: str, tmux: Tmux, tmp_path: Path
) -> None:
    """It would find no server, and take all of them for gone."""
    session = start.create("mine")
    environ = {**os.environ, "TMUX_TMPDIR": str(tmp_path)}
    manage = [sys.executable, str(ROOT / "manage.py")]
    subprocess.run([*manage, "group_status"], env=environ, check=True, timeout=60, stdout=subprocess.DEVNULL)
    assert state_of("mine") == SessionState.RUNNING
    listed = [*manage, "gaia", "tmux", "list-panes", "-a", "-F", "#{pane_pid}"]
    said = subprocess.run(listed, env=environ, check=True, timeout=60, stdout=subprocess.PIPE, text=True)
    assert said.stdout.split() == [str(session.pane_pid)]
    started = subprocess.run(
        [*manage, "start_sessions", "--group", "pr_review", "--json"], env=environ, timeout=60, stdout=subprocess.PIPE
    )
    assert started.returncode == 0
    assert tmux.names() == ["mine", "pr_review1", "pr_review2", "pr_review3"]


@pytest.mark.parametrize("count", [26, 500])
def test_a_look_at_any_number_costs_one_query(
    db: None, acting: str, tmux: Tmux, django_assert_num_queries: Any, tmp_path: Path, count: int
) -> None:
    tags = {"group": "other", "provider": "system", "runs": "shell"}
    tmux.server.create(
        [NewSession(f"s{n}", f"id{n}", tmp_path, ("/bin/cat",), tags=tags | {"name": f"s{n}"}) for n in range(count)]
    )
    reconcile.look()  # adopts them
    until(lambda: _settled())
    assert Session.objects.live().count() == count
    with django_assert_num_queries(1):
        reconcile.look()


def _settled() -> bool:
    """A look after which nothing is left to write: every `sh` has become its `cat`."""
    reconcile.look()
    return not Session.objects.live().exclude(command="cat").exists()


def test_terminal_states_have_no_way_out() -> None:
    assert not set(SESSION_TERMINAL) & SESSION_TRANSITIONS.keys()
    assert set(SESSION_TRANSITIONS) | set(SESSION_TERMINAL) == set(SessionState)


@pytest.mark.parametrize("state", SESSION_TERMINAL)
def test_terminal_states_never_change(db: None, acting: str, state: str) -> None:
    row = Session.objects.create(
        gaia_id="x", name="x", group="other", provider="system", cwd="/", state=state, ended_at=timezone.now()
    )
    assert not record.record_failed(row, "late")
    assert not record.record_gone(row, "late")
    assert not record.record_stopped(row)
    assert not record.record_running_again(row)
    row.refresh_from_db()
    assert (row.state, row.problem) == (state, "")
    assert not Event.objects.exists()
