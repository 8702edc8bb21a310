"""What is on disk becomes what the rows say."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from environments import reconcile
from environments.actions.setup import plan_setup, request_setup
from environments.models import Environment, GitState
from environments.states import EnvironmentState
from events.models import Event
from tests.environments.drivers.repositories import commit, git
from tests.environments.places import DaemonProcess, Place, until


def look() -> None:
    """A look, however short a time ago the last one was."""
    reconcile._next_git_look = 0.0
    reconcile.look_at_git()


def git_of(place: Place, number: int) -> dict[str, Any]:
    """What is on record of a checkout, without what is as it should be."""
    row = GitState.objects.values().get(environment=place.environment(number))
    kept = {name: value for name, value in row.items() if name not in ("id", "environment_id", "checked_at", "head")}
    return {name: value for name, value in kept.items() if value not in (0, False, "")}


def statements(work: Any) -> int:
    """How many statements it takes, transactions and savepoints aside."""
    with CaptureQueriesContext(
        connection,
    ) as captured:
        work()
    kinds = ("SELECT", "INSERT", "UPDATE", "DELETE")
    return sum(query["sql"].startswith(kinds) and "pg_" not in query["sql"] for query in captured.captured_queries)


def crowd(place: Place, count: int) -> None:
    """Many environments like the first one, without the time that making them takes."""
    first = place.environment(1)
    copies = []
    for number in range(2, count + 1):
        path = shutil.copytree(place.path(1), place.path(number), symlinks=True)
        copies.append(
            Environment(
                project=first.project, name=f"dev{number}", number=number, path=str(path), branch=f"env/dev{number}",
                state=EnvironmentState.READY,
            )
        )  # fmt: skip
    Environment.objects.bulk_create(copies)


def test_what_git_says(place: Place) -> None:
    place.set_up(4)
    one, two, three = place.path(1), place.path(2), place.path(3)
    commit(place.source, {"README.md": "theirs\n"})
    place.set_up(4)
    commit(one, {"mine.txt": "mine\n"})
    (one / "mine.txt").write_text("changed\n")
    (one / "staged.txt").write_text("new\n")
    git(one, "add", "staged.txt")
    (one / "untracked.txt").write_text("new\n")
    git(two, "checkout", "-q", "-b", "feature/x")
    git(two, "checkout", "-q", "--detach")
    commit(three, {"README.md": "ours\n"})
    git(three, "merge", "-q", "origin/main", check=False)

    look()

    assert git_of(place, 1) == {
        "branch": "env/dev1", "ahead": 1, "behind": 1, "staged": 1, "unstaged": 1, "untracked": 1,
    }  # fmt: skip
    assert git_of(place, 2) == {"detached": True, "behind": 1}
    assert git_of(place, 3) == {
        "branch": "env/dev3", "ahead": 1, "behind": 1, "conflicts": 1, "in_progress": "merge",
    }  # fmt: skip
    assert git_of(place, 4) == {"branch": "env/dev4", "behind": 1}
    assert GitState.objects.get(environment__name="dev1").head == git(one, "rev-parse", "HEAD")


def test_commits_are_told_and_every_saved_file_is_not(place: Place) -> None:
    place.ready(1)
    path = place.path(1)
    Event.objects.all().delete()

    look()
    (path / "README.md").write_text("one\n")
    look()
    (path / "new.txt").write_text("two\n")
    look()
    commit(path, {"README.md": "one\n"})
    look()

    told = [event.message for event in Event.objects.order_by("id")]
    head = git(path, "rev-parse", "HEAD")[:9]
    assert told[1:] == [f"shop-dev1: env/dev1 at {head}, 1 ahead, 1 changed files"]
    assert told[0].endswith("1 changed files")
    assert {(event.kind, event.subject) for event in Event.objects.all()} == {("git.changed", "environment/shop-dev1")}


def test_a_checkout_that_vanishes_and_comes_back(place: Place) -> None:
    place.ready(2)
    place.path(1).rename(place.root / "moved away")

    look()

    environment = place.environment(1)
    assert (environment.state, environment.problem) == (EnvironmentState.DAMAGED, "its checkout is missing")
    assert place.environment(2).state == EnvironmentState.READY
    assert Event.objects.get(kind="environment.damaged").level == "error"
    look()
    assert Event.objects.filter(kind="environment.damaged").count() == 1

    (place.root / "moved away").rename(place.path(1))
    look()

    assert (place.environment(1).state, place.environment(1).problem) == (EnvironmentState.READY, "")


def test_a_daemon_notices_a_deleted_checkout_and_set_up_makes_it_again(place: Place, daemon: DaemonProcess) -> None:
    place.ready(2)
    shutil.rmtree(place.path(2))

    until(lambda: place.environment(2).state == EnvironmentState.DAMAGED, "the look that notices it")

    assert place.set_up(2)["created"] == ["dev2"]
    assert place.environment(2).state == EnvironmentState.READY


def test_other_damage_is_not_healed_by_looking(place: Place) -> None:
    place.ready(1)
    Environment.objects.update(state=EnvironmentState.DAMAGED, problem="its work could not be salvaged")

    look()

    assert place.environment(1).problem == "its work could not be salvaged"


def test_a_removal_that_began_meanwhile_is_not_called_damage(place: Place) -> None:
    """The row was read while it was ready; then its removal began and took the checkout away."""
    place.ready(1)
    seen = place.environment(1)
    request_setup(plan_setup(source=str(place.source), count=1))  # an operation is at it
    Environment.objects.update(state=EnvironmentState.REMOVING)
    shutil.rmtree(place.path(1))

    reconcile.refresh_git([seen])
    look()

    assert place.environment(1).state == EnvironmentState.REMOVING


@pytest.mark.parametrize("state", [EnvironmentState.CREATING, EnvironmentState.REMOVING])
def test_work_that_nobody_does_any_more_is_damage(place: Place, state: EnvironmentState) -> None:
    place.ready(2)
    Environment.objects.filter(name="dev2").update(state=state)

    look()

    what = "set-up" if state == EnvironmentState.CREATING else "removal"
    assert place.environment(2).problem == f"its {what} was interrupted"
    assert place.environment(1).state == EnvironmentState.READY


def test_a_checkout_that_git_cannot_read(place: Place) -> None:
    place.ready(2)
    (place.path(1) / ".git/HEAD").write_text("nonsense")

    look()

    assert "not a git repository" in git_of(place, 1)["error"]
    assert git_of(place, 2) == {"branch": "env/dev2"}


def test_a_look_takes_as_many_statements_for_fifty_as_for_five(place: Place) -> None:
    place.ready(1)
    crowd(place, 5)
    look()
    assert statements(look) == 2

    Environment.objects.exclude(number=1).delete()
    for path in place.root.glob("shop-dev[2-5]"):
        shutil.rmtree(path)
    crowd(place, 50)
    look()

    assert statements(look) == 2
    assert GitState.objects.filter(error="").count() == 50


def test_looking_takes_a_small_share_of_the_time(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 100.0, 102.0, 102.0, 102.0])
    monkeypatch.setattr(reconcile, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(reconcile, "refresh_git", lambda environments: None)

    reconcile.look_at_git()

    assert reconcile._next_git_look == 102.0 + 2.0 * 20 - 5.0


def test_paths_with_spaces_and_colons(place: Place, tmp_path: Path) -> None:
    place.set_up(1, root=str(tmp_path / "a b: c"))

    look()

    assert git_of(place, 1) == {"branch": "env/dev1"}
