"""Test databases that cost milliseconds: migrated once, then copied.

A template is made by running the migrations, the first time and whenever they change (4.7 s); every test process gets
a copy of it. What a test commits is undone. SQLite: a file kept in pytest's cache, copied by SQLite's own backup into
the worker's home, again after each such test. PostgreSQL: a template database on the server, copied by `CREATE
DATABASE ... TEMPLATE` (0.2 s and more); after such a test only the rows that differ are put back (10 ms).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_LOCK = 0x54455354  # "TEST"
_KEPT_S = 86_400.0  # a template that no migration of ours asks for

# What migrations put into tables, and how far their sequences counted, is kept beside them in the template.
_KEEP_ROWS = """
CREATE SCHEMA pristine;
DO $$
DECLARE name text; filled boolean;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM public.%I)', name) INTO filled;
        IF filled THEN EXECUTE format('CREATE TABLE pristine.%1$I AS TABLE public.%1$I', name); END IF;
    END LOOP;
END $$;
CREATE TABLE pristine."sequence counts" AS
    SELECT sequencename AS name, last_value AS value FROM pg_sequences WHERE schemaname = 'public';
"""
_PUT_ROWS_BACK = """
SET session_replication_role = replica;  -- foreign keys and triggers are as fine before as after
DO $$
DECLARE name text; changed boolean; counted record;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        IF to_regclass('pristine.' || quote_ident(name)) IS NULL THEN
            EXECUTE format('DELETE FROM public.%I', name);
        ELSE
            EXECUTE format('SELECT EXISTS ('
                '(SELECT t::text FROM public.%1$I t EXCEPT ALL SELECT t::text FROM pristine.%1$I t) UNION ALL '
                '(SELECT t::text FROM pristine.%1$I t EXCEPT ALL SELECT t::text FROM public.%1$I t))', name)
                INTO changed;
            IF changed THEN
                EXECUTE format('DELETE FROM public.%I', name);
                EXECUTE format('INSERT INTO public.%1$I OVERRIDING SYSTEM VALUE SELECT * FROM pristine.%1$I', name);
            END IF;
        END IF;
    END LOOP;
    FOR counted IN SELECT sequencename AS name, value FROM pg_sequences AS now
        JOIN pristine."sequence counts" AS kept ON kept.name = now.sequencename
        WHERE now.schemaname = 'public' AND now.last_value IS DISTINCT FROM kept.value LOOP
        PERFORM setval(format('public.%I', counted.name), coalesce(counted.value, 1), counted.value IS NOT NULL);
    END LOOP;
END $$;
"""


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
                for old in self._cache.glob("*.sqlite3*"):
                    if time.time() - old.stat().st_mtime > _KEPT_S:  # another run may be at work with a newer one
                        old.unlink()
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
        self._template = f"gaia_pristine_{_migrations_digest()}"
        with self._admin() as run:
            run("SELECT pg_advisory_lock(%s)", [_LOCK])
            if not run("SELECT 1 FROM pg_database WHERE datname = %s", [self._template]).fetchone():
                run(f"DROP DATABASE IF EXISTS {self._template}_building WITH (FORCE)")
                run(f"CREATE DATABASE {self._template}_building")
                _migrate(f"{self._template}_building")
                with self._connected(f"{self._template}_building") as in_template:
                    in_template(_KEEP_ROWS)
                run(f"ALTER DATABASE {self._template}_building RENAME TO {self._template}")
            run(f"CREATE DATABASE {self._name} TEMPLATE {self._template}")

    def restore(self) -> None:
        """Undo everything that was committed; whoever is still connected is thrown out."""
        _close_connections()
        with self._admin() as run:
            run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [self._name])
        with self._connected(self._name) as run:
            run(_PUT_ROWS_BACK)

    def drop(self) -> None:
        _close_connections()
        with self._admin() as run:
            run(f"DROP DATABASE IF EXISTS {self._name} WITH (FORCE)")

    @contextmanager
    def _admin(self) -> Iterator[Callable[..., Any]]:
        with self._connected(urlsplit(self._server).path.lstrip("/")) as execute:
            yield execute

    @contextmanager
    def _connected(self, name: str) -> Iterator[Callable[..., Any]]:
        import psycopg

        url = urlsplit(self._server)._replace(path=f"/{name}").geturl()
        with psycopg.connect(url, autocommit=True) as connection:
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
