"""A real PostgreSQL server for the layers of tests: one per test process, thrown away at its end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def running_server() -> Iterator[str]:
    """URL of a server that nobody else uses, of an account that may do everything."""
    # without this home's mark: tests that end an installation end every process that bears it
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GAIA_")}
    server = subprocess.Popen(
        [ROOT / ".ci/postgres"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        env=environ,
    )  # fmt: skip
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        url = server.stdout.readline().strip()
        assert url, "PostgreSQL's server programs are needed: apt-get install postgresql"
        yield url
    finally:
        server.stdin.close()  # which ends it, and removes its files
        server.wait()
        server.stdout.close()


def account(url: str, name: str, options: str = "LOGIN CREATEDB") -> str:
    """URL of the same server for another account, which is made if it is missing."""
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone() is None:
            connection.execute(f"CREATE ROLE {name} {options}")
    host = url.partition("host=")[2]
    return f"postgresql://{name}:{name}-password@/postgres?host={host}"


def databases(url: str) -> set[str]:
    """Names of the databases that were made for stages."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE '%shop_dev%'")
        return {name for (name,) in rows}


def drop_databases(url: str) -> None:
    """Forget what a test made: the next one has the same names."""
    with psycopg.connect(url, autocommit=True) as connection:
        for name in databases(url):
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
