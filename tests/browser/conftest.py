"""A whole GAIA with its demo, and a real browser in front of it.

`demo` is started once per test process, by the CLI, in a home of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from django.conf import settings
from playwright import sync_api
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, StorageState, sync_playwright

from tests import warm
from tests.browser.looking import SIZES
from tests.installation import free_port
from tests.live import ROOT

# the same engine without windows takes a fifth of the processor time for a new page
CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium") or "/usr/bin/chromium"
PATIENCE_MS = 20_000
sync_api.expect.set_options(timeout=PATIENCE_MS)  # five seconds are too few on a busy machine
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(300))  # the first of a process starts the demo


@dataclass(frozen=True)
class Demo:
    """A running GAIA with the demo project: five environments, fifteen stages, 26 sessions."""

    home: Path
    url: str
    password: str
    token: str
    environ: dict[str, str]

    def gaia(self, *words: str) -> str:
        """What the CLI prints. Raises: AssertionError with its errors."""
        done = warm.run(["-m", "gaia_site.cli", *words], cwd=ROOT, environ=self.environ, timeout=180)
        assert done.returncode == 0, f"gaia {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def api(self, path: str, **body: Any) -> Any:
        """An answer of the API; a POST when there is a body."""
        headers = {"Authorization": f"Token {self.token}"}
        answer = (
            httpx.post(f"{self.url}{path}", json=body, headers=headers, timeout=60)
            if body
            else httpx.get(f"{self.url}{path}", headers=headers, timeout=60)
        )
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None


@pytest.fixture(scope="session")
def demo(django_db_setup: None) -> Iterator[Demo]:
    """GAIA with the demo, ended with everything it started. Its database begins as a copy of a migrated one."""
    from tests.environments.places import free_ports

    home = Path(tempfile.mkdtemp(prefix="gaia-b-")).resolve()
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("GAIA_", "DJANGO_", "TMUX"))}
    with free_ports() as base:
        ours |= {"GAIA_HOME": str(home), "GAIA_ENVIRONMENTS_BASE_PORT": str(base)}
        ours["GAIA_SESSIONS_SOCKET_DIRS"] = str(home / "sockets")  # nobody's tmux servers are looked at
        ours["GAIA_SESSIONS_SHELL"] = "/bin/sh"  # without what somebody has their own do when it starts
        running = Demo(home, "", "", "", ours)
        copy_database(home / "data")
        try:
            said = json.loads(running.gaia("up", "--demo", "--detach", "--json", "--port", str(free_port())))
            running.gaia("backup", "take", "dev1", "qa")
            yield Demo(home, said["url"], said["password"], said["token"], running.environ)
        finally:
            running.gaia("down", "--all")
            shutil.rmtree(home, ignore_errors=True)


def copy_database(directory: Path) -> None:
    """Tables without rows, which migrations would take seconds to make."""
    directory.mkdir(mode=0o700)
    with (
        closing(sqlite3.connect(settings.DATABASES["default"]["NAME"])) as ours,
        closing(sqlite3.connect(directory / "gaia.sqlite3")) as its,
    ):
        ours.backup(its)


# Not for the session: while Playwright is open an event loop runs in this thread, and tests elsewhere that use the
# database or a loop of their own would find it.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, which cannot reach any other host."""
    nowhere = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, nowhere])
        yield running
        running.close()


@pytest.fixture(scope="package")
def signed_in(browser: Browser, demo: Demo) -> StorageState:
    """The cookies of an operator who signed in by the form."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{demo.url}/admin/")
        page.get_by_label("Username").fill("operator")
        page.get_by_label("Password").fill(demo.password)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(f"{demo.url}/admin/")
        return context.storage_state()


@dataclass
class Visit:
    """A page and what it should not have done."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str) -> Page:
        """Open a page of the console and wait until it is live."""
        self.page.goto(f"{self.url}{path}")
        self.page.wait_for_load_state()
        if self.page.locator("#live-sign").count():
            self.page.wait_for_selector("#live-sign[data-state=live]:not([hidden])")
        return self.page

    def hears(self, message: ConsoleMessage) -> None:
        # a screen that is read in the moment its session ends is refused, which the page then shows
        ended = "409" in message.text and "/capture/?life=" in str(message.location.get("url", ""))
        # nor is there a log, nor figures, of what was just unregistered
        read = re.search(r"/services/[^/]+/(logs|metrics)/\?", str(message.location.get("url", "")))
        gone = "404" in message.text and read
        if message.type in {"error", "warning"} and not ended and not gone:
            self.complaints.append(f"{message.type}: {message.text} {message.location}")

    def sees(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.url).netloc and not request.url.startswith("data:"):
            self.complaints.append(f"a request left for {request.url}")


def new_context(browser: Browser, state: StorageState, size: str = "wide", theme: Any = "light") -> BrowserContext:
    """A browser of a size (wide, phone) and theme (light, dark) in which nobody has been but to sign in."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=theme,
        storage_state=state,
        permissions=["clipboard-read", "clipboard-write"],
    )
    context.set_default_timeout(PATIENCE_MS)
    return context


def new_visit(context: BrowserContext, demo: Demo) -> Visit:
    """A new page in a browser."""
    made = Visit(context.new_page(), demo.url)
    made.page.on("console", made.hears)
    made.page.on("pageerror", lambda error: made.complaints.append(f"script: {error}"))
    made.page.on("request", made.sees)
    return made


@pytest.fixture
def visit(browser: Browser, demo: Demo, signed_in: StorageState) -> Iterator[Callable[..., Visit]]:
    """Opens browsers of a size (wide, phone) and theme (light, dark); whatever they complain of fails the test."""
    contexts: list[BrowserContext] = []
    visits: list[Visit] = []

    def open_one(size: str = "wide", theme: Any = "light") -> Visit:
        contexts.append(new_context(browser, signed_in, size, theme))
        visits.append(new_visit(contexts[-1], demo))
        return visits[-1]

    yield open_one
    for context in contexts:
        context.close()
    assert [complaint for each in visits for complaint in each.complaints] == []
