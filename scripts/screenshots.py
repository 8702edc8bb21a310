#!/usr/bin/env python3
"""Takes the pictures of the documentation from a running demo: `scripts/screenshots.py [DIRECTORY]`.

Starts GAIA with its demo in a home of its own, does a little work in it, takes the pictures with Chromium and ends
everything again. DIRECTORY is docs/images unless given. Needs the development requirements.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Page, ViewportSize, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
WIDE, PHONE = ViewportSize(width=1440, height=900), ViewportSize(width=390, height=844)


class Demo:
    """GAIA with its demo, as a newcomer gets it."""

    def __init__(self, home: Path) -> None:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("GAIA_", "DJANGO_", "TMUX"))}
        named = {"GAIA_NODE": "local", "LOGNAME": "operator", "GAIA_SESSIONS_SHELL": "/bin/sh", "PS1": "$ ", "ENV": ""}
        nobodys = {"GAIA_SESSIONS_SOCKET_DIRS": str(home / "sockets")}  # not what else runs on this machine
        self.environ = {**ours, **named, **nobodys, "GAIA_HOME": str(home)}
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        said = json.loads(self.gaia("up", "--demo", "--detach", "--json", "--port", str(port)))
        self.url, self.password = str(said["url"]), str(said["password"])

    def gaia(self, *words: str, fails: bool = False) -> str:
        """Run a command. Raises: SystemExit with what it said, unless it is meant to fail."""
        argv = [sys.executable, "-m", "gaia_site.cli", *words]
        done = subprocess.run(
            argv, cwd=ROOT, env=self.environ, capture_output=True, text=True, timeout=180, check=False
        )
        if done.returncode and not fails:
            raise SystemExit(f"gaia {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def environments(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = json.loads(self.gaia("multi-env-status", "--json"))["directories"]
        return listed


def do_some_work(demo: Demo) -> None:
    """Stages run, a commit is made, files are changed, something stands on the screens."""
    for name, stage in (("dev1", "dev"), ("dev1", "qa"), ("dev2", "dev"), ("dev3", "dev"), ("dev3", "staging")):
        demo.gaia("env", "launch", name, stage)
    paths = {each["name"]: Path(each["path"]) for each in demo.environments()}
    for name in ("dev1", "dev3"):
        (paths[name] / "app.py").write_text((paths[name] / "app.py").read_text() + "\n# one more thought\n")
    git = ["git", "-c", "user.name=GAIA demo", "-c", "user.email=demo@localhost", "-C", str(paths["dev1"])]
    subprocess.run([*git, "commit", "-qam", "Note a thought"], check=True)
    (paths["dev1"] / "ideas.md").write_text("# Ideas\n")
    demo.gaia("session", "send", "dev1_worker", "clear; git log --oneline | cat; git status --short")
    demo.gaia("session", "send", "dev1_worker", "python3 -m unittest -v 2>&1 | tail -n 12")
    demo.gaia("session", "send", "edu_worker1", "exit 1")


_SHOP = """\
import http.server, os, random, threading, time

class Shop(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, text, *values):
        print("INFO", text % values, flush=True)

def sell():
    while True:
        time.sleep(0.4)
        level, text = random.choice(LINES)
        print(time.strftime("%H:%M:%S"), level, text, flush=True)

LINES = [("INFO", "order 4711 is paid"), ("INFO", "order 4712 is packed"), ("DEBUG", "cache: 93 % hits"),
         ("INFO", "GET /basket 200 in 12 ms"), ("WARNING", "payment took 2.1 s"), ("ERROR", "no such article: 815")]
threading.Thread(target=sell, daemon=True).start()
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Shop).serve_forever()
"""

_HOUR_OF_FIGURES = """
import math, random
from datetime import timedelta
from django.utils import timezone
from processes.models import Sample
from services.models import Service
now = timezone.now().replace(second=0, microsecond=0)
for service in Service.objects.filter(state="running"):
    least, rows = random.randint(20, 60), []
    for number in range(12, 360):
        cpu = 6 + 4 * math.sin(number / 54) + random.random() * 2
        memory = int((least + 12 * math.sin(number / 84) + random.random() * 3) * 2**20)
        for seconds in (10, 60) if number % 6 == 0 else (10,):
            rows.append(Sample(node=service.node, owner=service.owner, seconds=seconds, cpu=cpu, cpu_most=cpu * 1.8,
                               at=now - timedelta(seconds=10 * number), memory=memory, memory_most=int(memory * 1.2),
                               processes=1))
    Sample.objects.bulk_create(rows)
"""


def register_services(demo: Demo, place: Path) -> None:
    """A shop that runs, a worker that depends on it, one that waits and one that dies; and an hour of figures."""
    (place / "shop.py").write_text(_SHOP)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    register = ("service", "register", "--cwd", str(place), "--start", "--name")
    limits = ("--port", port, "--health", "/health", "--memory", "128MB")
    demo.gaia(*register, "shop", *limits, "--", sys.executable, "shop.py")
    demo.gaia(*register, "orders", "--depends-on", "shop", "--", "sleep", "86400")
    demo.gaia(*register, "mailer", "--", "sh", "-c", "echo no relay; sleep 1; exit 1", fails=True)
    demo.gaia("service", "register", "--name", "reports", "--cwd", str(place), "--", "sleep", "86400")
    demo.gaia("service", "restart", "shop", "--now")
    demo.gaia("manage", "shell", "-c", _HOUR_OF_FIGURES)


def break_something(demo: Demo) -> None:
    """A script is gone, a database is damaged, and a look has seen it."""
    paths = {each["name"]: Path(each["path"]) for each in demo.environments()}
    (paths["dev4"] / "launch.sh").unlink()
    (paths["dev5"] / "data/qa/demo.db").write_bytes(b"no database any more\n" * 200)
    demo.gaia("env", "monitor", fails=True)


@contextmanager
def running_demo() -> Iterator[Demo]:
    """The demo, ended with everything it started."""
    home = Path(tempfile.mkdtemp(prefix="gaia-")).resolve()
    demo = None
    try:
        demo = Demo(home)
        do_some_work(demo)
        register_services(demo, home)
        yield demo
    finally:
        if demo is not None:
            demo.gaia("down", "--all")
        shutil.rmtree(home, ignore_errors=True)


def signed_in(context: BrowserContext, demo: Demo) -> Page:
    """A page of an operator who signed in."""
    page = context.new_page()
    page.goto(f"{demo.url}/admin/")
    page.get_by_label("Username").fill("operator")
    page.get_by_label("Password").fill(demo.password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_selector("#live-sign[data-state=live]")
    return page


def take(page: Page, demo: Demo, path: Path, *, of: str, link: str = "") -> None:
    """A picture of a page, and of the page behind one of its links."""
    page.goto(f"{demo.url}{of}")
    if link:
        page.get_by_role("link", name=link, exact=True).first.click()
    page.wait_for_selector("#live-sign[data-state=live]")
    page.wait_for_timeout(2_500)  # what is read once a second has been read, and what glowed has faded
    page.screenshot(path=path)
    print(path)


def main() -> None:
    """Take them all."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    directory.mkdir(parents=True, exist_ok=True)
    environments, sessions = "/admin/environments/environment/", "/admin/gaia_sessions/session/"
    services = "/admin/services/service/"
    with running_demo() as demo, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        themes: dict[Any, str] = {"light": "", "dark": "-dark"}
        for theme, ending in themes.items():
            with browser.new_context(viewport=WIDE, color_scheme=theme) as context:
                page = signed_in(context, demo)
                take(page, demo, directory / f"home{ending}.png", of="/admin/")
                take(page, demo, directory / f"environment{ending}.png", of=environments, link="demo-dev1")
                take(page, demo, directory / f"session{ending}.png", of=sessions, link="dev1_worker")
                take(page, demo, directory / f"services{ending}.png", of=services)
                take(page, demo, directory / f"service{ending}.png", of=services, link="shop")
            with browser.new_context(viewport=PHONE, color_scheme=theme, device_scale_factor=2) as context:
                page = signed_in(context, demo)
                take(page, demo, directory / f"phone{ending}.png", of="/admin/")
        break_something(demo)
        for theme, ending in themes.items():
            with browser.new_context(viewport=WIDE, color_scheme=theme) as context:
                page = signed_in(context, demo)
                take(page, demo, directory / f"health{ending}.png", of="/admin/environments/health/")
        browser.close()


if __name__ == "__main__":
    main()
