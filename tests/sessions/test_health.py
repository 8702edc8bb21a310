"""What dead sessions and missing agents do to the health of the environment they work in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings

from environments.actions import health
from environments.findings import Finding
from environments.models import Environment
from sessions import reconcile
from sessions.actions import control, start
from sessions.health import check_sessions
from sessions.models import Session
from tests.sessions.by_hand import Tmux, install
from tests.waiting import until


def findings(environment: Environment) -> list[Finding]:
    reconcile.look()
    return list(check_sessions([environment])[environment.pk])


def found(environment: Environment, fits: Callable[[Finding], bool]) -> Finding:
    """The one finding of this kind, as soon as it is there."""
    until(lambda: any(fits(each) for each in findings(environment)))
    [one] = [each for each in findings(environment) if fits(each)]
    return one


def test_a_dead_worker_is_named_and_when_it_is_started_again_all_is_well(
    db: None, acting: str, tmux: Tmux, agents: Any, make_environments: Callable[..., list[Environment]]
) -> None:
    install(agents, "opencode")
    [environment] = make_environments(1)
    start.start_fleet(only=["dev1_worker"])
    assert [(each.verdict, each.what) for each in findings(environment)] == [("ok", "1 of its sessions run")]

    tmux("kill-session", "-t", "=dev1_worker")
    dead = found(environment, lambda each: each.verdict == "failed")
    assert dead.what.startswith("session dev1_worker is dead: ")
    assert (dead.key, dead.fix) == ("sessions.missing/dev1_worker", "gaia session start dev1_worker")
    [row] = health.monitor([environment])  # the wiring asks it, too
    assert "sessions.missing/dev1_worker" in {each["key"] for each in row.findings}

    start.start_fleet(only=["dev1_worker"])
    assert [each.verdict for each in findings(environment)] == ["ok"]
    control.stop(list(Session.objects.live()))
    assert [each.what for each in findings(environment)] == ["no session works in it"], "it was ended on purpose"


def test_a_program_that_ended(
    db: None, acting: str, tmux: Tmux, agents: Any, make_environments: Callable[..., list[Environment]]
) -> None:
    install(agents, "opencode", "exit 3")
    [environment] = make_environments(1)
    start.start_fleet(only=["dev1_worker"])
    dead = found(environment, lambda each: each.fault == "ended")
    assert (dead.verdict, dead.what) == ("failed", "session dev1_worker is dead: its program ended with code 3")
    own = start.create("mine", environment=environment)
    tmux("respawn-pane", "-k", "-t", f"{own.tmux_pane}", "exit 0")
    ended = found(environment, lambda each: each.about == "mine")
    assert (ended.verdict, ended.fix) == ("warning", "gaia session destroy mine")


def test_a_shell_for_want_of_an_agent_is_a_note_and_one_in_its_place_a_warning(
    db: None, acting: str, tmux: Tmux, make_environments: Callable[..., list[Environment]]
) -> None:
    [environment] = make_environments(1)
    start.start_fleet(only=["dev1_worker"])
    [note] = findings(environment)
    assert (note.verdict, note.note) == ("ok", True)
    assert note.what == "session dev1_worker has a shell where ollama should be"
    assert "is not installed" in note.meaning
    Session.objects.update(argv=["/usr/bin/opencode"])  # it was started as an agent
    [warning] = check_sessions([environment])[environment.pk]
    assert (warning.verdict, warning.fix) == ("warning", "gaia attach dev1_worker")


def test_it_costs_the_same_at_any_size(
    db: None, acting: str, make_environments: Callable[..., list[Environment]], django_assert_max_num_queries: Any
) -> None:
    chosen = make_environments(20)
    for number, environment in enumerate(chosen):
        Session.objects.create(
            gaia_id=str(number), name=f"dev{number}_worker", group="x", provider="ollama", cwd="/", state="exited",
            environment=environment,
        )  # fmt: skip
    assert settings.GAIA_HEALTH_CHECKS == ["sessions.health.check_sessions"]
    with django_assert_max_num_queries(4):
        found = check_sessions(chosen)
    assert {len(each) for each in found.values()} == {1}


def test_what_gaia_only_looks_at_is_nobodys_business(
    db: None, acting: str, make_environments: Callable[..., list[Environment]]
) -> None:
    [environment] = make_environments(1)
    Session.objects.create(
        gaia_id="1", name="theirs", group="x", provider="claude", cwd="/", state="exited", environment=environment,
        origin="foreign", socket="/tmp/other",
    )  # fmt: skip
    assert [each.verdict for each in check_sessions([environment])[environment.pk]] == ["ok"]
