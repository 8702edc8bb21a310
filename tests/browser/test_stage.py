"""A stage's own page: HTTPS at the press of a button, another port by a form; what runs is restarted."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable

import httpx
from playwright.sync_api import expect

from tests.browser.conftest import Demo, Visit
from tests.browser.looking import look_everywhere


def test_https_and_another_port(demo: Demo, visit: Callable[..., Visit]) -> None:
    [environment] = [each for each in demo.api("/api/environments/") if each["directory"] == "demo-dev4"]
    stage = next(each for each in environment["stages"] if each["name"] == "staging")
    page = visit().go(f"/admin/environments/stage/{stage['id']}/change/")
    page.get_by_role("button", name="Switch on").click()
    expect(page.locator("#toasts")).to_contain_text("demo-dev4 staging serves HTTPS from its next start on.")
    expect(page.get_by_text(f"https://localhost:{stage['port']}")).to_be_visible()
    demo.gaia("env", "launch", "demo-dev4", "staging")
    try:
        page.reload()
        trusted = ssl.create_default_context(cafile=demo.home / "ca/ca.pem")
        address = page.get_by_role("link", name=f"https://localhost:{stage['port']}").get_attribute("href") or ""
        assert httpx.get(f"{address}/health", verify=trusted).status_code == 200
        expect(page.get_by_role("region", name="Probes")).to_contain_text("HTTP 200 OK")
        look_everywhere(page, "stage-https")

        page.get_by_role("spinbutton", name="Port").fill("80")
        page.evaluate("document.querySelector('#id_to').form.noValidate = true")
        page.get_by_role("button", name="Move and restart").click()
        expect(page.get_by_text("port 80 cannot be used")).to_be_visible()
        page.get_by_role("button", name="Move and restart").click()
        page.wait_for_url(re.compile(r"/admin/processes/operation/\d+/change/"))
        expect(page.locator(".state", has_text="done").first).to_be_visible(timeout=20_000)

        moved = demo.api("/api/environments/demo-dev4/")["stages"][2]
        assert (moved["name"], moved["state"], moved["https"]) == ("staging", "running", True)
        assert moved["port"] != stage["port"]
        assert httpx.get(f"{moved['url']}/health", verify=trusted).status_code == 200
    finally:
        demo.gaia("env", "stop", "demo-dev4", "staging")
