"""Starting the fleet: once, again, partly, by two at a time, and after somebody was killed in the middle of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from django.conf import settings

from common.errors import Conflict, InvalidInput, NotFound, Unavailable
from environments.models import Environment
from events.models import Event
from sessions import reconcile
from sessions.actions import control, start
from sessions.models import Session
from sessions.overview import sessions_overview
from sessions.server import changing, tmux_server
from sessions.states import Runs, SessionState
from tests.sessions.by_hand import Tmux, install, stands_in
from tests.waiting import until

MANAGE = Path(settings.BASE_DIR, "manage.py")


def states() -> dict[str, int]:
    found = list(Session.objects.values_list("state", flat=True))
    return {state: found.count(state) for state in sorted(set(found))}


def test_the_fleet_is_started_once(db: None, acting: str, tmux: Tmux) -> None:
    first = start.start_fleet()
    assert (len(first.started), first.already, first.failed) == (26, [], {})
    panes = {row.name: (row.tmux_pane, row.pane_pid) for row in Session.objects.live()}
    second = start.start_fleet()
    assert (second.started, len(second.already), second.failed) == ([], 26, {})
    assert tmux.names() == sorted(panes)
    assert panes == {row.name: (row.tmux_pane, row.pane_pid) for row in Session.objects.live()}
    assert Event.objects.filter(kind="session.started").count() == 26
    assert set(Event.objects.values_list("actor", flat=True)) == {acting}


def test_what_was_killed_is_gone_and_comes_back(db: None, acting: str, tmux: Tmux) -> None:
    start.start_fleet()
    lost = ["dev1_worker", "pr_review2", "architect"]
    for name in lost:
        tmux("kill-session", "-t", f"={name}")
    reconcile.look()
    assert states() == {"gone": 3, "running": 23}
    told = Event.objects.filter(kind="session.gone")
    assert sorted(told.values_list("subject", flat=True)) == sorted(f"session/{name}" for name in lost)
    assert set(told.values_list("level", flat=True)) == {"warning"}
    assert "tmux no longer has it" in told[0].message
    again = start.start_fleet()
    assert sorted(again.started) == sorted(lost)
    assert len(again.already) == 23
    assert len(tmux.names()) == 26
    assert states() == {"gone": 3, "running": 26}


def test_a_group_by_key_label_or_short_form_and_single_ones(db: None, acting: str, tmux: Tmux) -> None:
    names = ["pr_review1", "pr_review2", "pr_review3"]
    assert start.start_fleet(group="pr_review").started == names
    assert start.start_fleet(group="PR Review").already == names
    assert start.start_fleet(group=" prr ").already == names
    assert start.start_fleet(only=["qa_worker1", "pr_review1"]).started == ["qa_worker1"]
    assert tmux.names() == sorted([*names, "qa_worker1"])
    assert start.stop_fleet(group="pr_review") == names
    assert tmux.names() == ["qa_worker1"]


@pytest.mark.parametrize(
    ("group", "only", "says"),
    [
        ("pr_reviews", [], "the fleet has no group 'pr_reviews'"),
        (None, ["dev9_worker", "dev1_worker"], "the fleet has no session dev9_worker"),
        ("pr_review", ["dev1_worker"], "group pr_review of the fleet has no session dev1_worker"),
    ],
)
def test_what_the_fleet_does_not_have_is_named(
    db: None, acting: str, tmux: Tmux, group: str | None, only: list[str], says: str
) -> None:
    with pytest.raises(NotFound) as caught:
        start.start_fleet(group=group, only=only)
    assert caught.value.what == says
    assert "pr_review" in caught.value.fix
    assert not Session.objects.exists()


def test_workers_stand_in_their_environments(
    acting: str, tmux: Tmux, make_environments: Callable[..., list[Environment]]
) -> None:
    environments = make_environments(4)
    shutil.rmtree(environments[3].path)
    done = start.start_fleet(group="dev_workers")
    assert len(done.started) == 5
    assert sorted(done.notes) == ["dev4_worker", "dev5_worker"]
    assert "is missing" in done.notes["dev4_worker"]
    assert "dev5 is not set up" in done.notes["dev5_worker"]
    rows = {row.name: row for row in Session.objects.all()}
    for number in (1, 2, 3):
        row = rows[f"dev{number}_worker"]
        assert row.environment == environments[number - 1]
        assert str(stands_in(row.pane_pid)) == environments[number - 1].path
    assert rows["dev5_worker"].environment is None
    own = settings.GAIA.home.root / "workspaces" / "dev5_worker"
    assert str(stands_in(rows["dev5_worker"].pane_pid)) == str(own)
    assert own.stat().st_mode & 0o777 == 0o700


def test_the_newest_project_or_the_one_asked_for(
    acting: str, tmux: Tmux, make_environments: Callable[..., list[Environment]]
) -> None:
    old, new = make_environments(1, "old"), make_environments(1, "new")
    start.start_fleet(only=["dev1_worker"])
    assert control.find("dev1_worker").environment == new[0]
    control.stop([control.find("dev1_worker")])
    start.start_fleet(only=["dev1_worker"], project=old[0].project)
    assert control.find("dev1_worker").environment == old[0]


def in_parallel(count: int, **environ: str) -> list[subprocess.CompletedProcess[str]]:
    """So many `manage.py start_sessions` at the same time."""
    started = [
        subprocess.Popen(
            [sys.executable, MANAGE, "start_sessions", "--json"],
            env={**os.environ, **environ}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(count)
    ]  # fmt: skip
    return [
        subprocess.CompletedProcess([], process.returncode, *output)
        for process in started
        for output in [process.communicate(timeout=60)]
    ]


def test_two_at_once_start_each_session_once(transactional_db: None, tmux: Tmux) -> None:
    answers = in_parallel(2)
    assert [answer.returncode for answer in answers] == [0, 0], answers
    started = [json.loads(answer.stdout)["started"] for answer in answers]
    assert sorted(map(len, started)) == [0, 26]
    assert len(tmux.names()) == 26
    assert states() == {"running": 26}


def killing_tmux(directory: Path, *, after: bool) -> str:
    """A PATH with a tmux that kills who calls it, before or after it has made the sessions."""
    directory.mkdir()
    real = shutil.which("tmux")
    run = f'{real} "$@" >/dev/null; ' if after else ""
    stub = f'#!/bin/sh\ncase "$*" in *start-server*) {run}kill -9 $PPID; exit 1;; esac\nexec {real} "$@"\n'
    (directory / "tmux").write_text(stub)
    (directory / "tmux").chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


@pytest.mark.parametrize("look_first", [True, False])
def test_a_starter_killed_between_row_and_tmux(
    transactional_db: None, acting: str, tmux: Tmux, tmp_path: Path, look_first: bool
) -> None:
    [killed] = in_parallel(1, PATH=killing_tmux(tmp_path / "stub", after=False))
    assert killed.returncode == -9
    assert states() == {"starting": 26}
    if look_first:
        reconcile.look()
        assert states() == {"failed": 26}
        assert "killed before tmux had it" in Session.objects.first().problem  # type: ignore[union-attr]
    again = start.start_fleet()
    assert len(again.started) == 26
    assert states() == {"failed": 26, "running": 26}
    assert len(tmux.names()) == 26


@pytest.mark.parametrize("look_first", [True, False])
def test_a_starter_killed_between_tmux_and_row(
    transactional_db: None, acting: str, tmux: Tmux, tmp_path: Path, look_first: bool
) -> None:
    [killed] = in_parallel(1, PATH=killing_tmux(tmp_path / "stub", after=True))
    assert killed.returncode == -9
    assert states() == {"starting": 26}
    if look_first:
        reconcile.look()
        assert states() == {"running": 26}
    again = start.start_fleet()
    assert (again.started, len(again.already)) == ([], 26)
    assert states() == {"running": 26}
    assert len(tmux.names()) == 26
    assert Event.objects.filter(kind="session.started").count() == 26


def test_nobody_judges_what_somebody_is_starting(db: None, acting: str, tmux: Tmux) -> None:
    with changing():
        row = Session.objects.create(gaia_id="half-way", name="half_way", group="other", provider="system", cwd="/")
        reconcile.look()
        row.refresh_from_db()
        assert row.state == SessionState.STARTING
    reconcile.look()
    row.refresh_from_db()
    assert row.state == SessionState.FAILED


def test_after_the_tmux_server_was_killed_all_are_gone_with_the_reason(db: None, acting: str, tmux: Tmux) -> None:
    start.start_fleet()
    tmux("kill-server")
    until(lambda: tmux.server.snapshot().server is None)
    reconcile.look()
    assert states() == {"gone": 26}
    assert set(Session.objects.values_list("problem", flat=True)) == {"its tmux server has ended"}
    assert len(start.start_fleet().started) == 26
    assert len(tmux.names()) == 26


def test_an_ended_program_is_started_again(db: None, acting: str, tmux: Tmux) -> None:
    start.start_fleet(only=["qa_worker1"])
    first = control.find("qa_worker1")
    control.send_keys(first, "exit 3")
    until(lambda: reconcile.look() or control.find("qa_worker1").state == SessionState.EXITED)
    again = start.start_fleet(only=["qa_worker1"])
    assert (again.started, again.already) == (["qa_worker1"], [])
    assert tmux.names() == ["qa_worker1"]
    second = control.find("qa_worker1")
    assert (second.state, second.pk > first.pk, second.pane_pid != first.pane_pid) == (SessionState.RUNNING, True, True)
    first.refresh_from_db()
    assert (first.state, first.exit_status) == (SessionState.STOPPED, 3)


def test_a_stranger_with_the_name_of_one_is_left_alone(db: None, acting: str, tmux: Tmux) -> None:
    start.start_fleet(only=["pr_review1"])
    tmux("new-session", "-d", "-s", "qa_worker1", "/bin/cat")
    done = start.start_fleet(only=["qa_worker1", "edu_worker1"])
    assert done.started == ["edu_worker1"]
    assert "did not make" in done.failed["qa_worker1"]
    assert control.find("qa_worker1").state == SessionState.FAILED
    assert tmux("list-panes", "-t", "=qa_worker1:", "-F", "#{pane_current_command}") == "cat\n"


def test_tmux_missing(db: None, acting: str, tmux: Tmux, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="tmux is not installed"):
        start.start_fleet()
    assert not Session.objects.exists()


def test_a_full_or_readonly_home_is_no_traceback(db: None, acting: str, tmux: Tmux) -> None:
    (settings.GAIA.home.root / "workspaces").write_text("in the way")
    with pytest.raises(Unavailable, match="directories cannot be made"):
        start.start_fleet(only=["architect"])
    assert control.find("architect").state == SessionState.FAILED


# One of one's own


def test_create(acting: str, tmux: Tmux, make_environments: Callable[..., list[Environment]], tmp_path: Path) -> None:
    [environment] = make_environments(1)
    made = start.create("mine", provider="system", role="notes", environment=environment)
    assert (made.state, made.environment, made.cwd) == (SessionState.RUNNING, environment, environment.path)
    assert str(stands_in(made.pane_pid)) == environment.path
    other = start.create("other", cwd=str(tmp_path))
    assert str(stands_in(other.pane_pid)) == str(tmp_path)
    assert tmux.names() == ["mine", "other"]


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ({"name": "two words"}, InvalidInput),
        ({"name": "../up"}, InvalidInput),
        ({"name": "a:b"}, InvalidInput),
        ({"name": "a.b"}, InvalidInput),
        ({"name": ""}, InvalidInput),
        ({"name": "-rf"}, InvalidInput),
        ({"name": "x" * 65}, InvalidInput),
        ({"name": "groups"}, InvalidInput),
        ({"name": "fine", "provider": "nobody"}, NotFound),
        ({"name": "fine", "group": "nowhere"}, NotFound),
        ({"name": "fine", "cwd": "/does/not/exist"}, InvalidInput),
        ({"name": "fine", "cwd": "relative"}, InvalidInput),
        ({"name": "fine", "cwd": "/" + "x" * 300}, InvalidInput),
        ({"name": "fine", "role": "two\nlines"}, InvalidInput),
        ({"name": "fine", "role": "x" * 61}, InvalidInput),
    ],
)
def test_create_refuses(db: None, acting: str, tmux: Tmux, wanted: dict[str, str], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        start.create(**wanted)
    assert caught.value.fix  # type: ignore[attr-defined]
    assert not Session.objects.exists()


def test_a_name_that_is_taken(db: None, acting: str, tmux: Tmux) -> None:
    start.create("mine")
    with pytest.raises(Conflict, match="already runs"):
        start.create("mine")
    control.send_keys(control.find("mine"), "exit")
    until(lambda: reconcile.look() or control.find("mine").state == SessionState.EXITED)
    with pytest.raises(Conflict, match="its program has ended"):
        start.create("mine")
    assert Session.objects.count() == 1


# Whose agent runs


def test_an_agent_on_the_path_runs_in_its_environment(
    acting: str, tmux: Tmux, agents: Path, make_environments: Callable[..., list[Environment]]
) -> None:
    environments = make_environments(5)
    program = install(agents, "opencode")
    install(agents, "claude")
    done = start.start_fleet(only=["dev1_worker", "pr_review1", "pr_impl1"])
    assert list(done.shells) == ["pr_impl1"]
    worker, reviewer, shell = (control.find(name) for name in ("dev1_worker", "pr_review1", "pr_impl1"))
    assert (worker.runs, worker.argv, worker.reason) == (Runs.AGENT, [str(program)], "")
    assert (reviewer.runs, reviewer.argv[0]) == (Runs.AGENT, str(agents / "claude"))
    assert str(stands_in(worker.pane_pid)) == environments[0].path
    control.send_keys(worker, "hello")
    until(lambda: "got: hello" in control.capture(worker))
    reconcile.look()
    shown = {one["name"]: (one["runs"], one["program"], one["command"]) for one in sessions_overview()}
    # tmux names a script's interpreter
    assert shown["dev1_worker"] == ("agent", "opencode", "sh")
    assert shown["pr_impl1"][:2] == ("shell", "")
    assert shell.runs == Runs.SHELL
    assert "codex is not installed" in shell.reason
    until(lambda: "codex is not installed" in control.capture(shell))


def test_a_pane_knows_whose_it_is_and_finds_what_lies_beside_its_agent(
    acting: str, tmux: Tmux, agents: Path, make_environments: Callable[..., list[Environment]]
) -> None:
    make_environments(1)
    install(agents, "beside", "echo found it")
    install(agents, "opencode", 'beside; echo "$GAIA_SESSION in $GAIA_ENVIRONMENT"; ls -d /; cat')
    start.start_fleet(only=["dev1_worker"])
    until(lambda: "/\n" in control.capture(control.find("dev1_worker")))
    shown = control.capture(control.find("dev1_worker"))
    assert shown.splitlines()[:3] == ["found it", "dev1_worker in demo-dev1", "/"]


def test_keys_reach_the_agent_and_nothing_else(
    db: None, acting: str, tmux: Tmux, agents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key-of-the-operator")
    install(agents, "claude", 'echo "key: $ANTHROPIC_API_KEY"; cat')
    start.start_fleet(only=["architect", "manager1"])
    architect, shell = control.find("architect"), control.find("manager1")
    until(lambda: "key: key-of-the-operator" in control.capture(architect))
    control.send_keys(shell, 'echo "key: [$ANTHROPIC_API_KEY]"')
    until(lambda: "key: []" in control.capture(shell))
    stored = [*Session.objects.values(), *Event.objects.values()]
    assert "key-of-the-operator" not in repr(stored)


@pytest.mark.parametrize("program", ["gone", "dying"])
def test_an_agent_that_ends_at_once_says_so(db: None, acting: str, tmux: Tmux, agents: Path, program: str) -> None:
    install(agents, "claude", "echo no key; exit 7" if program == "dying" else "kill -9 $$")
    start.start_fleet(only=["architect"])
    until(lambda: reconcile.look() or control.find("architect").state == SessionState.EXITED)
    until(lambda: reconcile.look() or control.find("architect").exit_status is not None)
    assert control.find("architect").exit_status == (7 if program == "dying" else -9)
    with pytest.raises(Conflict, match="has ended"):
        control.send_keys(control.find("architect"), "rm -rf important")


def test_the_operators_own_fleet_and_providers(db: None, acting: str, tmux: Tmux, agents: Path) -> None:
    home = settings.GAIA.home.root
    (home / "providers").mkdir()
    (home / "providers" / "mine.yaml").write_text(
        "version: 1\nname: mine\nlabel: Mine\ncandidates: [{program: my-agent}]\n"
    )
    fleet_of("mine", home, "one")
    install(agents, "my-agent")
    assert start.start_fleet().started == ["one"]
    assert control.find("one").runs == Runs.AGENT
    fleet_of("mine", home, "one", "two")
    assert start.start_fleet().started == ["two"]
    (home / "fleet.yaml").write_text("sessions: nonsense")
    with pytest.raises(InvalidInput, match=r"fleet\.yaml:1"):
        start.start_fleet()
    assert [one.name for one in start.fleet().sessions] == ["one", "two"]  # shown: as it was before the mistake


def fleet_of(provider: str, home: Path, *names: str) -> None:
    sessions: Sequence[str] = [f"  - {{name: {name}, group: other, provider: {provider}}}" for name in names]
    text = "groups: [{key: other, label: Other, short: OTH}]\nsessions:\n" + "\n".join(sessions) + "\n"
    (home / "fleet.yaml").write_text(text)


def test_the_server_is_the_homes_own(tmux: Tmux) -> None:
    assert tmux.server.socket_name == settings.GAIA.home.tmux_socket_name != "gaia"
    assert tmux_server() is tmux.server
