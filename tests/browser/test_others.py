"""Sessions that GAIA did not start, in the console: seen by the daemon within two seconds, adopted, let go."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Demo, Visit
from tests.browser.looking import look_everywhere
from tests.sessions.strangers import Stranger

SESSIONS = "/admin/gaia_sessions/session/"


@pytest.fixture
def stranger(demo: Demo) -> Iterator[Stranger]:
    """A tmux server where the demo looks for them; gone afterwards, and seen to be."""
    directory = demo.home / "sockets"
    directory.mkdir(exist_ok=True)
    server = Stranger(directory / "default")
    yield server
    server.end()


def test_seen_adopted_and_let_go(demo: Demo, visit: Callable[..., Visit], stranger: Stranger) -> None:
    opened = visit()
    page = opened.go(f"{SESSIONS}?origin=foreign")
    stranger.new("pr_review2", "/bin/sh")
    stranger.new("my project", "/bin/sh", "-c", "echo somebody is at work here; exec cat")
    row = page.get_by_role("row").filter(has_text="my-project")
    expect(row).to_contain_text("not GAIA's")
    expect(page.get_by_role("row").filter(has_text="pr_review2")).to_contain_text("claude should run here")
    look_everywhere(page, "others")
    look_everywhere(opened.go("/admin/"), "others-home")
    expect(page.locator(".legend")).to_contain_text("2 not GAIA's")

    page = opened.go(f"{SESSIONS}?origin=foreign")
    page.get_by_role("link", name="my-project").click()
    expect(page.locator("[data-screen]")).to_contain_text("somebody is at work here")
    expect(page.get_by_role("textbox", name="Text to type into my-project")).to_have_count(0)
    look_everywhere(page, "other")
    page.get_by_role("button", name="Adopt…").click()
    page.get_by_role("button", name="Adopt it").click()
    page.get_by_role("textbox", name="Text to type into my-project").fill("hello there")
    page.keyboard.press("Enter")
    expect(page.locator("[data-screen]")).to_contain_text("hello there\nhello there")
    look_everywhere(page, "adopted")
    page.get_by_role("button", name="Let go…").click()
    page.get_by_role("button", name="Let it go").click()
    expect(page.get_by_role("button", name="Adopt…")).to_be_visible()
    stranger("kill-session", "-t", "=my project")
    expect(page.locator("[data-over]")).to_contain_text("tmux no longer has it")
