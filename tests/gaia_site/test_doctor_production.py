"""What production needs: each fix can be pasted, and asks for what a person has to decide."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from gaia_site.doctor import hardening
from processes.models import Node
from tests.gaia_site.command_line import CommandLine

_PLACEHOLDER = re.compile(r"(?<![$A-Z_])\b[A-Z]{3,}\b(?!_)|<[a-z]+>|…|\.\.\.")


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[CommandLine]:
    line = CommandLine(tmp_path, GAIA_HOME=str(tmp_path / "home"))
    yield line
    line.end()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("vendor", "url", "key"),
    [
        ("sqlite", "", "production.engine"),
        ("postgresql", "postgresql://me:hunter22@db.example.org/gaia", "production.database-tls"),
        ("postgresql", "postgresql://me:hunter22@db.example.org/gaia?connect_timeout=3", "production.database-tls"),
    ],
)
def test_a_database_that_is_not_for_production(
    vendor: str, url: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        Node.objects.create(name=name, heartbeat_at=timezone.now())
    monkeypatch.setattr(connection, "vendor", vendor)
    monkeypatch.setitem(settings.GAIA.values, "database.url", url)  # type: ignore[arg-type]
    [found] = hardening.check_engine()
    assert (found.key, found.fix) == (key, "gaia config database.url -")
    assert "hunter22" not in found.what + found.meaning + found.fix
    assert "when you are asked" in found.meaning
    if url:
        assert ("&sslmode=require" if "?" in url else " ?sslmode=require") in found.meaning


@pytest.mark.django_db
def test_no_fix_has_a_gap_to_fill_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        Node.objects.create(name=name, heartbeat_at=timezone.now())
    values = settings.GAIA.values
    found = []
    for host, public in (("127.0.0.1", ""), ("::", "http://gaia.example.org"), ("::", "https://g.example")):
        monkeypatch.setitem(values, "server.host", host)  # type: ignore[arg-type]
        monkeypatch.setitem(values, "server.public_url", public)  # type: ignore[arg-type]
        found += [*hardening.check_exposure(), *hardening.check_engine(), *hardening.check_told()]
    engine = {"engine"} if connection.vendor == "sqlite" else set()
    assert {each.fault for each in found} >= {"public-url", "tls", "exposed", "bypass", "told"} | engine
    assert [each.fix for each in found if _PLACEHOLDER.search(each.fix)] == []
    assert all(each.fix for each in found)


def test_a_person_is_asked_for_what_they_decide(cli: CommandLine) -> None:
    cli("env", "list")  # the database has tables
    before = cli("doctor", "--production-ready", "--json").data["findings"]
    [fix] = [each["fix"] for each in before if each["key"] == "production.told"]
    gaia, *words = fix.split()
    assert gaia == "gaia"
    terminal = cli.on_a_terminal(*words)
    terminal.until("Mail address, or https:// address of a webhook: ")
    terminal.type("https://chat.example.org/hooks/1\n")
    assert terminal.end() == 0
    after = cli("doctor", "--production-ready", "--json").data["findings"]
    assert "production.told" not in {each["key"] for each in after}


def test_a_script_is_asked_nothing(cli: CommandLine) -> None:
    said = cli("notify", "add", "ops", "-", "--json", stdin="https://chat.example.org/hooks/1\n")
    assert said.code == 0
    assert "Mail address" not in said.err
