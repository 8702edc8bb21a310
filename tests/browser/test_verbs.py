"""The buttons do what they say, on real stages, sessions and environments."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Demo, Visit
from tests.browser.looking import take_picture

SESSIONS = "/admin/gaia_sessions/session/"
ENVIRONMENTS = "/admin/environments/environment/"


@pytest.fixture(scope="module")
def fleet(demo: Demo) -> set[str]:
    """The names of the fleet's sessions."""
    demo.gaia("session", "start")
    return running_sessions(demo)


@pytest.fixture(autouse=True)
def _whole_fleet(demo: Demo, fleet: set[str]) -> None:
    """Each test finds every session running."""
    if not fleet <= running_sessions(demo):
        demo.gaia("session", "start")


def running_sessions(demo: Demo) -> set[str]:
    return {each["name"] for each in demo.api("/api/orchestration/sessions/") if each["state"] == "running"}


def environment_id(demo: Demo, directory: str) -> int:
    return next(each["id"] for each in demo.api("/api/environments/") if each["directory"] == directory)


def session_id(demo: Demo, name: str) -> int:
    return int(demo.api(f"/api/orchestration/sessions/{name}/")["id"])


def test_a_stage_is_launched_watched_and_stopped(demo: Demo, visit: Callable[..., Visit]) -> None:
    page = visit().go(f"{ENVIRONMENTS}{environment_id(demo, 'demo-dev1')}/change/?log=qa")
    row = page.locator('[data-key="stage-qa"]')
    row.get_by_role("button", name="Launch").click()
    expect(row.locator(".state")).to_have_text("running")
    expect(page.locator("#toasts")).to_contain_text("Stage qa of demo-dev1 starts.")
    link = row.get_by_role("link", name=re.compile(r"^:\d+$"))
    assert answers(link.get_attribute("href") or "")
    expect(page.locator("[data-tail]")).not_to_be_empty()
    home = visit("phone", "dark").go("/admin/")
    expect(home.get_by_title("Open stage qa of demo-dev1")).to_be_visible()
    row.get_by_role("button", name="Stop").click()
    expect(row.locator(".state")).to_have_text("stopped")
    expect(home.get_by_title("Open stage qa of demo-dev1")).to_have_count(0)


def answers(url: str) -> bool:
    """Whether a stage that just began to run answers its health path."""
    transport = httpx.HTTPTransport(retries=5)  # it may not listen yet
    with httpx.Client(transport=transport, timeout=20) as client:
        return client.get(f"{url}/health").status_code == 200


def test_a_launched_stage_whose_port_is_taken_says_so_in_three_parts(demo: Demo, visit: Callable[..., Visit]) -> None:
    [facts] = [each for each in demo.api("/api/environments/") if each["directory"] == "demo-dev2"]
    port = next(stage["port"] for stage in facts["stages"] if stage["name"] == "staging")
    opened = visit()
    page = opened.go(f"{ENVIRONMENTS}{facts['id']}/change/")
    with socket.create_server(("127.0.0.1", port)):
        page.locator('[data-key="stage-staging"]').get_by_role("button", name="Launch").click()
        problem = page.locator("#toasts .note-error")
        expect(problem.locator("p").nth(0)).to_contain_text(f"port {port} is taken by")
        expect(problem.locator("p").nth(1)).to_contain_text("GAIA never stops a process it did not start")
        expect(problem.locator("p").nth(2)).to_contain_text("Stop that process")
    problem.get_by_text("Detail", exact=True).click()
    expect(problem.locator("[data-copy]")).to_contain_text(f'"port": {port}')
    problem.get_by_role("button", name="Close").click()
    expect(problem).to_have_count(0)
    # the browser itself complains of the 409 that it was told of
    opened.complaints[:] = [each for each in opened.complaints if "409 (Conflict)" not in each]


def test_what_is_typed_stands_on_the_screen(demo: Demo, visit: Callable[..., Visit]) -> None:
    page = visit().go(f"{SESSIONS}{session_id(demo, 'dev2_worker')}/change/")
    screen, box = page.locator("[data-screen]"), page.get_by_role("textbox", name="Text to type into dev2_worker")
    box.fill("echo six times seven is $((6 * 7))")
    box.press("Enter")
    expect(screen).to_contain_text("six times seven is 42")
    expect(box).to_have_value("")
    expect(page.locator("#prompt-told")).to_contain_text("Typed 34 characters and Enter")
    box.press("Shift+Enter")
    expect(box).to_have_value("\n")
    box.fill("sleep 300")
    page.get_by_role("button", name="Send").click()
    expect(screen).to_contain_text("sleep 300")
    page.get_by_role("button", name="Ctrl-C").click()
    expect(screen).to_contain_text("^C")
    expect(page.locator("#prompt-told")).to_contain_text("Pressed C-c")


def test_a_session_is_stopped_after_one_question_and_started_again(demo: Demo, visit: Callable[..., Visit]) -> None:
    page = visit().go(f"{SESSIONS}{session_id(demo, 'qa_worker1')}/change/")
    page.get_by_role("button", name="Stop…").click()
    question = page.get_by_role("dialog", name="Stop qa_worker1?")
    expect(question).to_contain_text("its tmux window is closed", ignore_case=True)
    question.get_by_role("button", name="Leave it").click()
    assert demo.api("/api/orchestration/sessions/qa_worker1/")["state"] == "running"
    page.get_by_role("button", name="Stop…").click()
    question.get_by_role("button", name="Stop it").click()
    expect(page.locator("#part-ended")).to_contain_text("This session is over")
    page.reload()
    page.get_by_role("button", name="Start again").click()
    expect(page.get_by_role("heading", name="qa_worker1")).to_be_visible()
    expect(page.locator("[data-screen]")).to_be_visible()


def test_sessions_killed_with_tmux_vanish_by_themselves(demo: Demo, visit: Callable[..., Visit]) -> None:
    """Home follows the log, the list too; nobody reloads."""
    names = ["pr_impl1", "pr_impl2", "pr_integ1"]
    home, table = visit().go("/admin/"), visit().go(SESSIONS)
    signs = [home.locator(f".fleet-glyphs a[title^='{name}:']") for name in names]
    for sign in signs:
        expect(sign).to_have_count(1)
    for name in names:
        demo.gaia("tmux", "kill-session", "-t", f"={name}")
    for name, sign in zip(names, signs, strict=True):
        expect(sign).to_have_count(0)
        expect(table.get_by_role("link", name=name, exact=True)).to_have_count(0)
    expect(home.locator("#part-happened")).to_contain_text("Session pr_integ1 is gone")
    table.get_by_role("link", name="Start fleet…").click()
    expect(table.locator(".choice", has_text="The whole fleet")).to_contain_text("3 to start")
    table.get_by_role("button", name="Start").click()
    expect(table.locator(".notes")).to_contain_text("3 sessions were started")
    for sign in signs:
        expect(sign).to_have_count(1)


def test_a_group_is_stopped_and_started(demo: Demo, visit: Callable[..., Visit]) -> None:
    page = visit("phone").go(f"{SESSIONS}stop/")
    page.locator(".choice", has_text="PR Review").click()
    page.get_by_role("button", name="Stop these").click()
    expect(page.locator(".notes")).to_contain_text("3 sessions were stopped")
    page.goto(f"{page.url.split('?')[0]}?group=pr_review")
    expect(page.locator(".empty")).to_contain_text("Nothing matches")
    page.goto(page.url.split("?")[0] + "start/")
    page.locator(".choice", has_text="PR Review").click()
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".notes")).to_contain_text("3 sessions were started")


def test_environments_are_set_up_by_plan_and_removed_with_their_work_salvaged(
    demo: Demo, visit: Callable[..., Visit]
) -> None:
    page = visit().go(f"{ENVIRONMENTS}setup/")
    page.get_by_label("Count").fill("6")
    page.get_by_role("button", name="Show the plan").click()
    expect(page.locator("tbody tr")).to_have_count(6)
    expect(page.locator("tbody tr").nth(5)).to_contain_text("made")
    take_picture(page, "plan-wide-light", whole=False)
    page.get_by_role("button", name="Change it").click()
    expect(page.get_by_label("Count")).to_have_value("6")
    page.get_by_role("button", name="Show the plan").click()
    page.get_by_role("button", name="Set up 6 environments").click()
    expect(page.locator("#part-progress .state")).to_have_text("done")
    expect(page.locator("#part-result")).to_contain_text("dev6")
    take_picture(page, "operation-done-wide-light")

    checkout = Path(demo.api("/api/environments/demo-dev6/")["path"])
    (checkout / "not-committed.txt").write_text("still here")
    removal = visit().go(f"{ENVIRONMENTS}remove/?id={environment_id(demo, 'demo-dev6')}")
    expect(removal.locator(".steps")).to_contain_text("deleted from there after 7 days")
    expect(removal.locator("input:checked")).to_have_count(1)
    removal.get_by_role("button", name="Remove those ticked").click()
    expect(removal.locator("#part-progress .state")).to_have_text("done")
    expect(removal.locator("#part-result")).to_contain_text("git ")  # the command that brings the work back
    assert not checkout.exists()
    expect(removal.locator("body")).not_to_contain_text("Traceback")
    assert "demo-dev6" not in {each["directory"] for each in demo.api("/api/environments/")}


def test_a_plan_that_cannot_work_says_why_and_keeps_what_was_filled_in(visit: Callable[..., Visit]) -> None:
    page = visit("phone", "dark").go(f"{ENVIRONMENTS}setup/")
    page.get_by_label("Source").fill("/nowhere/at/all")
    page.get_by_role("button", name="Show the plan").click()
    expect(page.locator(".note-error .note-what")).to_contain_text("/nowhere/at/all")
    expect(page.get_by_label("Source")).to_have_value("/nowhere/at/all")


def test_a_token_is_shown_once_works_and_is_revoked(demo: Demo, visit: Callable[..., Visit]) -> None:
    page = visit().go("/admin/policy/token/issue/")
    page.get_by_label("Name").fill("ci")
    page.get_by_role("button", name="Issue token").click()
    text = page.locator(".secret").inner_text()
    page.locator(".secret").click()
    assert page.evaluate("navigator.clipboard.readText()") == text
    headers = {"Authorization": f"Token {text}"}
    assert httpx.get(f"{demo.url}/api/environments/", headers=headers).status_code == 200
    assert httpx.post(f"{demo.url}/api/environments/clean/", json={}, headers=headers).status_code == 403
    page.get_by_role("link", name="I have it").click()
    assert text not in page.content()
    row = page.locator("tr", has_text="ci").filter(has=page.get_by_text("ci", exact=True))
    row.get_by_role("button", name="Revoke…").click()
    page.get_by_role("dialog", name="Revoke token ci?").get_by_role("button", name="Revoke it").click()
    expect(row).to_have_count(0)
    assert httpx.get(f"{demo.url}/api/environments/", headers=headers).status_code == 401


def test_a_new_session_in_an_environment(demo: Demo, visit: Callable[..., Visit]) -> None:
    page = visit().go(f"{SESSIONS}new/")
    page.get_by_label("Name").fill("helper")
    page.get_by_label("Environment").select_option("demo-dev3")
    page.get_by_role("button", name="Start session").click()
    expect(page.locator("#part-facts")).to_contain_text("demo-dev3")
    taken_name = visit().go(f"{SESSIONS}new/")
    taken_name.get_by_label("Name").fill("helper")
    taken_name.get_by_role("button", name="Start session").click()
    expect(taken_name.locator(".note-error .note-what")).to_contain_text(
        "Session helper already runs", ignore_case=True
    )
    page.get_by_role("button", name="Stop…").click()
    page.get_by_role("button", name="Stop it").click()
    expect(page.locator("#part-ended")).to_contain_text("over")


def test_a_session_whose_program_ended_needs_somebody(demo: Demo, visit: Callable[..., Visit]) -> None:
    home = visit().go("/admin/")
    demo.api("/api/orchestration/sessions/edu_worker1/send-keys/", text="exit 3")
    item = home.locator("#part-needs a")
    expect(item).to_have_text("1 session ended")
    expect(home.locator("#part-badge-sessions .badge")).to_contain_text("1")
    take_picture(home, "home-needs-wide-light", whole=False)
    item.click()
    expect(home.locator("tbody tr")).to_have_count(1)
    home.get_by_role("link", name="edu_worker1").click()
    expect(home.locator("#part-facts")).to_contain_text("3")
    home.get_by_role("button", name="Stop…").click()
    home.get_by_role("button", name="Stop it").click()
    expect(home.locator("#part-badge-sessions .badge")).to_have_count(0)
