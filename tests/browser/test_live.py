"""Pages stay true by themselves: when the stream breaks, when it comes back, while nobody looks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect

from tests.browser.conftest import Demo, Visit


class Line:
    """The page's socket, which a test can cut and mend."""

    def __init__(self, page: Page) -> None:
        self.cut = False
        self.addresses: list[str] = []
        self._open: list[WebSocketRoute] = []
        page.route_web_socket("**/ws/events/**", self._arrived)

    def _arrived(self, socket: WebSocketRoute) -> None:
        self.addresses.append(socket.url)
        if self.cut:
            socket.close(code=1013)
            return
        self._open.append(socket)
        socket.connect_to_server()

    def break_off(self) -> None:
        """Close what is open and refuse what comes."""
        self.cut = True
        while self._open:
            self._open.pop().close(code=1013)


def type_into(demo: Demo, name: str, text: str) -> None:
    """Something that happens to a session."""
    demo.api(f"/api/orchestration/sessions/{name}/send-keys/", text=text, enter=False)


def test_a_broken_stream_is_told_polled_for_and_resumed(demo: Demo, visit: Callable[..., Visit]) -> None:
    opened = visit()
    line = Line(opened.page)
    page = opened.go("/admin/")
    happened = page.locator("#part-happened")
    line.break_off()
    expect(page.locator("#lost-bar")).to_contain_text("Live updates lost since")
    expect(page.locator("#live-sign")).to_contain_text("polling")
    type_into(demo, "pr_review3", "one")
    expect(happened).to_contain_text("3 characters")
    line.cut = False
    expect(page.locator("#lost-bar")).to_be_hidden()
    expect(page.locator("#live-sign")).to_contain_text("live")
    type_into(demo, "pr_review3", "seven")
    expect(happened).to_contain_text("5 characters")
    positions = [int(address.rpartition("=")[2]) for address in line.addresses]
    assert positions == sorted(positions), "it resumes where it was, never before"


def test_the_stream_goes_on_where_the_page_was_drawn(demo: Demo, visit: Callable[..., Visit]) -> None:
    opened = visit()
    line = Line(opened.page)
    page = opened.go("/admin/")
    newest = page.locator("#part-happened .event").first.get_attribute("data-glow")
    assert line.addresses[0].endswith(f"?after={newest}")


def test_what_changed_glows_once_and_the_rest_stays(demo: Demo, visit: Callable[..., Visit]) -> None:
    page = visit().go("/admin/")
    page.evaluate("document.querySelector('#part-fleet a').dataset.mine = 'kept'")
    page.locator("#part-happened .event a").first.focus()
    focused = page.evaluate("document.activeElement.closest('[data-key]').dataset.key")
    type_into(demo, "pr_review3", "glow")
    fresh = page.locator("#part-happened .event.glow")
    expect(fresh).to_have_count(1)
    expect(fresh).to_contain_text("4 characters")
    expect(fresh).to_have_count(0)
    assert page.evaluate("document.activeElement.closest('[data-key]').dataset.key") == focused
    assert page.evaluate("document.querySelector('#part-fleet a').dataset.mine") in {"kept", None}


def test_nothing_is_fetched_while_nobody_looks(demo: Demo, visit: Callable[..., Visit]) -> None:
    page = visit().go("/admin/gaia_sessions/session/")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate(
        """() => {
            Object.defineProperty(document, 'hidden', {value: true, configurable: true});
            document.dispatchEvent(new Event('visibilitychange'));
        }"""
    )
    page.wait_for_timeout(300)  # what was under way arrives
    asked.clear()
    type_into(demo, "pr_review3", "unseen")
    page.wait_for_timeout(1500)
    assert asked == []
    page.evaluate("() => { delete document.hidden; document.dispatchEvent(new Event('visibilitychange')); }")
    with page.expect_response(lambda response: "/admin/gaia_sessions/session/" in response.url):
        pass
    assert asked


def test_times_go_on_and_tell_the_exact_one(visit: Callable[..., Visit]) -> None:
    page = visit().go("/admin/")
    time = page.locator("#part-happened time").first
    before = time.inner_text()
    expect(time).not_to_have_text(before)
    assert time.get_attribute("title").startswith("20")  # type: ignore[union-attr]


def test_signed_out_elsewhere_leads_to_the_sign_in_page(demo: Demo, visit: Callable[..., Visit]) -> None:
    opened = visit()
    page = opened.go("/admin/gaia_sessions/session/")
    page.context.clear_cookies()
    page.wait_for_url("**/admin/login/**")


def test_motion_stops_for_those_who_ask_for_it(visit: Callable[..., Visit]) -> None:
    opened = visit()
    opened.page.emulate_media(reduced_motion="reduce")
    page = opened.go("/admin/")
    page.evaluate("document.querySelector('#part-happened .event').classList.add('glow')")
    assert page.evaluate("getComputedStyle(document.querySelector('.glow')).animationName") == "none"


@pytest.mark.parametrize("path", ["/admin/", "/admin/gaia_sessions/session/"])
def test_our_script_is_small(path: str, visit: Callable[..., Visit]) -> None:
    """CONSOLE.md: at most 150 KB of our own on any page."""
    page = visit().go(path)
    sizes = page.evaluate(
        """() => performance.getEntriesByType('resource')
            .filter((each) => each.name.includes('/static/gaia/') && each.name.endsWith('.js'))
            .map((each) => each.decodedBodySize)"""
    )
    assert len(sizes) >= 5
    assert sum(sizes) < 150_000


def test_the_page_of_a_session_that_is_over_becomes_another_page(demo: Demo, visit: Callable[..., Visit]) -> None:
    """Its screen and the buttons go by themselves, and the screen of one that has its name now is not shown there."""
    sessions = "/api/orchestration/sessions/"
    first = demo.api(sessions, name="short-lived")["id"]
    try:
        demo.api(f"{sessions}short-lived/send-keys/", text="echo first-$((40 + 2))")
        page = visit().go(f"/admin/gaia_sessions/session/{first}/change/")
        expect(page.locator("[data-screen]")).to_contain_text("first-42")
        demo.gaia("session", "destroy", "short-lived")
        demo.api(sessions, name="short-lived")
        demo.api(f"{sessions}short-lived/send-keys/", text="echo second-$((40 + 2))")
        expect(page.get_by_text("It has no screen any more")).to_be_visible()
        expect(page.locator("[data-screen], #prompt, [data-press]")).to_have_count(0)
        expect(page.get_by_role("button", name="Stop…")).to_have_count(0)
        expect(page.locator("[data-over]")).to_contain_text("This session is over")
        page.get_by_role("link", name="short-lived runs again.").click()
        expect(page.locator("[data-screen]")).to_contain_text("second-42")
    finally:
        demo.gaia("session", "destroy", "short-lived")
