"""Databases, system checks: what the settings become, and what is said when they are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core import checks
from django.test import override_settings

from common.config import Problem
from common.errors import InvalidInput
from common.home import Home
from gaia_site.checks import check_configuration, check_exposure, check_fleet
from gaia_site.databases import database_settings


def test_sqlite_by_default(tmp_path: Path) -> None:
    found = database_settings("", Home(tmp_path))
    assert (found["ENGINE"], found["NAME"]) == ("django.db.backends.sqlite3", str(tmp_path / "data" / "gaia.sqlite3"))
    assert found["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert database_settings("sqlite:///some%20where/x.db", Home(tmp_path))["NAME"] == "/some where/x.db"


def test_postgresql(tmp_path: Path) -> None:
    url = "postgresql://me:p%40ss%2Fword@db.example.org:5433/gaia%20db?sslmode=require"
    found = database_settings(url, Home(tmp_path))
    assert [found[key] for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT")] == [
        "gaia db", "me", "p@ss/word", "db.example.org", "5433",
    ]  # fmt: skip
    assert found["OPTIONS"] == {"sslmode": "require"}
    socket = database_settings("postgres:///gaia?host=/run/postgresql&port=5434", Home(tmp_path))
    assert (socket["HOST"], socket["PORT"], socket["OPTIONS"]) == ("/run/postgresql", "5434", {})


@pytest.mark.parametrize("url", ["mysql://me:secret@host/db", "gaia", "postgresql://host", "sqlite:"])
def test_other_databases(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        database_settings(url, Home(tmp_path))
    assert "secret" not in caught.value.what


def test_a_wrong_setting_is_an_error_with_a_hint() -> None:
    assert check_configuration(None) == []
    with override_settings(GAIA_PROBLEMS=[Problem("server.port", "it is no port", "Choose another.")]):
        [found] = check_configuration(None)
    assert (found.id, found.msg, found.hint, found.obj) == (
        "gaia.E001",
        "it is no port",
        "Choose another.",
        "server.port",
    )


def test_a_wrong_fleet_is_a_warning_because_gaia_runs_all_the_same(home: Any) -> None:
    assert check_fleet(None) == []
    (home.root / "fleet.yaml").write_text("version: 1\ngroups: []\nsessions: []\n")
    [found] = check_fleet(None)
    assert (found.id, found.level) == ("gaia.W002", checks.WARNING)
    assert "fleet.yaml:2" in found.msg


EVERYWHERE = "0.0.0.0"  # noqa: S104  said, not bound


@pytest.mark.parametrize(
    ("host", "public", "warns"),
    [
        ("127.0.0.1", "", False),
        ("::1", "", False),
        (EVERYWHERE, "", True),
        (EVERYWHERE, "http://gaia.example.org", True),
        (EVERYWHERE, "https://gaia.example.org", False),
    ],
)
def test_reachable_by_others_without_tls(monkeypatch: pytest.MonkeyPatch, host: str, public: str, warns: bool) -> None:
    monkeypatch.setitem(settings.GAIA.values, "server.host", host)
    monkeypatch.setitem(settings.GAIA.values, "server.public_url", public)
    assert [found.id for found in check_exposure(None)] == (["gaia.W001"] if warns else [])
