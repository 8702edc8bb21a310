"""A panic is on every page as soon as it is declared, until the button that asks once has lifted it."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.conftest import Demo, Visit
from tests.browser.looking import take_picture


def test_a_panic_comes_and_goes_without_a_new_page(demo: Demo, visit: Callable[..., Visit]) -> None:
    wide, phone = visit().go("/admin/gaia_sessions/session/"), visit("phone", "dark").go("/admin/")
    bars = [page.locator(".panic-bar") for page in (wide, phone)]
    for bar in bars:
        expect(bar).to_have_count(0)
    demo.api("/api/panic", reason="an agent deletes things")
    try:
        for bar in bars:
            expect(bar).to_contain_text("nobody can type into any session")
            expect(bar).to_contain_text("an agent deletes things")
        take_picture(wide, "panic")
        take_picture(phone, "panic-phone")
        bars[0].get_by_role("button", name="Lift…").click()
        expect(wide.locator("#confirm-title")).to_have_text("Lift the panic?")
        wide.locator("#confirm-yes").click()
        for bar in bars:
            expect(bar).to_have_count(0)
        assert demo.api("/api/panic")["panic"] is False
    finally:
        demo.gaia("panic", "--lift")
