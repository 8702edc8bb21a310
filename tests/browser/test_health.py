"""The health page with real faults: what is wrong, the command that mends it, and that it is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Demo, Visit
from tests.browser.looking import look_everywhere, serious, take_picture
from tests.environments.drivers.repositories import git

HEALTH = "/admin/environments/health/"


@pytest.fixture
def unwell(demo: Demo) -> Iterator[list[Path]]:
    """Two environments of the demo with a fault each, which the last look saw."""
    paths = [Path(each["path"]) for each in demo.api("/api/environments/")[-2:]]
    script = paths[0] / "stop.sh"
    text = script.read_text()
    script.unlink()
    git(paths[1], "switch", "-q", "--detach")
    look(demo)
    yield paths
    script.write_text(text)
    script.chmod(0o755)
    git(paths[1], "switch", "-q", f"env/{paths[1].name.rpartition('-')[2]}")
    look(demo)


def look(demo: Demo) -> None:
    for one in demo.api("/api/environments/"):
        demo.api(f"/api/environments/{one['directory']}/health/check/", now=True)


def test_what_is_wrong_is_seen_at_once_and_that_it_is_over(
    visit: Callable[..., Visit], demo: Demo, unwell: list[Path]
) -> None:
    page = visit().go(HEALTH)
    broken, detached = (page.locator("article", has_text=path.name) for path in unwell)
    expect(page.locator(".health-whole")).to_contain_text(f"stop.sh of {unwell[0].name} is missing")
    expect(broken.locator("header")).to_contain_text("unhealthy")
    expect(broken.get_by_role("button")).to_have_text("gaia env setup --project demo")
    expect(detached.locator("header")).to_contain_text("needs attention")
    look_everywhere(page, "health-unwell")
    detached.get_by_role("button").click()
    assert page.evaluate("navigator.clipboard.readText()") == f"git -C {unwell[1]} switch env/{unwell[1].name[5:]}"
    page.get_by_role("link", name=unwell[0].name).last.click()
    page.wait_for_url("**/change/")
    expect(page.locator("main, #content")).to_contain_text("What was found")
    take_picture(page, "health-period-wide-light")
    assert serious(page) == []

    git(unwell[1], "switch", "-q", f"env/{unwell[1].name[5:]}")
    page = visit().go(HEALTH)
    page.get_by_role("button", name="Check now").click()
    expect(page.locator(".health-well")).to_contain_text(unwell[1].name)
    expect(page.locator("article")).to_have_count(1)
    expect(page.locator("#toasts")).to_contain_text("5 environments looked at: 1 not well.")


def test_home_and_the_environments_say_it_too(visit: Callable[..., Visit], demo: Demo, unwell: list[Path]) -> None:
    page = visit().go("/admin/")
    expect(page.locator(".needs")).to_contain_text("1 environment unhealthy")
    expect(page.locator(".needs")).to_contain_text("1 environment with warnings")
    page.locator(".needs a", has_text="unhealthy").click()
    expect(page.locator("#result_list")).to_contain_text(unwell[0].name)
    page = visit().go("/admin/environments/environment/")
    take_picture(page, "health-environments-wide-light")
    page.get_by_role("link", name=unwell[0].name).click()
    page.wait_for_url("**/change/")
    panel = page.locator("#part-health")
    expect(panel).to_contain_text(f"stop.sh of {unwell[0].name} is missing")
    look_everywhere(page, "health-environment")
