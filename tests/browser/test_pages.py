"""Every page, wide and on a phone, light and dark: nothing breaks out, nothing is barred to anybody."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, StorageState

from tests.browser.conftest import Demo, Visit, new_context, new_visit
from tests.browser.looking import EVERY, SOME, look_everywhere, look_like, serious, take_picture

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
MOST_SEEN = {"home", "environments", "environment", "sessions", "session"}


@pytest.fixture(scope="module")
def tab(browser: Browser, demo: Demo, signed_in: StorageState) -> Iterator[Visit]:
    """One page that goes from place to place, as people do: what it has loaded and compiled it keeps."""
    with new_context(browser, signed_in) as context:
        yield new_visit(context, demo)


@pytest.mark.parametrize("name", PAGES)
def test_page(name: str, tab: Visit) -> None:
    """No error, no CSP violation, no foreign request, no sideways scroll, nothing serious for axe."""
    page = tab.go(PAGES[name])
    page.wait_for_timeout(150)  # what is read once a second has been read once
    look_everywhere(page, name, EVERY if name in MOST_SEEN else SOME)
    complaints, tab.complaints = tab.complaints, []
    assert complaints == []


def test_sign_in_page(visit: Callable[..., Visit]) -> None:
    opened = visit("phone")
    opened.page.context.clear_cookies()
    page = opened.go("/admin/login/")
    for theme in ("light", "dark"):
        look_like(page, "phone", theme)
        take_picture(page, f"sign-in-phone-{theme}", whole=False)
        assert serious(page) == []


def test_what_is_serious_is_found(visit: Callable[..., Visit]) -> None:
    """Or the tests above would say nothing."""
    page = visit().page
    page.set_content(
        "<html lang=en><title>Bad</title><p style='color: #ccc; background: #fff'>Pale</p><input><img src='data:,'>"
    )
    assert {each.partition(":")[0] for each in serious(page)} == {"color-contrast", "label", "image-alt"}
    assert {each.partition(":")[0] for each in serious(page, colours_only=True)} == {"color-contrast"}
