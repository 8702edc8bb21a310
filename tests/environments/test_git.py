"""The git verbs as actions: events, what is known of git afterwards, the source, the hub, rounds over all."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from common.errors import Conflict, GaiaError, NotFound
from environments import jobs
from environments.actions import git, git_look
from environments.actions.git_rounds import request_clean_branches, request_sync
from environments.drivers.snapshots import take_snapshot
from environments.drivers.verbs import Conflicted
from environments.git_overview import describe_snapshot, describe_status
from environments.models import Environment, GitState
from environments.states import EnvironmentState
from events.models import Event
from processes.actions.operations import run_operation
from processes.models import Operation
from processes.states import OperationState
from tests.environments.drivers.repositories import commit
from tests.environments.drivers.repositories import git as plain_git
from tests.environments.places import Place
from tests.environments.work import files_of, work_in


@pytest.fixture
def shop(place: Place) -> Environment:
    """An environment without a daemon."""
    place.ready(1)
    Event.objects.all().delete()
    return place.environment(1)


def told(kind: str) -> list[dict[str, Any]]:
    """The facts of the events of a kind, oldest first."""
    return [dict(event.data) for event in Event.objects.filter(kind=kind).order_by("id")]


def known(environment: Environment) -> GitState:
    return GitState.objects.get(environment=environment)


# -- events, and what is known afterwards


def test_a_verb_is_told_once_and_git_is_looked_at_again(shop: Environment) -> None:
    path = Path(shop.path)
    before = plain_git(path, "rev-parse", "HEAD")
    (path / "new").write_text("new\n")

    done = git.commit(shop, "Say it")

    [event] = Event.objects.filter(kind="environment.git")
    assert (event.subject, event.actor, event.message) == (
        "environment/shop-dev1", "user:tester", f"shop-dev1: Committed {done.after[:10]}: Say it",
    )  # fmt: skip
    facts = told("environment.git")[0]
    assert (facts["verb"], facts["before"], facts["after"], facts["branch"], facts["snapshot"]) == (
        "commit", before, done.after, "env/dev1", "",
    )  # fmt: skip
    assert (known(shop).head, known(shop).ahead, known(shop).dirty) == (done.after, 1, 0)
    assert not git.commit(shop, "Nothing").changed
    assert Event.objects.filter(kind="environment.git").count() == 1


def test_a_verb_that_could_lose_work_names_its_snapshot_and_it_comes_back(shop: Environment) -> None:
    path = Path(shop.path)
    before = work_in(path)
    done = git.reset(shop, to="origin/main", mode="hard")
    cleaned = git.clean(shop)
    assert known(shop).dirty == known(shop).ahead == 0
    assert [facts["snapshot"] for facts in told("environment.git")] == [done.snapshot, cleaned.snapshot]
    listed = git.list_snapshots(shop.project, shop)
    assert {(each.name, each.actor) for each in listed} == {
        (done.snapshot, "user:tester"), (cleaned.snapshot, "user:tester"),
    }  # fmt: skip

    back = git.restore(shop, done.snapshot)

    assert files_of(path) == before
    assert back.snapshot in {each.name for each in git.list_snapshots(shop.project)}
    assert told("environment.git")[-1]["verb"] == "restore"
    assert known(shop).ahead == 1
    with pytest.raises(NotFound):
        git.restore(shop, "shop-dev1/20000101T000000Z")


def test_conflicts_are_told_once_with_their_files(shop: Environment, place: Place) -> None:
    commit(Path(shop.path), {"README.md": "mine\n"})
    commit(place.source, {"README.md": "theirs\n"})
    with pytest.raises(Conflicted):
        git.sync(shop)
    [event] = Event.objects.filter(kind="environment.conflicts")
    assert (event.level, event.subject) == ("warning", "environment/shop-dev1")
    assert told("environment.conflicts")[0]["files"] == ["README.md"]
    assert (known(shop).conflicts, known(shop).in_progress) == (1, "merge")
    # whoever asks again is told, and nobody else
    for again in (lambda: git.commit(shop, "x"), lambda: git.feature(shop, "x"), lambda: git.rebase(shop)):
        with pytest.raises(Conflict):
            again()
    assert Event.objects.filter(kind="environment.conflicts").count() == 1
    assert git.abort(shop).changed
    assert (known(shop).conflicts, known(shop).in_progress) == (0, "")


@pytest.mark.parametrize("state", [EnvironmentState.CREATING, EnvironmentState.REMOVING, EnvironmentState.REMOVED])
def test_nothing_is_done_in_an_environment_that_is_not_there(shop: Environment, state: str) -> None:
    Environment.objects.filter(pk=shop.pk).update(state=state)
    shop.refresh_from_db()
    (Path(shop.path) / "new").write_text("new\n")
    with pytest.raises(Conflict, match="shop-dev1 is"):
        git.clean(shop)
    assert (Path(shop.path) / "new").exists()
    assert not Event.objects.filter(kind="environment.git").exists()


# -- source and hub


def test_sync_fetches_the_source_first(shop: Environment, place: Place) -> None:
    new = commit(place.source, {"new": "new\n"})
    assert git.sync(shop).after == new
    assert plain_git(shop.project.hub, "rev-parse", "main") == new


def test_a_source_that_cannot_be_reached(shop: Environment, place: Place) -> None:
    (Path(shop.path) / "new").write_text("new\n")
    before = files_of(Path(shop.path))
    away = place.source.rename(place.source.with_name("away"))
    with pytest.raises(GaiaError) as caught:
        git.sync(shop)
    assert caught.value.fix
    assert files_of(Path(shop.path)) == before
    assert git.commit(shop, "Work goes on").changed
    assert git.push(shop).changed
    assert not git.pull(shop).changed
    away.rename(place.source)
    assert not git.sync(shop).changed


def test_a_hub_that_is_missing(shop: Environment, place: Place) -> None:
    hub = shop.project.hub
    away = hub.rename(hub.with_name("away"))
    (Path(shop.path) / "new").write_text("new\n")
    before = files_of(Path(shop.path))
    for verb in (git.sync, git.pull, git.push, git.clean, git.clean_branches, git.rebase):
        with pytest.raises(GaiaError) as caught:
            verb(shop)
        assert "gaia env setup" in caught.value.fix, verb
    assert files_of(Path(shop.path)) == before
    assert not hub.exists()
    assert git.list_snapshots(shop.project) == git.drop_old_snapshots(shop.project) == []
    away.rename(hub)
    assert git.clean(shop).changed


def test_push_goes_on_to_the_source_when_the_project_says_so(shop: Environment, place: Place) -> None:
    git.feature(shop, "caching")
    tip = commit(Path(shop.path), {"a": "a\n"})
    assert git.push(shop).message == f"feature/caching is pushed: {tip[:10]}"
    assert plain_git(place.source, "branch", "--list", "feature/caching") == ""

    commit(place.source, {"gaia.yaml": "command: exec python3 app.py\npublish: true\n"})
    git.fetch_source(shop.project)
    again = git.push(shop)

    assert (again.changed, again.message) == (
        True, f"The hub has all of feature/caching; published to {place.source}",
    )  # fmt: skip
    assert plain_git(place.source, "rev-parse", "feature/caching") == tip
    assert not git.push(shop).changed


def test_a_push_that_only_the_hub_took_is_told(shop: Environment, place: Place) -> None:
    commit(place.source, {"gaia.yaml": "command: exec python3 app.py\npublish: true\n"})
    git.sync(shop)
    Event.objects.all().delete()
    tip = commit(Path(shop.path), {"a": "a\n"})
    hook = place.source / ".git/hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(Conflict, match="the source does not take"):
        git.push(shop)
    assert [(facts["verb"], facts["after"]) for facts in told("environment.git")] == [("push", tip)]
    assert plain_git(shop.project.hub, "rev-parse", "env/dev1") == tip


def test_an_origin_that_is_not_the_hub(shop: Environment, place: Place) -> None:
    commit(Path(shop.path), {"a": "a\n"})
    plain_git(Path(shop.path), "remote", "set-url", "origin", place.source)
    with pytest.raises(Conflict, match="not the project's hub") as caught:
        git.push(shop)
    assert f"remote set-url origin {shop.project.hub}" in caught.value.fix
    assert plain_git(place.source, "branch", "--list", "env/dev1") == ""


def test_names_that_are_no_utf_8(shop: Environment) -> None:
    """Also what is known of the other environments goes through it."""
    path, name = os.fsencode(shop.path), b"caf\xe9"
    subprocess.run([b"git", b"-C", path, b"checkout", b"-q", b"-b", name], check=True)
    for each in (name, name + b"2"):
        Path(os.fsdecode(path + b"/" + each)).write_text("1\n")
    done = git.commit(shop, "Say it")
    assert (done.files, known(shop).branch) == (["caf\ufffd", "caf\ufffd2"], "caf\ufffd")
    assert told("environment.git")[0]["branch"] == "caf\ufffd"
    assert describe_status(shop, git_look.state(shop))["branch"] == "caf\ufffd"
    plain_git(Path(shop.path), "reset", "-q", "--soft", "HEAD~1")
    assert [describe_snapshot(each)["branch"] for each in git.list_snapshots(shop.project)] == []
    assert git.reset(shop, mode="hard").branch == "caf\ufffd"
    [snapshot] = git.list_snapshots(shop.project)
    assert json.dumps(describe_snapshot(snapshot), ensure_ascii=False).encode()
    assert git.clean_branches(shop).files == []
    assert git.push(shop).changed
    assert git.restore(shop, snapshot.name).changed


def test_a_mistake_in_gaia_yaml_does_not_keep_its_mending_from_the_hub(shop: Environment, place: Place) -> None:
    commit(place.source, {"gaia.yaml": "publish: perhaps\n"})
    git.fetch_source(shop.project)
    tip = commit(Path(shop.path), {"gaia.yaml": "publish: true\n"})
    done = git.push(shop)
    assert "not published: gaia.yaml:1: publish is neither true nor false" in done.message
    assert plain_git(shop.project.hub, "rev-parse", "env/dev1") == tip


def test_protected_branches_are_not_pushed(shop: Environment) -> None:
    for branch in ("main", "qa"):
        plain_git(Path(shop.path), "checkout", "-q", "-B", branch)
        commit(Path(shop.path), {branch: "mine\n"})
        with pytest.raises(Conflict, match=f"{branch} is protected"):
            git.push(shop)
    assert "qa" not in plain_git(shop.project.hub, "branch", "--list")


# -- snapshots that are not kept any longer


def test_old_snapshots_are_dropped_with_one_event(shop: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.GAIA.values, "environments.snapshots_kept", 1)  # type: ignore[arg-type]
    old = timezone.now() - timedelta(days=3)
    names = [
        take_snapshot(Path(shop.path), shop.project.hub, name="shop-dev1", reason=f"{number}", actor="", now=old)
        for number in range(3)
    ]
    assert jobs.drop_snapshots() == 0, "none of them is older than 30 days"
    later = timezone.now() + timedelta(days=40)
    monkeypatch.setattr(timezone, "now", lambda: later)
    assert jobs.drop_snapshots() == 2
    [event] = Event.objects.filter(kind="snapshots.dropped")
    assert (event.subject, event.actor, sorted(event.data["names"])) == (
        "project/shop", "jobs:drop-snapshots", sorted(names[:2]),
    )  # fmt: skip
    assert [each.name for each in git.list_snapshots(shop.project)] == names[2:]


# -- rounds over all environments


def ended(operation: Operation) -> Operation:
    return run_operation(operation.pk)


def test_all_are_synced_and_conflicts_in_one_stop_no_other(place: Place) -> None:
    place.ready(3)
    commit(place.path(1), {"README.md": "mine\n"})
    new = commit(place.source, {"README.md": "theirs\n"})

    done = ended(request_sync(place.environment(1).project, detached=False))

    assert (done.state, done.error["code"]) == (OperationState.FAILED, "git_conflicts")
    outcomes = {name: each["outcome"] for name, each in done.error["detail"]["environments"].items()}
    assert outcomes == {"dev1": "conflicts", "dev2": "done", "dev3": "done"}
    assert done.error["detail"]["environments"]["dev1"]["files"] == ["README.md"]
    assert "git abort shop-dev1" in done.error["fix"]
    assert [plain_git(place.path(number), "rev-parse", "HEAD") for number in (2, 3)] == [new, new]
    assert Event.objects.filter(kind="environment.conflicts").count() == 1
    git.abort(place.environment(1))
    only = ended(request_sync(place.environment(1).project, ["dev2"], detached=False))
    assert only.result["environments"]["dev2"]["outcome"] == "unchanged"


def test_a_source_that_is_gone_stops_the_round_before_it_begins(place: Place) -> None:
    place.ready(1)
    place.source.rename(place.source.with_name("away"))
    done = ended(request_sync(place.environment(1).project, detached=False))
    assert done.state == OperationState.FAILED
    assert "environments" not in done.error["detail"]


@pytest.mark.parametrize("merges", [False, True])
def test_the_weekly_sync_merges_only_when_it_is_told_to(
    place: Place, merges: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.set_up(2)
    head = plain_git(place.path(1), "rev-parse", "HEAD")
    new = commit(place.source, {"new": "new\n"})
    monkeypatch.setitem(settings.GAIA.values, "environments.weekly_sync_merges", merges)  # type: ignore[arg-type]

    [number] = jobs.weekly_sync()

    operation = Operation.objects.get(pk=number)
    assert (operation.params["merges"], operation.actor) == (merges, "jobs:weekly-sync")
    assert jobs.weekly_sync() == [], "one is at it already"
    assert ended(operation).state == OperationState.SUCCEEDED
    assert plain_git(place.path(1), "rev-parse", "HEAD") == (new if merges else head)
    assert plain_git(place.path(1), "rev-parse", "origin/main") == new
    assert (known(place.environment(2)).behind, known(place.environment(2)).dirty) == (0 if merges else 1, 0)


def test_the_monthly_clean_deletes_merged_branches_of_all(place: Place) -> None:
    place.set_up(2)
    for number in (1, 2):
        plain_git(place.path(number), "branch", "feature/done", "origin/main")
    plain_git(place.path(2), "branch", "feature/own")
    plain_git(place.path(2), "checkout", "-q", "feature/own")
    commit(place.path(2), {"own": "own\n"})

    done = ended(request_clean_branches(place.environment(1).project, detached=False))

    assert done.state == OperationState.SUCCEEDED, done.error
    assert {name: each["files"] for name, each in done.result["environments"].items()} == {
        "dev1": ["feature/done"], "dev2": ["feature/done"],
    }  # fmt: skip
    left = plain_git(place.path(2), "for-each-ref", "--format=%(refname:short)", "refs/heads").splitlines()
    assert set(left) == {"env/dev2", "feature/own"}
    assert jobs.monthly_clean() != []
