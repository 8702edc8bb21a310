"""Services in the browser: states change by themselves, buttons work, charts draw, the log follows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Demo, Visit
from tests.browser.looking import look_everywhere, look_like

LIST = "/admin/services/service/"
SERVICES = "/api/orchestration/services/"
PROGRAM = """
echo "INFO begins"
echo "WARNING the cache is cold"
echo "ERROR no such table: customers"
while [ ! -e {gate} ]; do sleep 0.05; done
echo "INFO goes on"
exec sleep 600
"""


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file the program waits for."""
    return tmp_path / "gate"


@pytest.fixture
def service(demo: Demo, gate: Path) -> Iterator[str]:
    """A service that writes a few lines and, once the gate is there, another one."""
    name = f"shop-{gate.parent.name.rpartition('_')[2]}"  # another one in each test: logs outlive their services
    wanted = {
        "name": name,
        "command": ["/bin/sh", "-c", PROGRAM.format(gate=gate)],
        "cwd": str(gate.parent),
        "probes": [{"type": "exec", "command": ["true"], "interval": "1s"}],
        "limits": {"memory": "512MB"},
        "stop_grace": "1s",
    }
    demo.api(SERVICES, **wanted)
    yield name
    demo.gaia("service", "unregister", name, "--yes")


def state(page: Page, word: str) -> None:
    expect(page.locator("#part-service-state .state")).to_have_text(word, timeout=30_000)


def test_its_life(demo: Demo, visit: Callable[..., Visit], service: str) -> None:
    """Started and stopped by buttons; the list follows in another window."""
    others = visit().go(LIST)
    row = others.locator("tr", has_text=service)
    expect(row.locator(".state")).to_have_text("stopped")
    page = visit().go(f"{LIST}by-name/{service}/")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator("#toasts")).to_contain_text(f"Service {service} is started.")
    state(page, "running")
    expect(row.locator(".state")).to_have_text("running")
    expect(page.locator("#part-service-probes")).to_contain_text("exited with 0")
    pid = page.locator("#part-service-state dt:text-is('Pid') + dd")
    before = pid.inner_text()
    page.get_by_role("button", name="Restart…").click()
    expect(page.get_by_role("dialog")).to_contain_text("asked to end (TERM) and ended after 1 s")
    page.get_by_role("button", name="Restart it").click()
    expect(pid).not_to_have_text(re.compile(rf"^({before}|—)$"), timeout=30_000)
    state(page, "running")
    page.get_by_role("button", name="Stop…").click()
    page.get_by_role("button", name="Leave it").click()
    state(page, "running")
    page.get_by_role("button", name="Stop…").click()
    page.get_by_role("button", name="Stop it").click()
    state(page, "stopped")
    expect(row.locator(".state")).to_have_text("stopped")
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_visible()


def test_the_log_follows(visit: Callable[..., Visit], demo: Demo, service: str, gate: Path) -> None:
    page = visit().go(f"{LIST}by-name/{service}/")
    demo.api(f"{SERVICES}{service}/start/", again=True)
    lines = page.locator(".log-line")
    expect(lines).to_have_text(["INFO begins", "WARNING the cache is cold", "ERROR no such table: customers"])
    expect(lines.nth(2)).to_have_class("log-line is-error")
    page.get_by_role("button", name="Errors").click()
    expect(lines).to_have_count(1)
    page.get_by_role("button", name="Warnings").click()
    expect(lines).to_have_count(2)
    page.get_by_role("button", name="All").click()
    page.get_by_role("searchbox", name="Search the log").fill("cache")
    expect(page.locator(".log mark")).to_have_text("cache")
    expect(page.locator("[data-log-told]")).to_have_text("1 of 3 lines · follows")
    page.get_by_role("searchbox", name="Search the log").press("Escape")
    page.get_by_role("button", name="Pause").click()
    gate.touch()
    expect(page.locator("[data-log-told]")).to_have_text("paused")
    expect(lines).to_have_count(3)
    page.get_by_role("button", name="Go on").click()
    expect(lines).to_have_count(4)


def test_charts_are_read_by_keys_and_in_words(visit: Callable[..., Visit], demo: Demo) -> None:
    """With figures of the test's own, so that nothing has to be waited for."""
    opened = visit()
    opened.page.route("**/metrics/?span=*", answer)
    page = opened.go(f"{LIST}by-name/gaia-web/")
    cpu = page.get_by_role("img", name=re.compile(r"^CPU: now 30 %, average 20 %, most 60 %"))
    expect(cpu.locator("canvas")).to_be_visible()
    drawn = "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(each => each)"
    assert cpu.locator("canvas").evaluate(drawn)
    cpu.focus()
    cpu.press("End")
    read = page.locator("[data-chart=cpu] .chart-read")
    expect(read).to_contain_text("30 %, at most 60 %")
    cpu.press("Home")
    expect(read).to_contain_text("10 %, at most 20 %")
    expect(page.locator("[data-chart=memory] .chart-read")).to_contain_text("1 MB, at most 2 MB")
    page.get_by_text("The same as a table").click()
    expect(page.locator(".charts tbody tr")).to_have_count(3)
    with page.expect_request(lambda request: "span=7d" in request.url):
        page.get_by_role("button", name="7 d").click()
    expect(page.get_by_role("button", name="7 d")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="1 h").click()
    look_everywhere(page, "service-charts")
    page.evaluate("new Promise((seen) => requestAnimationFrame(() => requestAnimationFrame(seen)))")  # wide again
    light = cpu.locator("canvas").evaluate("canvas => canvas.toDataURL()")
    look_like(page, "wide", "dark")
    dark = cpu.locator("canvas").evaluate("canvas => canvas.toDataURL()")
    assert dark != light, "the theme was followed"


def answer(route: object) -> None:
    import time

    now = int(time.time())
    points = [[now - 60 * (3 - n), 10 * n, 20 * n, n << 20, n << 21] for n in (1, 2, 3)]
    body = json.dumps({"span": "1h", "seconds": 60, "points": points})
    route.fulfill(body=body, content_type="application/json")  # type: ignore[attr-defined]


def test_registering_with_a_mistake_and_without(visit: Callable[..., Visit], demo: Demo) -> None:
    page = visit().go(LIST)
    page.get_by_role("link", name="Register…").click()
    box = page.get_by_label("Definition")
    box.fill('{"name": "typed-in", "comand": "sleep 600"}')
    page.get_by_role("button", name="Register").click()
    expect(page.locator(".note-error")).to_contain_text("comand: there is no such field; did you mean command?")
    expect(box).to_have_value('{"name": "typed-in", "comand": "sleep 600"}')
    box.fill('{"name": "typed-in", "command": "sleep 600"}')
    page.get_by_role("button", name="Register").click()
    try:
        state(page, "running")
        page.get_by_role("button", name="Stop…").click()
        page.get_by_role("button", name="Stop it").click()
        state(page, "stopped")
        page.get_by_role("button", name="Unregister…").click()
        expect(page.get_by_role("dialog")).to_contain_text("Its files and its log stay.")
        page.get_by_role("button", name="Unregister it").click()
        page.wait_for_url(f"**{LIST}")
        expect(page.get_by_text("Service typed-in is not registered any more.")).to_be_visible()
    finally:
        if any(one["name"] == "typed-in" for one in demo.api(SERVICES)["results"]):
            demo.gaia("service", "unregister", "typed-in", "--yes")
