"""Every page, wide and on a phone, light and dark: nothing breaks out, nothing is barred to anybody."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.browser.conftest import SIZES, Visit

PAGES = {
    "home": "/admin/",
    "environments": "/admin/environments/environment/",
    "environment": "/admin/environments/environment/1/change/",
    "setup": "/admin/environments/environment/setup/",
    "remove": "/admin/environments/environment/remove/?id=1",
    "health": "/admin/environments/health/",
    "backups": "/admin/environments/backup/",
    "backup": "/admin/environments/backup/1/change/",
    "backup-take": "/admin/environments/backup/take/",
    "reset": "/admin/environments/backup/reset/?id=1",
    "sessions": "/admin/gaia_sessions/session/",
    "session": "/admin/gaia_sessions/session/7/change/",
    "session-new": "/admin/gaia_sessions/session/new/",
    "start": "/admin/gaia_sessions/session/start/",
    "stop": "/admin/gaia_sessions/session/stop/",
    "services": "/admin/services/service/",
    "service": "/admin/services/service/by-name/gaia-web/",
    "service-register": "/admin/services/service/register/",
    "operations": "/admin/processes/operation/",
    "operation": "/admin/processes/operation/1/change/",
    "nodes": "/admin/processes/node/",
    "node": "/admin/processes/node/1/change/",
    "processes": "/admin/processes/process/",
    "process": "/admin/processes/process/1/change/",
    "ports": "/admin/processes/portlease/",
    "stage": "/admin/environments/stage/1/change/",
    "layers": "/admin/environments/layer/",
    "layer": "/admin/environments/layer/1/change/",
    "layer-new": "/admin/environments/layer/new/",
    "layer-change": "/admin/environments/layer/2/edit/",
    "layer-set": "/admin/environments/layer/set/1/",
    "doctor": "/admin/doctor/",
    "projects": "/admin/projects/project/",
    "project": "/admin/projects/project/1/change/",
    "people": "/admin/policy/user/",
    "person": "/admin/policy/user/1/change/",
    "person-new": "/admin/policy/user/add/",
    "tokens": "/admin/policy/token/",
    "token-issue": "/admin/policy/token/issue/",
    "password": "/admin/password_change/",
    "events": "/admin/events/event/",
    "event": "/admin/events/event/1/change/",
    "notifications": "/admin/events/notification/",
    "destinations": "/admin/events/destination/",
    "destination-new": "/admin/events/destination/new/",
    "jobs": "/admin/django_q/schedule/",
    "job": "/admin/django_q/schedule/1/change/",
    "job-when": "/admin/django_q/schedule/1/when/",
    "nothing-found": "/admin/gaia_sessions/session/?q=nobody",
}

# the pages people look at most are looked at in every size and theme, the others in one of each
EVERY = [(size, theme) for size in ("wide", "phone") for theme in ("light", "dark")]
SOME = [("wide", "light"), ("phone", "dark")]
MOST_SEEN = {"home", "environments", "environment", "sessions", "session"}


@pytest.mark.parametrize("name", PAGES)
def test_page(name: str, visit: Callable[..., Visit], pictures: Path) -> None:
    """No error, no CSP violation, no foreign request (`visit`), no sideways scroll, nothing serious for axe."""
    page = visit().go(PAGES[name])
    for size, theme in EVERY if name in MOST_SEEN else SOME:
        look_like(page, size, theme)
        page.wait_for_timeout(150)  # what is read once a second has been read once
        if os.environ.get("GAIA_SCREENSHOTS"):
            page.screenshot(path=pictures / f"{name}-{size}-{theme}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{size} scrolls sideways"
        assert serious(page) == [], f"{size} {theme}"


def test_sign_in_page(visit: Callable[..., Visit], pictures: Path) -> None:
    opened = visit("phone")
    opened.page.context.clear_cookies()
    page = opened.go("/admin/login/")
    for theme in ("light", "dark"):
        look_like(page, "phone", theme)
        page.screenshot(path=pictures / f"sign-in-phone-{theme}.png")
        assert serious(page) == []


def look_like(page: Page, size: str, theme: Any) -> None:
    """The same page in another window, for somebody who likes another theme."""
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=theme)


def serious(page: Page) -> list[str]:
    """What axe-core finds serious or critical, with the elements."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(Axe().axe_script)
    found = page.evaluate("axe.run({resultTypes: ['violations']}).then(r => r.violations)")
    return [
        f"{each['id']}: {node['html'][:160]} {node['any'][0]['message'] if node['any'] else ''}"
        for each in found
        if each["impact"] in {"serious", "critical"}
        for node in each["nodes"]
    ]
