"""The doctor's page: another examination at a click, what it found with a fix to copy, in every size and theme."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Demo, Visit
from tests.browser.looking import look_everywhere

DOCTOR = "/admin/doctor/"
_PATIENCE_MS = 60_000


@pytest.fixture
def broken(demo: Demo) -> Iterator[Path]:
    """An environment of the demo without one of its scripts."""
    path = Path(demo.api("/api/environments/")[-1]["path"])
    text = (path / "status.sh").read_text()
    (path / "status.sh").unlink()
    yield path
    (path / "status.sh").write_text(text)
    (path / "status.sh").chmod(0o755)


def test_what_is_wrong_is_shown_with_a_fix_to_copy_and_then_that_all_is_well(
    visit: Callable[..., Visit], demo: Demo, broken: Path
) -> None:
    page = visit().go(DOCTOR)
    page.get_by_role("button", name="Run again").click()
    missing = page.locator(".findings li", has_text=f"status.sh of {broken.name} is missing")
    expect(missing).to_be_visible(timeout=_PATIENCE_MS)
    expect(page.locator(".health-whole")).to_contain_text("unhealthy", ignore_case=True)
    expect(page.locator(".health-whole")).to_contain_text("looked at")
    look_everywhere(page, "doctor-findings")
    missing.get_by_role("button").click()
    assert page.evaluate("navigator.clipboard.readText()") == "gaia env setup --project demo"

    page.get_by_role("button", name="Quick", exact=True).scroll_into_view_if_needed()
    demo.gaia("env", "setup", "--project", "demo")
    page.get_by_role("button", name="Run again").click()
    expect(missing).to_have_count(0, timeout=_PATIENCE_MS)
