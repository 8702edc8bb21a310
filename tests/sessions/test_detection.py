"""Verdicts over time and from several pieces of evidence, with a clock of the test's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sessions.detection import SETTLE_S, Detector, Look, Told, Verdict, at_a_glance, classify, rules_for
from sessions.providers import load_providers
from sessions.states import AgentState
from tests.sessions.screens import screen

PROVIDERS = load_providers()
CLAUDE = rules_for(PROVIDERS["claude"], PROVIDERS)
CODEX = rules_for(PROVIDERS["codex"], PROVIDERS)
IDLE, WORKING, WAITING = screen("claude-120x40-idle"), screen("claude-120x40-working"), screen("claude-80x24-shell")


def states(*looks: tuple[float, Look]) -> list[tuple[float, str, float]]:
    """What a detector says of looks at these times: time, state, since when."""
    detector = Detector()
    told = [(now, detector.feed(look, CLAUDE, now)) for now, look in looks]
    return [(now, verdict.state, verdict.since) for now, verdict in told]


def test_idle_only_after_it_has_rested() -> None:
    look = Look(IDLE)
    assert states((10, look), (11, look), (11.4, look), (11.5, look), (20, look)) == [
        (10, "detecting", 10),
        (11, "detecting", 10),
        (11.4, "detecting", 10),
        (11.5, "idle", 10),
        (20, "idle", 10),
    ]


def test_what_happens_is_believed_at_once_and_rest_is_not() -> None:
    idle, working, waiting = Look(IDLE), Look(WORKING), Look(WAITING)
    assert states((0, idle), (2, idle), (3, working), (4, waiting), (5, idle), (6, idle), (7, idle), (8, working)) == [
        (0, "detecting", 0),
        (2, "idle", 0),
        (3, "working", 3),
        (4, "waiting", 4),
        (5, "detecting", 5),
        (6, "detecting", 5),
        (7, "idle", 5),
        (8, "working", 8),
    ]


def test_an_agent_that_writes_is_not_idle_though_its_screen_looks_so() -> None:
    looks = [(float(at), Look(IDLE.replace("Claude Code v", f"Claude Code {at} v"))) for at in range(5)]
    assert {state for _, state, _ in states(*looks)} == {"detecting"}


def test_who_types_into_the_composer_does_not_wake_the_agent() -> None:
    typed = [IDLE.replace("❯\u00a0", f"❯ {'esc to interrupt'[:count]}") for count in range(1, 17)]
    assert IDLE not in typed
    told = states((0, Look(IDLE)), (2, Look(IDLE)), *((2 + at / 4, Look(text)) for at, text in enumerate(typed)))
    assert [state for _, state, _ in told] == ["detecting", *["idle"] * 17]


def test_one_frame_that_cannot_be_read_is_not_told() -> None:
    working, torn = Look(WORKING), Look("half a fr")
    assert [state for _, state, _ in states((0, working), (1, torn), (2, working), (3, torn), (5, torn))] == [
        "working",
        "detecting",
        "working",
        "detecting",
        "unknown",
    ]


def test_an_end_that_only_the_screen_tells_of_must_last_too() -> None:
    ended = Look("Resume this session with:\nclaude --resume 0\n$")
    assert [state for _, state, _ in states((0, ended), (1, ended), (2, ended))] == ["detecting", "detecting", "exited"]
    assert states((0, Look(WORKING)), (1, Look(WORKING, dead=True))) == [(0, "working", 0), (1, "exited", 1)]
    shell = Look("", runs="shell", command="sh")  # about to become the agent, or what the agent left behind
    assert [state for _, state, _ in states((0, shell), (1, shell), (2, shell))] == ["detecting", "detecting", "exited"]


def test_rules_that_changed_are_asked_again_about_the_same_look() -> None:
    detector = Detector()
    look = Look(WORKING)
    assert detector.feed(look, CLAUDE, 0.0).state == "working"
    of_others = tuple(each.model_copy(update={"rules": ()}) for each in CLAUDE)
    assert detector.feed(look, of_others, 1.0).state == "detecting"
    assert detector.feed(look, of_others, 3.0) == Verdict("unknown", version=1, since=1.0)


def test_processes_before_screens() -> None:
    assert classify(CLAUDE, Look(WORKING, dead=True)) == Verdict("exited", "process", "pane-dead")
    assert classify(CLAUDE, Look(WORKING, runs="shell", command="bash")) == Verdict(
        "exited", "process", "shell", seen="bash"
    )
    assert classify(CLAUDE, Look(WORKING, runs="other")).state == "working", "an agent under another name"
    assert classify((), Look("$ ", runs="shell", command="sh")).state == "idle"
    assert classify((), Look("...", runs="other", command="make")) == Verdict(
        "working", "process", "program", seen="make"
    )
    assert classify((), Look("...")).state == "unknown"


def test_what_the_agent_said_holds_until_its_window_moves_on() -> None:
    told = Told("waiting", at=100.0, by="PermissionRequest")
    look = Look(WORKING, activity=101.0, told=told)
    assert classify(CLAUDE, look) == Verdict("waiting", "protocol", "PermissionRequest")
    assert classify(CLAUDE, replace(look, activity=103.0)).state == "working"
    assert classify(CLAUDE, replace(look, activity=None)).state == "working", "nobody knows whether it moved"
    assert classify(CLAUDE, replace(look, dead=True)).state == "exited"
    assert Detector().feed(replace(look, told=replace(told, state="idle")), CLAUDE, 1.0).state == "idle"


def test_titles_where_the_screen_is_silent() -> None:
    streaming = screen("codex-120x40-streaming")
    assert classify(CODEX, Look(streaming, title="⠼ shop")).source == "title"
    assert classify(CODEX, Look(streaming, title="⠼ shop")).state == "working"
    assert classify(CODEX, Look(streaming, title="shop")).state == "idle"
    assert classify(CODEX, Look(streaming)).rule == "answer-streams"
    assert classify(CODEX, Look(screen("codex-40x30-shell"), title="⠼ shop")).state == "waiting"


def test_a_single_look_knows_rest_by_the_quiet_of_the_window() -> None:
    look = Look(IDLE, activity=100.0)
    assert at_a_glance(CLAUDE, look, 101.0).state == "detecting"
    assert (at_a_glance(CLAUDE, look, 102.0).state, at_a_glance(CLAUDE, look, 102.0).age(102.0)) == ("idle", 2.0)
    assert at_a_glance(CLAUDE, look, 90.0).age(90.0) == 0, "a clock that was set back"
    assert at_a_glance(CLAUDE, replace(look, text=WORKING), 100.5).state == "working"
    assert at_a_glance(CLAUDE, replace(look, dead=True), 100.5).state == "exited"


def test_rules_of_programs_that_share_a_provider() -> None:
    ollama = rules_for(PROVIDERS["ollama"], PROVIDERS)
    assert ollama == (PROVIDERS["ollama"].screen, PROVIDERS["codex"].screen)
    assert classify(ollama, Look(screen("codex-120x40-working"))).state == "working"
    assert classify(ollama, Look(screen("opencode-120x40-working"))).state == "working"
    assert rules_for(PROVIDERS["system"], PROVIDERS) == rules_for(None, PROVIDERS) == ()


@pytest.mark.parametrize("provider", ["claude", "codex", "gemini", "ollama"])
def test_every_state_is_one_that_sessions_know(provider: str) -> None:
    known = set(AgentState.values)
    assert {rule.state for each in rules_for(PROVIDERS[provider], PROVIDERS) for rule in each.rules} <= known
    assert Detector().feed(Look(), (), 0.0).state in known
    assert SETTLE_S == 1.5
