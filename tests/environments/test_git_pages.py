"""Git in the console without a browser: what the pages say, what their forms do; `tests/browser` looks at them."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from environments.diff_page import FOLDED_FROM, UNFOLDED_LINES, changed_spans, shown_files
from environments.drivers.history import Diff, FileDiff, Hunk, Line, read_diff
from environments.models import Environment
from environments.templatetags.gaia_diff import diff_lines
from processes.actions.operations import run_operation
from processes.models import Operation
from tests.conftest import Operator
from tests.environments.drivers.repositories import commit, git
from tests.environments.places import Place

SCRIPT = "<script>alert(1)</script>"


def lines(*texts: str) -> list[Line]:
    """Lines as `git diff` prints them."""
    kinds: Any = {" ": "context", "+": "added", "-": "removed"}
    return [Line(kinds[text[0]], 1, 1, text[1:]) for text in texts]


def marked(*texts: str) -> list[str]:
    """What is marked as changed within lines."""
    made = lines(*texts)
    return [made[index].text[begin:end] for index, (begin, end) in sorted(changed_spans(made).items())]


def test_what_changed_within_a_line_is_marked_in_whole_words() -> None:
    assert marked("-    return old_name(x)", "+    return new_name(x)") == ["old_name", "new_name"]
    assert marked("-timeout = 5", "+timeout = 10") == ["5", "10"]
    assert marked("-a = 1", "-b = 2", "+a = 3", "+b = 4") == ["1", "2", "3", "4"]
    assert marked("-call(a)", "+call(a, b)") == ["", ", b"]


def test_lines_that_are_others_altogether_are_not_marked() -> None:
    assert marked("-import os", "+def main(arguments):") == []
    assert marked("-a = 1", "+a = 2", "+b = 3") == [], "one line became two"
    assert marked("-a = 1", " a = 1", "+a = 2") == [], "they do not stand together"
    assert marked("-same", "+same") == []


def test_large_files_begin_folded_and_so_does_what_comes_after_much() -> None:
    def file(name: str, count: int) -> FileDiff:
        return FileDiff(name, hunks=[Hunk("", lines(*["+x"] * count))])

    many = [file(f"{number}.py", 390) for number in range(12)]
    shown = shown_files(Diff("changes", (file("big.json", FOLDED_FROM), *many, file("last.py", 1)), 0, ()))
    assert not shown[0].unfolded
    assert [each.unfolded for each in shown[1:13]] == [number < UNFOLDED_LINES // 390 for number in range(12)]
    assert shown[-1].unfolded, "a small one still fits"
    assert (shown[0].folder, shown[0].name) == ("", "big.json")


def test_lines_are_text_whatever_they_hold() -> None:
    files, _ = read_diff(f"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@ {SCRIPT}\n-{SCRIPT} a\n+{SCRIPT} b\n")
    made = diff_lines(files[0].hunks[0])
    assert "<script" not in made
    shown = html.unescape(re.sub(r"<[^>]+>", "", made))
    assert shown == f"Line 1 {SCRIPT}1−{SCRIPT} a1+{SCRIPT} b"


@pytest.fixture
def shop(place: Place) -> Environment:
    place.ready(1)
    return place.environment(1)


@pytest.fixture
def console(operator: Operator) -> Client:
    """The operator's browser."""
    client = Client()
    client.force_login(operator.user)
    return client


def page(console: Client, environment: Environment, name: str, **query: str) -> str:
    answer = console.get(f"/admin/environments/environment/{environment.pk}/{name}", query)
    assert answer.status_code == 200
    return answer.content.decode()


def post(console: Client, environment: Environment, verb: str, **fields: str) -> str:
    """Send a form as a browser without the page's script does; the messages of the page one lands on."""
    answer = console.post(
        f"/admin/environments/environment/{environment.pk}/git/{verb}/", fields, follow=True,
        headers={"Referer": f"http://testserver/admin/environments/environment/{environment.pk}/change/"},
    )  # fmt: skip
    assert answer.status_code == 200
    found = re.search(r'<div class="notes" role="status">(.*?)</div>\s*</div>', answer.content.decode(), re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", " ", found[1])) if found else ""


def test_forms_do_the_verbs_also_without_the_script(console: Client, shop: Environment, place: Place) -> None:
    path = Path(shop.path)
    (path / "new.txt").write_text("new\n")
    assert "Committed " in post(console, shop, "commit", message="A file")
    assert git(path, "log", "-1", "--format=%s") == "A file"
    assert "feature/x starts from origin/main." in post(console, shop, "feature", name="x", base="")
    (path / "lost.txt").write_text("lost\n")
    told = post(console, shop, "clean")
    assert "1 untracked file removed. A snapshot keeps how it was." in told
    assert "message: This field is required" in post(console, shop, "commit")
    assert "git has no verb 'explode' here" in post(console, shop, "explode")
    assert console.get(f"/admin/environments/environment/{shop.pk}/git/clean/").status_code == 405
    assert Client().post(f"/admin/environments/environment/{shop.pk}/git/clean/").status_code == 302


def test_sync_is_asked_for_and_what_becomes_of_it_is_shown(console: Client, shop: Environment, place: Place) -> None:
    assert "Sync of shop-dev1 was asked for." in post(console, shop, "sync", rebase="true")
    operation = Operation.objects.get(kind="environments.git")
    assert operation.params["options"] == {"rebase": True}
    assert "Waits for the node" in page(console, shop, "change/")
    place.source.rename(place.source.with_name("elsewhere"))
    run_operation(operation.pk)
    assert "Sync of shop-dev1 failed: " in page(console, shop, "change/")
    place.source.with_name("elsewhere").rename(place.source)
    post(console, shop, "sync")
    run_operation(Operation.objects.latest("id").pk)
    assert "Sync of shop-dev1" not in page(console, shop, "change/").partition('id="part-git"')[2].partition("<form")[0]


def test_all_environments_are_synced_with_one_button(console: Client, shop: Environment, place: Place) -> None:
    commit(place.source, {"theirs.txt": "new\n"})
    address = "/admin/environments/environment/git/sync/"
    assert address in console.get("/admin/environments/environment/").content.decode()
    operation = Operation.objects.get(pk=console.post(address).url.split("/")[-3])
    run_operation(operation.pk)
    assert (Path(shop.path) / "theirs.txt").exists()
    console.post(address)
    assert "already running" in html.unescape(console.post(address, follow=True).content.decode())


def test_conflicts_are_named_with_continue_and_abort(console: Client, shop: Environment, place: Place) -> None:
    path = Path(shop.path)
    commit(place.source, {"README.md": "theirs\n"})
    commit(path, {"README.md": "ours\n"})
    post(console, shop, "sync")
    run_operation(Operation.objects.latest("id").pk)
    shown = page(console, shop, "change/")
    for text in (
        "A merge waits for you: 1 file with conflicts.",
        "README.md",
        "Continue the merge",
        "Abort the merge in",
    ):
        assert text in shown
    assert "has conflicts in 1 file: README.md" in post(console, shop, "continue")
    (path / "README.md").write_text("both\n")
    assert "The merge is done." in post(console, shop, "continue")
    assert "waits for you" not in page(console, shop, "change/")


def test_pages_of_what_there_is_and_of_nothing(console: Client, shop: Environment) -> None:
    path = Path(shop.path)
    assert "Nothing was changed" in page(console, shop, "git/diff/")
    assert "Nothing is staged" in page(console, shop, "git/diff/", against="staged")
    assert "The branch has nothing of its own" in page(console, shop, "git/diff/", against="branch")
    assert "No commit of its own" in page(console, shop, "git/log/", own="")
    assert "No snapshot yet" in page(console, shop, "git/snapshots/")

    sha = commit(path, {f"{SCRIPT.replace('/', '')}.txt": "x\n"}, SCRIPT)
    for shown in (page(console, shop, "git/diff/", commit=sha), page(console, shop, "git/log/", own="")):
        assert SCRIPT not in shown
        assert html.escape(SCRIPT) in shown
    assert "?limit=4" in page(console, shop, "git/log/", limit="2")
    (path / "README.md").write_text("changed\n")
    post(console, shop, "reset", mode="hard", to="HEAD")
    shown = page(console, shop, "git/snapshots/")
    [name] = re.findall(r'name="name" value="([^"]+)"', shown)
    assert "README.md" in page(console, shop, "git/diff/", snapshot=name)
    assert f"shop-dev1 is as it was in {name}." in post(console, shop, "restore", name=name)
    assert (path / "README.md").read_text() == "changed\n"


@pytest.mark.parametrize(
    ("name", "query", "says"),
    [
        ("git/diff/", {"commit": "nonsense"}, "there is no commit &#x27;nonsense&#x27; here"),
        ("git/diff/", {"against": "nonsense"}, "there is no branch, tag or commit &#x27;nonsense&#x27;"),
        ("git/diff/", {"snapshot": "../x"}, "there is no snapshot"),
    ],
)
def test_what_there_is_not_is_said_on_the_page(
    console: Client, shop: Environment, name: str, query: dict[str, str], says: str
) -> None:
    assert says in page(console, shop, name, **query)


def test_a_checkout_that_is_missing_is_said_on_the_page(console: Client, shop: Environment) -> None:
    Path(shop.path).rename(Path(shop.path).with_name("elsewhere"))
    for name in ("git/diff/", "git/log/"):
        assert "the checkout of shop-dev1 is missing" in page(console, shop, name)
    assert "shop-dev1" in page(console, shop, "change/")
