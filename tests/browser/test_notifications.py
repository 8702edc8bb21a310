"""A destination from its making to its test, and a job's times, with a real browser and the real daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Demo, Visit
from tests.browser.looking import look_everywhere
from tests.events.receivers import Receiver, web_receiver

DESTINATIONS = "/admin/events/destination/"
JOBS = "/admin/django_q/schedule/"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with web_receiver() as found:
        yield found


def test_a_destination_is_added_tested_and_told(demo: Demo, visit: Callable[..., Visit], receiver: Receiver) -> None:
    opened = visit()
    page = opened.go(f"{DESTINATIONS}new/")
    page.get_by_label("Name").fill("ops")
    page.get_by_label("Address").fill(receiver.url)
    page.get_by_label("Events").fill("schedule.*")
    page.get_by_label("Level").select_option("info")
    page.get_by_role("button", name="Add it").click()
    page.get_by_role("button", name="Send a test").click()
    expect(page.locator("#toasts")).to_contain_text("ops took the test in")
    assert receiver.got[0].headers["X-Gaia-Event"] == "notification.test"
    receiver.answer = lambda number: (500, "the disk is full")
    page.get_by_role("button", name="Send a test").click()
    expect(page.locator("#toasts")).to_contain_text("127.0.0.1 answered 500: the disk is full")
    [refused] = opened.complaints  # the browser's own, that it was answered with 503
    assert "503" in refused
    opened.complaints.clear()

    demo.gaia("schedule", "off", "drop-snapshots")  # an event, which the daemon tells
    expect(page.locator("#part-facts .state").first).to_have_text("failing", timeout=30_000)
    receiver.answer = lambda number: (200, "")
    demo.gaia("schedule", "on", "drop-snapshots")
    expect(page.locator("#part-notifications tbody tr")).to_have_count(2, timeout=30_000)
    look_everywhere(page, "destination")
    for name, path in (("destinations-full", DESTINATIONS), ("notifications-full", "/admin/events/notification/")):
        look_everywhere(opened.go(path), name)
    demo.gaia("notify", "remove", "ops", "--yes")


def test_a_job_is_run_now_and_gets_other_times(demo: Demo, visit: Callable[..., Visit]) -> None:
    jobs = {job["name"]: job for job in demo.api("/api/schedules/")}
    assert jobs["purge-trash"]["built_in"]
    page = visit().go(JOBS)
    page.get_by_role("link", name="purge-trash").click()
    page.get_by_role("button", name="Run now").click()
    expect(page.locator("#part-runs .state").first).to_have_text("done", timeout=30_000)
    page.get_by_role("link", name="Change when…").click()
    page.get_by_label("When").fill("weekly on Friday at 05:30")
    page.get_by_role("button", name="Show the next runs").click()
    expect(page.locator(".note li")).to_have_count(3)
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#part-facts")).to_contain_text("weekly on Friday at 05:30")
    assert next(job for job in demo.api("/api/schedules/") if job["name"] == "purge-trash")["when"].startswith("weekly")
