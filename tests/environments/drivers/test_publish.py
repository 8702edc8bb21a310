"""What was pushed to the hub goes on to the source, when the project's gaia.yaml says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import Conflict, InvalidInput
from environments.drivers import verbs
from environments.drivers.gaia_yaml import MAX_BYTES, read
from environments.drivers.git import GitError
from environments.drivers.publish import publish, says_publish
from environments.drivers.source import Source
from tests.environments.drivers.checkouts import Pair
from tests.environments.drivers.repositories import commit, git, source_of


@pytest.fixture
def pair(repository: Path, tmp_path: Path) -> Pair:
    return Pair(repository, tmp_path)


def says(pair: Pair, text: str, name: str = "gaia.yaml") -> bool:
    commit(pair.source, {name: text})
    pair.fetch(pair.one)
    return says_publish(pair.hub, "main")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("publish: true\n", True),
        ("publish: false\ncommand: run\n", False),
        ("command: run\nstages: {qa: {health: /up}}\npublish: True  # now\n", True),
        ("command: run\n", False),
    ],
)
def test_the_projects_word(pair: Pair, text: str, wanted: bool) -> None:
    assert not says_publish(pair.hub, "main")
    assert says(pair, text) is wanted


@pytest.mark.parametrize(
    ("text", "problem", "fix"),
    [
        ("publish: maybe\n", "gaia.yaml:1: publish is neither true nor false", "publish: true"),
        ('command: x\npublish: "true"\n', "gaia.yaml:2: publish is neither", "publish: true"),
        ("publish: [true]\n", "gaia.yaml:1: publish is neither", "publish: true"),
        ("publsh: true\n", "unknown key 'publsh'", "Did you mean publish?"),
        ("a: &a x\npublish: *a\n", "uses an alias", "Write the value out"),
        ("publish: true\npublish: false\n", "'publish' twice", "Keep one"),
        ("publish: true\n" + "#" * MAX_BYTES, "larger than", "Keep only"),
        ("publish: {\n", "not valid YAML", "For example"),
    ],
)
def test_a_mistake_is_told_with_its_line(pair: Pair, text: str, problem: str, fix: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        says(pair, text)
    assert problem in caught.value.what
    assert fix in caught.value.fix
    assert "publish" in caught.value.meaning


def test_launching_takes_the_key_and_does_without_a_command(tmp_path: Path) -> None:
    (tmp_path / "gaia.yaml").write_text("publish: true\ncommand: run\n")
    assert read(tmp_path, "qa").command == "run"
    (tmp_path / "gaia.yaml").write_text("publish: true\n")
    found = read(tmp_path)
    assert (found.source, "says no command" in found.message) == ("default", True)
    (tmp_path / "gaia.yaml").write_text("command: run\npublish: perhaps\n")
    with pytest.raises(InvalidInput, match=r"gaia\.yaml:2"):
        read(tmp_path)


def test_the_branch_of_the_same_name_follows(pair: Pair) -> None:
    source = source_of(pair.source)
    verbs.feature(pair.one, "x")
    first = commit(pair.one, {"a": "a\n"})
    verbs.push(pair.one, protected=("main",))
    assert publish(pair.hub, source, "feature/x", timeout=60)
    assert git(pair.source, "rev-parse", "feature/x") == first
    assert not publish(pair.hub, source, "feature/x", timeout=60)
    # it was amended: only with force, and only over what the hub knows of
    git(pair.one, "commit", "-q", "--amend", "-m", "another word")
    verbs.push(pair.one, protected=("main",), force=True)
    with pytest.raises(Conflict, match="does not take") as caught:
        publish(pair.hub, source, "feature/x", timeout=60)
    assert "in the hub" in caught.value.meaning
    assert publish(pair.hub, source, "feature/x", timeout=60, force=True)
    assert git(pair.source, "rev-parse", "feature/x") == git(pair.one, "rev-parse", "HEAD")


def test_force_does_not_overwrite_what_somebody_pushed_to_the_source(pair: Pair) -> None:
    source = source_of(pair.source)
    verbs.feature(pair.one, "x")
    commit(pair.one, {"a": "a\n"})
    verbs.push(pair.one, protected=("main",))
    publish(pair.hub, source, "feature/x", timeout=60)
    git(pair.source, "checkout", "-q", "feature/x")
    theirs = commit(pair.source, {"theirs": "theirs\n"})
    git(pair.source, "checkout", "-q", "main")
    git(pair.one, "commit", "-q", "--amend", "-m", "another word")
    verbs.push(pair.one, protected=("main",), force=True)
    with pytest.raises(Conflict):
        publish(pair.hub, source, "feature/x", timeout=60, force=True)
    assert git(pair.source, "rev-parse", "feature/x") == theirs


def test_a_source_that_is_gone(pair: Pair, tmp_path: Path) -> None:
    verbs.feature(pair.one, "x")
    commit(pair.one, {"a": "a\n"})
    verbs.push(pair.one, protected=("main",))
    with pytest.raises(GitError, match="was not published"):
        publish(pair.hub, Source(str(tmp_path / "gone"), tmp_path / "gone", "gone"), "feature/x", timeout=60)
