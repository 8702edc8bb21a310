"""`gaia up --demo`: a small real repository with history and a tiny web app that answers `/health`."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from environments.actions.places import free_base_port
from environments.drivers.git import run_git
from environments.drivers.partial import partial_directory, publish
from environments.states import ENVIRONMENT_ACTIVE
from projects.models import Project

_TIMEOUT_S = 30.0
_AUTHOR = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "GAIA demo"), ("EMAIL", "demo@localhost"))
} | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}

_README = """# Demo

A notes service in one file, to try GAIA on. `python3 app.py` serves it on $PORT, with HTTPS if $TLS_CERT is set.

- `/health` says that it lives and how many notes there are
- `/notes` lists them, `POST /notes` adds one
"""

_APP_1 = '''"""A notes service in one file."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Notes(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"status": "ok", "stage": os.environ.get("STAGE", "")}).encode()
        self.send_response(200 if self.path == "/health" else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Notes).serve_forever()
'''

_STORE = '''"""Notes in SQLite, in the database that the stage gives us."""

import os
import sqlite3
from contextlib import closing


def connect():
    connection = sqlite3.connect(os.environ.get("DATABASE_PATH", "notes.db"), timeout=5)
    connection.execute("CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
    return connection


def add(text):
    with closing(connect()) as connection, connection:
        return connection.execute("INSERT INTO note (text) VALUES (?)", [text]).lastrowid


def every():
    with closing(connect()) as connection:
        return [{"id": number, "text": text} for number, text in connection.execute("SELECT id, text FROM note")]
'''

_APP_2 = '''"""A notes service in one file, on top of store.py."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import store


class Notes(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/health":
            self.answer(200, {"status": "ok", "stage": os.environ.get("STAGE", ""), "notes": len(store.every())})
        elif self.path in ("/", "/notes"):
            self.answer(200, store.every())
        else:
            self.answer(404, {"error": "there is nothing here"})

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        text = json.loads(self.rfile.read(length) or b"{}").get("text", "")
        self.answer(201, {"id": store.add(text)}) if text else self.answer(400, {"error": "text is missing"})

    def answer(self, status, data):
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Notes).serve_forever()
'''

_SERVING = """if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Notes).serve_forever()
"""

_SERVING_TLS = """if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Notes)
    if os.environ.get("TLS_CERT"):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(os.environ["TLS_CERT"], os.environ["TLS_KEY"])
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()
"""

_APP_3 = _APP_2.replace(_SERVING, _SERVING_TLS).replace("import os\n", "import os\nimport ssl\n", 1)

_TESTS = """import os
import tempfile
import unittest

import store


class StoreTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        os.environ["DATABASE_PATH"] = os.path.join(folder.name, "notes.db")

    def test_a_note_comes_back(self):
        store.add("hello")
        self.assertEqual([note["text"] for note in store.every()], ["hello"])


if __name__ == "__main__":
    unittest.main()
"""

_GAIA_YAML = """# How GAIA runs a stage of this project.
command: python3 app.py
health: /health
"""

_HISTORY: tuple[tuple[str, dict[str, str]], ...] = (
    ("Say what this is", {"README.md": _README}),
    ("Answer /health", {"app.py": _APP_1}),
    ("Keep notes in SQLite", {"store.py": _STORE, "app.py": _APP_2}),
    ("Test the store", {"test_store.py": _TESTS}),
    ("Tell GAIA how to run a stage", {"gaia.yaml": _GAIA_YAML, ".gitignore": "__pycache__/\n*.db\n"}),
    ("Serve HTTPS where there is a certificate", {"app.py": _APP_3}),
)


def make_demo(path: Path) -> Path:
    """The sample repository, made when it is not there: whole or not at all.

    Args:
        path: where it goes.

    Returns: its path. Raises: GitError when git cannot make it; Conflict when something else lies there.
    """
    if (path / ".git").is_dir():
        return path
    with partial_directory(path) as partial:
        built = partial / "demo"
        built.mkdir()
        # one after the other: each commit's files are written when its turn has come
        for words in itertools.chain([("init", "--quiet", "--initial-branch=main")], _commits(built)):
            run_git(*words, place=["-C", str(built)], env=_AUTHOR, timeout=_TIMEOUT_S)
        publish(built, path)
    return path


def _commits(path: Path) -> Iterator[tuple[str, ...]]:
    """Writes the files of each commit and gives the git commands that make it."""
    for subject, files in _HISTORY:
        for name, text in files.items():
            (path / name).write_text(text, encoding="utf-8")
        yield ("add", "--", *files)
        yield ("commit", "--quiet", "--no-verify", "--no-gpg-sign", "--message", subject)


def demo_base_port(source: Path, count: int) -> int | None:
    """A base port whose stage ports are free, so that the demo starts beside anything; None when it is set up."""
    project = Project.objects.filter(source=str(source)).first()
    if project is not None and project.environments.filter(state__in=ENVIRONMENT_ACTIVE).exists():
        return None
    return free_base_port(count, unused=True)
