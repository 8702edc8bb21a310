"""Commits and differences as data."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import InvalidInput
from environments.drivers import history
from environments.drivers.history import Line, diff, log, read_diff
from tests.environments.drivers.checkouts import TEXT, Pair
from tests.environments.drivers.repositories import commit, git


@pytest.fixture
def pair(repository: Path, tmp_path: Path) -> Pair:
    commit(repository, {"text": TEXT, "binary": "\0\1\2", "old name": TEXT * 2, "run": "x\n"})
    return Pair(repository, tmp_path)


def test_commits_newest_first(pair: Pair) -> None:
    commit(pair.one, {"a": "a\n"}, "First\n\nat length")
    newest = commit(pair.one, {"b": "b\n"}, "Second \x1b[31mred\x1b[0m")
    found = log(pair.one, limit=2)
    assert [each.subject for each in found] == ["Second red", "First"]
    assert (found[0].id, found[0].author, found[0].at.tzinfo is not None) == (newest, "Ada", True)
    assert "env/dev1" in found[0].refs
    assert [each.subject for each in log(pair.one, since="origin/main")] == [each.subject for each in found]
    for wrong in ("no-such", "--all", "-n5"):
        with pytest.raises(InvalidInput):
            log(pair.one, since=wrong)


def test_before_the_first_commit(pair: Pair) -> None:
    git(pair.one, "checkout", "-q", "--orphan", "fresh")
    assert log(pair.one) == []
    assert {file.path for file in diff(pair.one, against="staged").files} >= {"text", "binary"}


def test_changes_of_every_kind(pair: Pair) -> None:
    (pair.one / "text").write_text(TEXT.replace("line 5\n", "line five\nand more\n"))
    (pair.one / "binary").write_bytes(b"\0\2\3")
    (pair.one / "README.md").unlink()
    (pair.one / "run").chmod(0o755)
    git(pair.one, "mv", "old name", "nëw\tname")
    (pair.one / "untracked\x1b").write_text("")
    found = diff(pair.one)
    kinds = {file.path: (file.kind, file.old_path, file.binary, file.added, file.removed) for file in found.files}
    assert kinds == {
        "text": ("modified", "", False, 2, 1),
        "binary": ("modified", "", True, 0, 0),
        "README.md": ("deleted", "", False, 0, 1),
        "run": ("mode", "", False, 0, 0),
        "nëw\tname": ("renamed", "old name", False, 0, 0),
    }
    assert (found.added, found.removed, found.left_out) == (2, 2, 0)
    assert len(found.untracked) == 1
    assert "\x1b" not in found.untracked[0]
    [hunk] = next(file for file in found.files if file.path == "text").hunks
    assert hunk.lines[3] == Line("removed", 5, None, "line 5")
    assert hunk.lines[4:6] == [Line("added", None, 5, "line five"), Line("added", None, 6, "and more")]
    assert hunk.lines[6] == Line("context", 6, 7, "line 6")


def test_against_what(pair: Pair) -> None:
    (pair.one / "text").write_text("staged\n")
    git(pair.one, "add", "text")
    (pair.one / "README.md").write_text("not staged\n")
    assert {file.path for file in diff(pair.one, against="staged").files} == {"text"}
    assert {file.path for file in diff(pair.one).files} == {"text", "README.md"}
    assert {file.path for file in diff(pair.one, names=("README.md",)).files} == {"README.md"}
    commit(pair.one, {"mine": "mine\n"})
    commit(pair.source, {"theirs": "theirs\n"})
    pair.fetch(pair.one)
    names = {file.path for file in diff(pair.one, against="branch").files}
    assert (names >= {"mine", "README.md"}, "theirs" in names) == (True, False)
    assert "theirs" in {file.path for file in diff(pair.one, against="origin/main").files}
    with pytest.raises(InvalidInput):
        diff(pair.one, against="--output=/tmp/x")


def test_lines_end_at_a_newline_and_nowhere_else(pair: Pair) -> None:
    (pair.one / "text").write_bytes(b"one\rstill one\x0cand\x1c\xe2\x80\xa8on\n\xff\n")
    [file] = diff(pair.one).files
    assert file.added == 2


def test_what_is_too_long_is_counted(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_LINES", 30)
    monkeypatch.setattr(history, "MAX_FILE_LINES", 20)
    for name in "abc":
        (pair.one / name).write_text("line\n" * 25)
        git(pair.one, "add", name)
    found = diff(pair.one)
    assert [(file.path, file.added, file.truncated) for file in found.files] == [("a", 25, 5), ("b", 25, 15)]
    assert found.left_out == 1


def test_nothing_at_all() -> None:
    assert read_diff("") == ([], 0)
