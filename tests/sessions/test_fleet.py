"""The fleet of 26 as it is shipped, and what a fleet file may not say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from common.errors import InvalidInput
from sessions.fleet import DEFAULT_FLEET, Fleet, load_fleet
from sessions.patterns import Detected, detect
from sessions.providers import load_providers

SHIPPED = DEFAULT_FLEET.read_text()
LABELS = {
    "High-Level": 6,
    "Dev Environment Workers": 5,
    "PR Review": 3,
    "PR Implementation": 4,
    "PR Integration": 3,
    "Existing Workers": 5,
    "Other": 0,
}


def labels(fleet: Fleet) -> dict[str, str]:
    return {group.key: group.label for group in fleet.groups}


def test_26_sessions_in_seven_groups() -> None:
    fleet = load_fleet()
    assert len(fleet.sessions) == 26
    assert {group.label: len(fleet.in_group(group.key)) for group in fleet.groups} == LABELS
    assert list(labels(fleet).values()) == list(LABELS)


def test_providers_as_planned() -> None:
    fleet = load_fleet()
    assert Counter(session.provider for session in fleet.sessions) == {"claude": 6, "codex": 4, "ollama": 16}
    by_provider = {
        provider: {session.name for session in fleet.sessions if session.provider == provider}
        for provider in ("claude", "codex")
    }
    assert by_provider == {
        "claude": {"architect", "foundation", "inspector", "claude_architect", "pr_review1", "pr_review2"},
        "codex": {"pr_impl1", "pr_impl2", "codex_worker1", "manager1"},
    }


def test_the_six_that_are_protected() -> None:
    protected = {session.name for session in load_fleet().sessions if session.protected}
    assert protected == {"architect", "foundation", "inspector", "manager1", "claude_architect", "command_runner"}
    assert {session.group for session in load_fleet().sessions if session.protected} == {"high_level"}


def test_each_environment_has_its_worker() -> None:
    placed = {session.name: session.environment for session in load_fleet().sessions if session.environment}
    assert placed == {f"dev{number}_worker": f"dev{number}" for number in range(1, 6)}


def test_the_existing_workers() -> None:
    names = [session.name for session in load_fleet().in_group("existing")]
    assert names == ["dev_worker1", "dev_worker2", "edu_worker1", "codex_worker1", "qa_worker1"]


@pytest.mark.parametrize(
    ("word", "count"), [("Dev Environment", 5), ("PR Review", 3), ("PR Implementation", 4), ("PR Integration", 3)]
)
def test_lines_are_counted_by_their_groups_name(word: str, count: int) -> None:
    """`gaia --group-status | grep -c WORD`: everything of a session that a line may show, with its group's label."""
    fleet = load_fleet()
    lines = [
        " ".join(
            (session.name, session.provider, session.role, session.environment or "-", labels(fleet)[session.group])
        )
        for session in fleet.sessions
    ]
    assert sum(word in line for line in lines) == count


def test_a_fleet_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(
        "version: 1\n"
        "groups: [{key: other, label: All, short: A}]\n"
        "sessions: [{name: solo, group: other, provider: mine}]\n"
    )
    fleet = load_fleet(path, providers=["mine"])
    [session] = fleet.sessions
    assert (session.name, session.role, session.protected, session.environment) == ("solo", "worker", False, None)
    assert fleet.session("solo") == session
    assert fleet.session("none") is None
    assert fleet.group("other").label == "All"
    with pytest.raises(KeyError):
        fleet.group("none")


CLAUDE = "provider: claude, role: review}"  # of pr_review1


@pytest.mark.parametrize(
    ("old", "new", "what", "hint"),
    [
        ("name: pr_impl2", "name: pr_impl1", "name 'pr_impl1' stands twice", "Rename"),
        ("name: pr_impl2", "name: pr.impl2", "'pr.impl2' is not a valid name", "shipped"),
        ("name: pr_impl2", "name: ../x", "'../x' is not a valid name", "shipped"),
        ("name: qa_worker1, group: existing", "name: qa_worker1, group: exsting", "no group 'exsting'", "'existing'"),
        (CLAUDE, CLAUDE.replace("claude", "cloude"), "no provider 'cloude'", "'claude'"),
        (CLAUDE, CLAUDE.replace("claude", "x"), "no provider 'x'", "Use one of"),
        ("role: testing", "role: Doing PR Review work", "contains the label", "plain word"),
        ("role: testing", 'role: "a\\tb"', "one line", "shipped"),
        ("role: testing", "rolle: testing", "no key", "spelling"),
        ("role: delegation, protected: true", "role: delegation, protected: ja", "protected", "shipped"),
        ("environment: dev3", "environment: a/b", "'a/b' is not a valid name", "shipped"),
        ("label: PR Integration", "label: PR Review", "label 'PR Review' stands twice", "Rename"),
        ("label: PR Integration", "label: PR Review 2", "contains the label 'PR Review'", "none contains"),
        ("short: PRIG", "short: PRR", "short 'PRR' stands twice", "Rename"),
        ("key: other", "key: Other!", "not a key", "shipped"),
        ("'pr_integ\\d*'", "'pr_integ(\\d*'", "regular expression", "shipped"),
        ("version: 1", "version: 2", "version", "shipped"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, old: str, new: str, what: str, hint: str) -> None:
    assert SHIPPED.count(old) >= 1
    path = tmp_path / "fleet.yaml"
    path.write_text(SHIPPED.replace(old, new, 1))
    with pytest.raises(InvalidInput) as error:
        load_fleet(path)
    line = SHIPPED.count("\n", 0, SHIPPED.index(old)) + 1
    assert error.value.what.startswith(f"{path}:{line}: ")
    assert what in error.value.what
    assert hint in error.value.fix


def test_a_group_for_strangers_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(SHIPPED.replace("key: other", "key: rest"))
    with pytest.raises(InvalidInput, match="no group 'other'"):
        load_fleet(path)


def test_a_fleet_without_sessions_or_groups_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text("version: 1\nsessions: []\n")
    with pytest.raises(InvalidInput, match="groups is missing"):
        load_fleet(path)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("dev1_worker", ("dev_workers", "ollama")),
        ("dev17_worker", ("dev_workers", "ollama")),
        ("dev_worker", ("existing", "system")),
        ("xdev1_worker", ("other", "system")),
        ("dev1_worker2", ("other", "system")),
        ("pr_review1", ("pr_review", "claude")),
        ("pr_review2", ("pr_review", "claude")),
        ("pr_review3", ("pr_review", "ollama")),
        ("pr_review12", ("pr_review", "ollama")),
        ("pr_review", ("pr_review", "system")),
        ("pr_impl3", ("pr_implementation", "ollama")),
        ("pr_impl2", ("pr_implementation", "codex")),
        ("pr_impl9", ("pr_implementation", "ollama")),
        ("pr_integ8", ("pr_integration", "ollama")),
        ("manager1", ("high_level", "codex")),
        ("manager2", ("high_level", "codex")),
        ("command_runner", ("high_level", "ollama")),
        ("gemini_architect", ("high_level", "gemini")),
        ("task_worker4", ("existing", "ollama")),
        ("my-claude-2", ("other", "claude")),
        ("codex", ("other", "codex")),
        ("declaude", ("other", "system")),
        ("0", ("other", "system")),
        ("", ("other", "system")),
        ("a" * 100_000, ("other", "system")),
        ("dev1_worker\n", ("other", "system")),
    ],
)
def test_strangers_are_told_by_their_names(name: str, found: tuple[str, str]) -> None:
    assert detect(name) == Detected(*found)


def test_the_fleets_own_say_wins_over_patterns() -> None:
    fleet = load_fleet()
    for session in fleet.sessions:
        assert detect(session.name) == Detected(session.group, session.provider)


def test_patterns_are_data(tmp_path: Path) -> None:
    (tmp_path / "providers").mkdir()
    mine = tmp_path / "providers" / "mine.yaml"
    mine.write_text("version: 1\nname: mine\nlabel: Mine\nname_patterns: ['my_.*']\n")
    groups = "[{key: own, label: Own, short: O, patterns: ['.*_own']}, {key: other, label: X, short: X}]"
    (tmp_path / "fleet.yaml").write_text(f"version: 1\nsessions: []\ngroups: {groups}\n")
    providers = load_providers(tmp_path / "providers")
    fleet = load_fleet(tmp_path / "fleet.yaml", providers=providers)
    assert detect("my_own", fleet=fleet, providers=providers) == Detected("own", "mine")
