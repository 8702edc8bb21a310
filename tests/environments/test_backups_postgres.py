"""GAIA's own database on PostgreSQL, backed up by PostgreSQL's programs. Collected where there is one (conftest.py)."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from common.errors import Refused, Unavailable
from environments.actions import backups, own_database
from environments.actions.databases import Database, directory
from environments.drivers import backup_files
from environments.drivers.backup_postgres import Server, take_postgres
from environments.drivers.databases import DatabaseDamaged
from environments.models import Backup
from environments.states import BackupState
from events import log
from events.models import Event

NEWEST = '[ "$1" = --version ] && echo "pg_dump (PostgreSQL) 99.1"'
MINE = f"_{os.getpid()}"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _acting(acting: str) -> None:
    """Somebody takes them."""


@contextmanager
def database(server: Server, name: str) -> Iterator[Server]:
    """An empty database beside GAIA's own."""
    with server.connected() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        try:
            yield replace(server, name=name)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def scratches(server: Server) -> list[str]:
    """Scratch databases of this process; others' tests have theirs."""
    with server.connected() as connection:
        found = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'gaia_verify_%'")
        return [name for (name,) in found if name.endswith(MINE)]


def program(place: Path, name: str, script: str) -> None:
    """A program that is found first."""
    place.mkdir(exist_ok=True)
    (place / name).write_text(f"#!/bin/sh\n{script}\n")
    (place / name).chmod(0o755)


def test_taken_and_verified_by_restoring_it_while_others_write() -> None:
    ended = threading.Event()

    def write() -> None:
        from events.actor import acting_as

        with acting_as("user:writer"):
            while not ended.is_set():
                with log.atomic():
                    log.emit("thing.done", subject="thing/1", message="One")
                    log.emit("thing.done", subject="thing/1", message="Two")
        from django.db import connection

        connection.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        backup = backups.take_backup(None)
    finally:
        ended.set()
        thread.join()

    assert backup.state == BackupState.VERIFIED
    assert backup.path.endswith(".dump")
    facts = backup_files.known(directory(), backup.name)
    assert facts is not None
    assert facts.check == "pg_restore into a scratch database"
    assert facts.tables is not None
    assert facts.tables["environments_backup"] == 1
    assert facts.tables["events_event"] % 2 == 1, "whole transactions, and that it was begun"
    assert scratches(Database().server) == []

    with database(Database().server, f"gaia_restored{MINE}") as restored:
        words = ["pg_restore", "--exit-on-error", f"--dbname={restored.conninfo()}", backup.path]
        subprocess.run(words, check=True, capture_output=True)
        with restored.connected() as connection:
            assert connection.execute("SELECT name, state FROM environments_backup").fetchall() == [
                (backup.name, "taking")
            ]


def test_verified_again_and_found_spoiled() -> None:
    backup = backups.take_backup(None)
    backups.verify(backup)
    data = bytearray(Path(backup.path).read_bytes())
    data[len(data) // 2] ^= 0xFF
    Path(backup.path).write_bytes(data)
    with pytest.raises(DatabaseDamaged):
        backups.verify(backup)
    assert Backup.objects.get().state == BackupState.FAILED


def test_a_dump_that_is_none_is_no_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = """for word; do case $word in
    --file=*) echo nonsense >"${word#--file=}";;
    --version) echo "pg_dump (x) 99.1"; exit;;
esac; done"""
    program(tmp_path / "bin", "pg_dump", script)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(DatabaseDamaged):
        backups.take_backup(None)
    assert list(directory().iterdir()) == []


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, "pg_dump is not installed"),
        ('echo "pg_dump (PostgreSQL) 9.6.24"', "pg_dump 9 is older than the server, which is PostgreSQL "),
        (
            '[ "$1" = --version ] && echo "pg_dump (PostgreSQL) 99.1" || { echo "no room" >&2; exit 1; }',
            "pg_dump: no room",
        ),
    ],
)
def test_a_program_that_is_missing_or_too_old_or_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, said: str
) -> None:
    (tmp_path / "bin").mkdir()
    if script is not None:
        program(tmp_path / "bin", "pg_dump", script)
    monkeypatch.setenv("PATH", str(tmp_path / "bin") + (":/bin" if script else ""))
    if script:
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.defpath}")
    with pytest.raises(Unavailable) as caught:
        backups.take_backup(None)
    assert caught.value.what.startswith(said)
    assert caught.value.fix
    assert Event.objects.get(kind="backup.failed").message.endswith(Backup.objects.get().problem)


def test_the_password_is_in_the_environment_and_not_for_all_to_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    real = subprocess.run(["sh", "-c", "command -v pg_dump"], capture_output=True, text=True, check=True).stdout.strip()
    program(tmp_path / "bin", "pg_dump", f'echo "$* and $PGPASSWORD" >>{seen}\nexec {real} "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    server = replace(Database().server, password="hunter2")
    take_postgres(server, directory(), backups.new_facts(Database(), "x", Backup().created_at), timeout=60)
    lines = seen.read_text().splitlines()
    assert all(line.endswith(" and hunter2") for line in lines)
    assert all("hunter2" not in line.partition(" and ")[0] for line in lines)


def test_without_the_right_to_make_a_database_it_is_read_through() -> None:
    server = Database().server
    role = f"reader_{os.getpid()}"
    with server.connected() as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        connection.execute(sql.SQL("GRANT pg_read_all_data TO {}").format(sql.Identifier(role)))
        try:
            facts = backups.new_facts(Database(), "x", Backup().created_at)
            taken, file = take_postgres(replace(server, user=role), directory(), facts, timeout=60)
        finally:
            connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
    assert file.is_file()
    assert taken.tables is None
    assert "may not make a scratch database" in taken.check


def test_what_a_killed_verification_left_is_dropped() -> None:
    server = Database().server
    with server.connected() as connection:
        forgotten = sql.Identifier(f"gaia_verify_20200101000000{MINE}")
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(forgotten))
    backups.take_backup(None)
    assert scratches(server) == []


def test_restored_by_hand() -> None:
    backup = backups.take_backup(None)
    facts: Any = own_database.own_backup(backup.name)
    assert own_database.preview_own(facts)["target"].startswith("PostgreSQL database ")
    with pytest.raises(Refused) as caught:
        own_database.restore_own(facts)
    assert "pg_restore --clean --if-exists" in caught.value.fix
    assert backup.path in caught.value.fix
