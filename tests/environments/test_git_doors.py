"""The verbs of git as a program asks for them: what it gets, what it is refused, what becomes an operation."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from environments import git_verbs
from environments.actions import git, git_look
from environments.models import Environment
from events.models import Event
from policy.actions import issue_token
from processes.actions.operations import run_operation
from processes.models import Operation
from processes.states import OperationState
from tests.conftest import Operator
from tests.endpoints import problem
from tests.environments.drivers.repositories import commit
from tests.environments.drivers.repositories import git as plain_git
from tests.environments.places import Place
from tests.environments.work import files_of

TEXT = "".join(f"line {number}\n" for number in range(1, 31))
Post = Callable[..., Any]


@pytest.fixture
def shop(place: Place) -> Environment:
    """An environment whose source has gone on since."""
    commit(place.source, {"text": TEXT}, "A text")
    place.ready(1)
    return place.environment(1)


@pytest.fixture
def get(client: Client) -> Callable[..., Any]:
    """Reads of shop-dev1 as an operator's program does."""
    return lambda path, **query: client.get(f"/api/environments/shop-dev1/git/{path}/", query)


@pytest.fixture
def verb(post: Post) -> Post:
    """Does a verb in shop-dev1."""
    return lambda verb, /, **options: post(f"shop-dev1/git/{verb}/", **options)


def operate(answer: Any) -> Operation:
    """Run the operation that an answer names to its end."""
    assert answer.status_code == 202, answer.content
    return run_operation(answer.json()["id"])


def collide(place: Place, path: Path) -> None:
    """The source and a checkout change the same line."""
    commit(place.source, {"text": TEXT.replace("line 7\n", "theirs\n")}, "Theirs")
    commit(path, {"text": TEXT.replace("line 7\n", "ours\n")}, "Ours")


def test_status_says_what_git_says_now(shop: Environment, get: Post) -> None:
    path = Path(shop.path)
    (path / "text").write_text("changed\n")
    (path / "new.txt").write_text("new\n")
    commit(path, {"more.txt": "more\n"})
    found = get("status").json()
    assert (found["environment"], found["branch"], found["upstream"]) == ("shop-dev1", "env/dev1", "origin/main")
    assert (found["ahead"], found["behind"], found["dirty"], found["untracked"]) == (1, 0, 2, 1)
    assert (found["in_progress"], found["conflict_files"], found["error"]) == ("", [], "")
    assert get("status").json()["head"] == plain_git(path, "rev-parse", "HEAD")


def test_the_log_and_what_one_commit_did(shop: Environment, get: Post) -> None:
    sha = commit(Path(shop.path), {"text": TEXT.replace("line 3\n", "line three\n")}, "Words for numbers")
    newest, *_ = get("log").json()
    assert (newest["id"], newest["subject"], newest["author"]) == (sha, "Words for numbers", "Ada")
    assert "HEAD -> env/dev1" in newest["refs"]
    assert len(get("log", limit=2).json()) == 2
    assert [each["id"] for each in get("log", since="origin/main").json()] == [sha]

    diff = get("diff", commit=sha).json()
    [file] = diff["files"]
    assert (file["path"], file["added"], file["removed"], diff["untracked"]) == ("text", 1, 1, [])
    [hunk] = file["hunks"]
    assert [line["text"] for line in hunk["lines"] if line["kind"] == "added"] == ["line three"]
    assert [line["old"] for line in hunk["lines"] if line["kind"] == "removed"] == [3]
    assert "no commit 'nonsense'" in problem(get("diff", commit="nonsense"), 404)["title"]
    problem(get("log", since="nonsense"), 400)
    problem(get("log", limit=0), 400)


def test_differences_of_every_kind(shop: Environment, get: Post) -> None:
    path = Path(shop.path)
    commit(path, {"committed.txt": "x\n"})
    (path / "text").write_text(TEXT + "the end\n")
    (path / "staged.txt").write_text("s\n")
    plain_git(path, "add", "staged.txt")
    (path / "untracked.txt").write_text("u\n")

    def names(**query: Any) -> list[str]:
        return [file["path"] for file in get("diff", **query).json()["files"]]

    assert names() == ["staged.txt", "text"]
    assert names(against="staged") == ["staged.txt"]
    assert names(against="branch") == ["committed.txt", "staged.txt", "text"]
    assert names(against="HEAD~1") == ["committed.txt", "staged.txt", "text"]
    assert get("diff").json()["untracked"] == ["untracked.txt"]
    short = get("diff", stat="true").json()
    assert (short["added"], short["removed"]) == (2, 0)
    assert "hunks" not in short["files"][0]


def test_verbs_on_this_machine_answer_when_they_are_done(shop: Environment, verb: Post, get: Post) -> None:
    path = Path(shop.path)
    (path / "text").write_text("changed\n")
    done = verb("commit", message="Shorter").json()
    assert (done["verb"], done["changed"], done["files"]) == ("commit", True, ["text"])
    assert done["after"] == plain_git(path, "rev-parse", "HEAD")
    assert verb("commit", message="again").json()["changed"] is False

    assert verb("feature", name="caching").json()["branch"] == "feature/caching"
    assert get("status").json()["branch"] == "feature/caching"
    assert verb("delete-branch", branch="env/dev1").json()["snapshot"].startswith("shop-dev1/")
    (path / "new.txt").write_text("new\n")
    cleaned = verb("clean").json()
    assert (cleaned["files"], (path / "new.txt").exists()) == (["new.txt"], False)
    assert verb("reset", to="HEAD~1", mode="hard").json()["after"] == plain_git(path, "rev-parse", "HEAD")
    assert verb("rebase").json()["changed"] is True
    assert verb("pull").json()["changed"] is False
    assert Event.objects.filter(kind="environment.git", actor="token:test of operator").count() == 6


def test_a_snapshot_is_listed_and_restored(shop: Environment, verb: Post, get: Post) -> None:
    path = Path(shop.path)
    (path / "text").write_text("precious\n")
    (path / "new.txt").write_text("precious too\n")
    name = verb("reset", mode="hard").json()["snapshot"]
    [listed] = get("snapshots").json()
    assert (listed["name"], listed["reason"], listed["files"]) == (name, "before reset --hard HEAD", 2)
    assert (listed["environment"], listed["branch"]) == ("shop-dev1", "env/dev1")

    snapshot, diff = git_look.snapshot_difference(shop.project, name)
    assert [file.path for file in diff.files] == ["text"]
    assert (snapshot.name, diff.untracked) == (name, ("new.txt",))

    assert verb("restore", name=name).json()["message"] == f"shop-dev1 is as it was in {name}"
    assert ((path / "text").read_text(), len(get("snapshots").json())) == ("precious\n", 2)
    assert "no snapshot" in problem(verb("restore", name="shop-dev1/20000101T000000Z"), 404)["title"]


def test_conflicts_are_told_with_the_files(shop: Environment, place: Place, verb: Post, get: Post) -> None:
    path = Path(shop.path)
    collide(place, path)
    git.fetch_source(shop.project)
    refused = problem(verb("rebase"), 409)
    assert refused["type"] == "about:blank#git_conflicts"
    assert (refused["facts"]["files"], refused["facts"]["in_progress"]) == (["text"], "rebase")
    assert "gaia env git continue shop-dev1" in refused["fix"]
    state = get("status").json()
    assert (state["in_progress"], state["conflict_files"]) == ("rebase", ["text"])

    assert problem(verb("continue"), 409)["facts"]["files"] == ["text"], "markers are left"
    (path / "text").write_text("both\n")
    assert verb("continue").json()["message"] == "The rebase is done"
    assert "nothing to continue or abort" in problem(verb("abort"), 409)["detail"]


def test_what_may_reach_the_network_is_an_operation(shop: Environment, place: Place, verb: Post, post: Post) -> None:
    commit(place.source, {"theirs.txt": "new\n"}, "Theirs")
    path = Path(shop.path)
    done = operate(verb("sync"))
    assert (done.state, done.title, done.subject) == ("succeeded", "Sync of shop-dev1", "environment/shop-dev1")
    assert (done.result["verb"], (path / "theirs.txt").exists()) == ("sync", True)
    assert done.message == "env/dev1 has origin/main: 1 new commit"

    commit(path, {"ours.txt": "new\n"}, "Ours")
    assert operate(verb("push")).result["message"].startswith("env/dev1 is pushed: ")
    hub = plain_git(shop.project.hub, "rev-parse", "env/dev1")
    assert hub == plain_git(path, "rev-parse", "HEAD")


def test_an_operation_that_meets_conflicts_says_so(shop: Environment, place: Place, verb: Post) -> None:
    collide(place, Path(shop.path))
    failed = operate(verb("sync"))
    assert failed.state == OperationState.FAILED
    assert (failed.error or {})["code"] == "git_conflicts"
    assert (failed.error or {})["detail"]["files"] == ["text"]
    operate(verb("push"))
    assert verb("abort").json()["message"] == "The merge is given up"


def test_all_environments_are_synced_by_one_operation(place: Place, shop: Environment, client: Client) -> None:
    place.ready(2)
    collide(place, Path(shop.path))
    asked = client.post("/api/environments/git/sync/", {"project": "shop"}, content_type="application/json")
    failed = operate(asked)
    assert failed.title == "Sync of 2 environments of shop"
    told = (failed.error or {})["detail"]["environments"]
    assert {name: each["outcome"] for name, each in told.items()} == {"dev1": "conflicts", "dev2": "done"}
    wanted = {"names": ["dev2"], "merges": False}
    asked = client.post("/api/environments/git/sync/", wanted, content_type="application/json")
    assert operate(asked).result["environments"]["dev2"]["outcome"] == "unchanged"
    problem(client.post("/api/environments/git/sync/", {"names": []}, content_type="application/json"), 400)


def test_merged_branches_are_deleted(shop: Environment, verb: Post) -> None:
    path = Path(shop.path)
    plain_git(path, "branch", "merged", "origin/main")
    commit(path, {"more.txt": "more\n"})
    plain_git(path, "branch", "ahead")
    assert verb("clean-branches").json()["files"] == ["merged"]
    assert plain_git(path, "branch", "--format=%(refname:short)").split() == ["ahead", "env/dev1"]


def test_one_at_a_time_and_repeating_a_request_starts_nothing_twice(shop: Environment, client: Client) -> None:
    def ask(verb: str, key: str, **options: Any) -> Any:
        path = f"/api/environments/shop-dev1/git/{verb}/"
        return client.post(path, options, content_type="application/json", headers={"Idempotency-Key": key})

    first = ask("sync", "one")
    assert ask("sync", "one").json()["id"] == first.json()["id"]
    assert "already running" in problem(ask("push", "two"), 409)["title"]
    problem(ask("sync", "one", rebase=True), 409)
    assert Operation.objects.filter(kind="environments.git").count() == 1


def test_an_operation_whose_environment_is_gone(shop: Environment, place: Place, verb: Post) -> None:
    asked = verb("push")
    place.clean("dev1")
    assert (operate(asked).error or {})["code"] == "not_found"


@pytest.mark.parametrize("name", ["status", "log", "diff"])
def test_a_checkout_that_is_missing(shop: Environment, get: Post, name: str) -> None:
    Path(shop.path).rename(Path(shop.path).with_name("elsewhere"))
    answer = get(name)
    if name == "status":
        assert answer.json()["error"] == "missing"
    else:
        assert "gaia env setup" in problem(answer, 404)["fix"]


NONSENSE: list[tuple[str, dict[str, Any]]] = [
    ("commit", {}),
    ("commit", {"message": "  "}),
    ("commit", {"message": "x", "only_staged": "perhaps"}),
    ("feature", {"name": "a..b"}),
    ("feature", {"name": "x", "base": "nowhere"}),
    ("reset", {"mode": "harder"}),
    ("reset", {"to": "--hard"}),
    ("rebase", {"onto": "nowhere"}),
    ("restore", {}),
]


def test_what_makes_no_sense_is_refused(shop: Environment, verb: Post) -> None:
    (Path(shop.path) / "new.txt").write_text("new\n")
    before = files_of(Path(shop.path))
    for name, options in NONSENSE:
        problem(verb(name, **options), 400)
    assert files_of(Path(shop.path)) == before


def test_who_may_only_read_does_no_verb(shop: Environment, operator: Operator) -> None:
    (Path(shop.path) / "new.txt").write_text("new\n")
    token = issue_token(operator.user, "reader", scopes=["read"])
    reader = Client(headers={"Authorization": f"Token {token}"})
    assert reader.get("/api/environments/dev1/git/diff/").json()["untracked"] == ["new.txt"]
    for name in git_verbs.VERBS:
        problem(reader.post(f"/api/environments/dev1/git/{name}/", {}, content_type="application/json"), 403)
    assert (Path(shop.path) / "new.txt").exists()


def test_every_verb_has_a_route() -> None:
    from environments.api_git import urlpatterns

    routes = {match[1] for route in urlpatterns if (match := re.search(r"/git/([a-z-]+)/", str(route.pattern)))}
    assert set(git_verbs.VERBS) | {"status", "log", "diff", "snapshots"} == routes
