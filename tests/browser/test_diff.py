"""Git on the pages of an environment, with a browser: the diff people read, the verbs, conflicts, snapshots."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Demo, Visit
from tests.browser.looking import EVERY, look_everywhere, take_picture

STORE = '''"""Notes in SQLite, in the database that the stage gives us."""

import os
import sqlite3
from contextlib import closing

PAGE = 50  # notes on one page; a client asks for the next with ?after=


def connect():
    connection = sqlite3.connect(os.environ.get("DATABASE_PATH", "notes.db"), timeout=10)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
    return connection
'''


@pytest.fixture(scope="module")
def work(demo: Demo) -> Any:
    """Changes of every kind in one environment; what the API says of it."""
    found = next(each for each in demo.api("/api/environments/") if each["name"] == "dev3")
    path = Path(found["path"])
    app = (path / "app.py").read_text()
    (path / "app.py").write_text(app.replace("Content-Type", "content-type").replace("200", "201", 1) + "\n# the end\n")
    rest = (path / "store.py").read_text().partition("    return connection\n")[2]
    (path / "store.py").write_text(STORE + rest)
    git(path, "mv", "README.md", "docs/README.md", makes="docs")
    (path / "fixtures").mkdir()
    (path / "fixtures" / "notes.json").write_text("".join(f'{{"id": {n}, "text": "note {n}"}}\n' for n in range(700)))
    (path / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00" * 40)
    git(path, "add", "fixtures", "logo.png")
    (path / "a very long name of a file that nobody has added so far, and which will not fit anywhere.txt").write_text(
        ""
    )
    (path / "notes.txt").write_text("a thought\n")
    return found


def git(path: Path, *words: str, makes: str = "") -> str:
    if makes:
        (path / makes).mkdir(exist_ok=True)
    return subprocess.run(["git", "-C", path, *words], check=True, capture_output=True, text=True).stdout


def page_of(work: Any, name: str = "") -> str:
    return f"/admin/environments/environment/{work['id']}/" + (f"git/{name}" if name else "change/")


def test_a_diff_that_people_like_to_read(work: Any, visit: Callable[..., Visit]) -> None:
    page = visit().go(page_of(work, "diff/"))
    files = page.locator("[data-file]")
    expect(files).to_have_count(5)
    assert [name.strip() for name in page.locator(".diff-head [data-path]").all_inner_texts()] == [
        "app.py", "docs/README.md", "fixtures/notes.json", "logo.png", "store.py",
    ]  # fmt: skip
    folded = page.locator("#file-3")
    assert not folded.evaluate("file => file.open"), "a large file begins folded"
    expect(page.locator("#file-4")).to_contain_text("A binary file")
    expect(page.locator("#file-2")).to_contain_text("Only its name was changed")
    expect(page.locator("#untracked")).to_contain_text("notes.txt")
    added = page.locator("#file-5 .d-added", has_text="PAGE = 50")
    assert added.locator(".d-s").inner_text() == "+"
    assert page.locator("#file-1 .d-removed .d-x").first.inner_text() == "200", "what changed within a line is marked"
    take_picture(page, "diff", whole=False)
    look_everywhere(page, "diff", EVERY)


def test_the_diff_by_keyboard(work: Any, visit: Callable[..., Visit]) -> None:
    page = visit().go(page_of(work, "diff/"))

    def focused() -> str:
        return str(page.evaluate("document.activeElement.closest('[data-file]')?.id || ''"))

    walked = []
    for key in "jjjk":
        page.keyboard.press(key)
        walked.append(focused())
    assert walked == ["file-1", "file-2", "file-3", "file-2"]
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    assert page.locator("#file-3").evaluate("file => file.open")
    page.locator("#file-1 .diff-copy button").click()
    assert page.evaluate("navigator.clipboard.readText()") == "app.py"
    assert page.locator("#file-1").evaluate("file => file.open"), "copying does not fold"
    page.get_by_role("button", name="Fold all", exact=True).click()
    assert page.locator("[data-file][open]").count() == 0
    page.get_by_role("link", name="app.py").first.click()
    assert page.locator("#file-1").evaluate("file => file.open")


def test_what_is_compared_can_be_chosen(work: Any, visit: Callable[..., Visit]) -> None:
    page = visit().go(page_of(work, "diff/"))
    page.get_by_role("link", name="Staged", exact=True).click()
    expect(page.locator("[data-file]")).to_have_count(3)
    page.get_by_text("Commit", exact=False).first.click()
    page.locator(".diff-commits a").first.click()
    expect(page.locator(".diff-about")).to_be_visible()
    page.goto(f"{page.url.partition('?')[0]}?commit=nonsense")
    expect(page.locator(".note-error")).to_contain_text("there is no commit 'nonsense'")
    page.get_by_role("link", name="Log", exact=True).click()
    expect(page.locator("tbody tr").first).to_be_visible()
    look_everywhere(page, "git-log")


def test_verbs_and_snapshots(demo: Demo, work: Any, visit: Callable[..., Visit]) -> None:
    """Last: what the others look at is thrown away, and brought back."""
    path = Path(work["path"])
    page = visit().go(page_of(work))
    page.get_by_text("Branches, rebase, reset, clean").click()
    look_everywhere(page, "git-panel")
    page.get_by_role("button", name="Clean…").click()
    question = page.get_by_role("dialog")
    expect(question).to_contain_text("They are kept in a snapshot")
    question.get_by_role("button", name="Remove them").click()
    expect(page.locator("#toasts")).to_contain_text("2 untracked files removed. A snapshot keeps how it was.")
    assert not (path / "notes.txt").exists()

    page.goto(f"{page.url.partition('/change/')[0]}/git/snapshots/")
    expect(page.locator(".snapshot")).to_contain_text("Before clean")
    look_everywhere(page, "git-snapshots")
    page.get_by_role("button", name="Restore…").click()
    page.get_by_role("dialog").get_by_role("button", name="Restore it").click()
    expect(page.locator(".snapshot")).to_have_count(2)
    assert (path / "notes.txt").read_text() == "a thought\n"

    page.goto(f"{demo.url}{page_of(work, 'diff/')}")
    page.get_by_placeholder("What was done, in a few words").fill("Pages of notes")
    page.get_by_role("button", name="Commit", exact=True).click()
    expect(page.get_by_role("heading", name="Nothing was changed")).to_be_visible()
    page.reload()
    expect(page.locator("#live-sign[data-state=live]")).to_be_visible()
    (path / "later.txt").write_text("meanwhile\n")
    page.get_by_role("link", name="Read it again").click(timeout=60_000)  # git is asked seldom while that takes long
    expect(page.locator("#untracked")).to_contain_text("later.txt")
    (path / "later.txt").unlink()
    page.reload()
    look_everywhere(page, "diff-empty")
    page.get_by_role("link", name="What the branch has").click()
    expect(page.locator("[data-file]")).to_have_count(7)


def test_a_sync_that_meets_conflicts(demo: Demo, visit: Callable[..., Visit]) -> None:
    found = next(each for each in demo.api("/api/environments/") if each["name"] == "dev4")
    path = Path(found["path"])
    source = Path(demo.api("/api/environments/")[0]["path"]).parent / found["project"]
    for place, text in ((source, "theirs"), (path, "ours")):
        (place / "README.md").write_text(f"# {text}\n")
        git(place, "-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "-q", "-a", "-m", text)
    opened = visit()
    page = opened.go(page_of(found))
    page.get_by_role("button", name="Sync", exact=True).click()
    waits = page.locator(".git-waits")
    expect(waits).to_contain_text("A merge waits for you: 1 file with conflicts.", timeout=60_000)
    expect(waits).to_contain_text("README.md")
    look_everywhere(page, "git-conflict")
    page.get_by_role("button", name="Continue the merge").click()
    expect(page.locator("#toasts")).to_contain_text("has conflicts in 1 file: README.md")
    [refused] = opened.complaints
    assert "409" in refused
    opened.complaints.clear()
    page.get_by_role("button", name="Abort…").click()
    page.get_by_role("dialog").get_by_role("button", name="Abort it").click()
    expect(waits).to_have_count(0)
    assert (path / "README.md").read_text() == "# ours\n"
