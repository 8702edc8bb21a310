"""Test databases that cost milliseconds: migrated once, then copied.

A template is made by running the migrations, the first time and whenever they change (4.7 s); every test process gets
a copy of it, and so does every test that commits. SQLite: a file kept in pytest's cache, copied by SQLite's own backup
into the worker's home. PostgreSQL: a template database on the server, copied by `CREATE DATABASE ... TEMPLATE`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_LOCK = 0x54455354  # "TEST"


def worker_url(server: str) -> str:
    """The URL of this test process's own database on the server that the URL names."""
    name = f"gaia_test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}"
    return urlsplit(server)._replace(path=f"/{name}").geturl()


class SqliteFile:
    """The file in the test process's home, as real servers and other processes see it."""

    def __init__(self, path: str, cache: Path) -> None:
        self._path = path
        self._cache = cache

    def create(self) -> None:
        """Make the file, from the template."""
        self._template = self._cache / f"{_migrations_digest()}.sqlite3"
        with (self._cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self._template.exists():
                for stale in self._cache.glob("*.sqlite3*"):
                    stale.unlink()
                building = self._template.with_suffix(".building")
                _migrate(str(building))
                building.rename(self._template)
        self.restore()

    def restore(self) -> None:
        """Undo everything that was committed; connections others hold stay good."""
        _close_connections()
        with closing(sqlite3.connect(self._template)) as source, closing(sqlite3.connect(self._path, 20)) as target:
            target.execute("PRAGMA journal_mode=WAL")
            source.backup(target)

    def drop(self) -> None:
        """Nothing: it goes with the home."""
        _close_connections()


class PostgresDatabase:
    """A database of the test process's own on a server that tests may use."""

    def __init__(self, server: str, name: str) -> None:
        self._server = server
        self._name = name

    def create(self) -> None:
        """Make it, from the template."""
        self._template = f"gaia_template_{_migrations_digest()}"
        with self._admin() as run:
            run("SELECT pg_advisory_lock(%s)", [_LOCK])
            if not run("SELECT 1 FROM pg_database WHERE datname = %s", [self._template]).fetchone():
                run(f"DROP DATABASE IF EXISTS {self._template}_building WITH (FORCE)")
                run(f"CREATE DATABASE {self._template}_building")
                _migrate(f"{self._template}_building")
                run(f"ALTER DATABASE {self._template}_building RENAME TO {self._template}")
        self.restore()

    def restore(self) -> None:
        """Undo everything that was committed; whoever is still connected is thrown out."""
        self.drop()
        with self._admin() as run:
            run("SELECT pg_advisory_lock(%s)", [_LOCK])  # a template can be copied by one at a time
            run(f"CREATE DATABASE {self._name} TEMPLATE {self._template}")

    def drop(self) -> None:
        _close_connections()
        with self._admin() as run:
            run(f"DROP DATABASE IF EXISTS {self._name} WITH (FORCE)")

    @contextmanager
    def _admin(self) -> Iterator[Callable[..., Any]]:
        import psycopg

        with psycopg.connect(self._server, autocommit=True) as connection:
            yield connection.execute


def _migrations_digest() -> str:
    from django.apps import apps

    digest = hashlib.sha256()
    for app in sorted(apps.get_app_configs(), key=lambda app: app.label):
        for path in sorted(Path(app.path, "migrations").glob("*.py")):
            digest.update(f"{app.label}/{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _migrate(name: str) -> None:
    from django.core.management import call_command
    from django.db import connection

    _close_connections()
    original, connection.settings_dict["NAME"] = connection.settings_dict["NAME"], name
    try:
        call_command("migrate", verbosity=0, interactive=False)
    finally:
        _close_connections()
        connection.settings_dict["NAME"] = original


def _close_connections() -> None:
    from django.db import connections

    connections.close_all()
