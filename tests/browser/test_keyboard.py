"""Everything without a mouse."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.conftest import Visit


def test_going_places(visit: Callable[..., Visit]) -> None:
    page = visit().go("/admin/")
    for letter, place in (
        ("s", "Sessions"),
        ("e", "Environments"),
        ("o", "Operations"),
        ("a", "Events"),
        ("h", "Home"),
    ):
        page.keyboard.press("g")
        page.keyboard.press(letter)
        expect(page.get_by_role("heading", level=1)).to_have_text(place)
        expect(page.locator("#live-sign")).to_be_visible()


def test_walking_through_a_list_and_opening_a_row(visit: Callable[..., Visit]) -> None:
    page = visit().go("/admin/environments/environment/")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(page.get_by_role("link", name="demo-dev2")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("demo-dev2")


def test_searching_a_list(visit: Callable[..., Visit]) -> None:
    page = visit().go("/admin/gaia_sessions/session/")
    page.keyboard.press("/")
    page.keyboard.type("jg review2")  # letters typed into a box are no commands
    box = page.get_by_role("searchbox", name="Search")
    expect(box).to_have_value("jg review2")
    box.fill("review2")
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(1)
    assert "q=review2" in page.url


def test_the_palette_finds_and_goes(visit: Callable[..., Visit]) -> None:
    page = visit().go("/admin/")
    palette = page.get_by_role("dialog", name="Find or do")
    page.keyboard.press("Control+k")
    expect(palette.get_by_role("option").first).to_contain_text("Set up environments…")
    page.keyboard.type("dev3_w")
    expect(palette.get_by_role("option").first).to_contain_text("dev3_worker")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("dev3_worker")
    page.keyboard.press("Control+k")
    page.keyboard.type("demo-dev4")
    expect(palette.get_by_role("option").first).to_contain_text("environment")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("demo-dev4")
    page.keyboard.press("Control+k")
    page.keyboard.type("start ses")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Start")
    page.keyboard.press("Control+k")
    page.keyboard.type("no such thing")
    expect(palette.get_by_role("option")).to_have_text("Nothing is called that.")
    page.keyboard.press("Escape")
    expect(palette).to_be_hidden()


def test_the_keys_are_shown(visit: Callable[..., Visit]) -> None:
    page = visit("phone", "dark").go("/admin/")
    page.keyboard.press("?")
    shown = page.get_by_role("dialog", name="Keys and signs")
    expect(shown).to_contain_text("Next and previous row")
    expect(shown.locator(".signs .state")).to_have_count(8)
    page.keyboard.press("Escape")
    expect(shown).to_be_hidden()


def test_the_first_tab_skips_to_the_content(visit: Callable[..., Visit]) -> None:
    page = visit().go("/admin/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def test_the_theme_is_chosen_and_kept(visit: Callable[..., Visit]) -> None:
    page = visit("wide", "light").go("/admin/")
    page.locator(".side-user summary").click()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_class("dark")
    page.reload()
    expect(page.locator("html")).to_have_class("dark")
    page.locator(".side-user summary").click()
    page.get_by_role("button", name="System").click()
    expect(page.locator("html")).to_have_class("light")


def test_the_navigation_is_a_drawer_on_a_phone(visit: Callable[..., Visit]) -> None:
    page = visit("phone").go("/admin/")
    sessions = page.get_by_role("link", name="Sessions", exact=True)
    expect(sessions).to_be_hidden()
    page.get_by_role("button", name="Navigation").click()
    sessions.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sessions")


def test_an_id_is_copied(visit: Callable[..., Visit]) -> None:
    page = visit().go("/admin/environments/environment/1/change/")
    path = page.locator("#part-facts .ident").first
    path.click()
    assert page.evaluate("navigator.clipboard.readText()") == path.inner_text().strip()


def test_filters_are_in_the_address(visit: Callable[..., Visit]) -> None:
    page = visit().go("/admin/gaia_sessions/session/")
    there = page.locator("tbody tr").count()
    assert there > 20
    page.locator('[data-filter="provider"] summary').click()
    page.get_by_role("link", name="codex", exact=True).click()
    expect(page.locator("tbody tr")).to_have_count(4)
    page.locator('[data-filter="group"] summary').click()
    page.keyboard.press("Escape")
    expect(page.locator('[data-filter="group"]')).not_to_have_attribute("open", "")
    page.get_by_role("link", name="Name", exact=True).click()
    expect(page.locator("th[aria-sort=ascending]")).to_contain_text("Name")
    assert "provider=codex" in page.url
    page.get_by_role("link", name="Clear", exact=True).click()
    expect(page.locator("tbody tr")).to_have_count(there)
