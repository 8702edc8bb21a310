"""The fleet and the providers in force: read again when a file changes, and only then."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from common.errors import InvalidInput
from sessions import configured
from sessions.configured import current_fleet, fleet, fleet_problem, providers

FLEET = "version: 1\ngroups: [{{key: other, label: Other, short: OTH}}]\nsessions:\n{}"
ONE = "  - {{name: {}, group: other, provider: {}}}\n"


def write(home: Any, *names: str, provider: str = "system") -> Path:
    path: Path = home.root / "fleet.yaml"
    path.write_text(FLEET.format("".join(ONE.format(name, provider) for name in names)))
    return path


def names() -> list[str]:
    return [one.name for one in fleet().sessions]


def test_shipped_unless_there_is_a_file(home: Any) -> None:
    assert len(names()) == 26
    write(home, "one")
    assert names() == ["one"]


def test_the_setting_wins(home: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, "one")
    other = tmp_path / "other.yaml"
    other.write_text(FLEET.format(ONE.format("two", "system")))
    monkeypatch.setitem(settings.GAIA.values, "sessions.fleet", str(other))
    assert names() == ["two"]
    monkeypatch.setitem(settings.GAIA.values, "sessions.fleet", str(tmp_path / "missing.yaml"))
    with pytest.raises(InvalidInput, match="cannot be read"):
        current_fleet()
    assert len(names()) == 26


def test_a_file_is_read_again_when_it_changes_and_only_then(home: Any) -> None:
    path = write(home, "one")
    first = fleet()
    assert fleet() is first
    assert configured.providers() is configured.providers()
    stamp = path.stat()
    write(home, "two")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    assert names() == ["two"]


def test_a_mistake_is_told_and_what_was_shown_stays(home: Any) -> None:
    write(home, "one")
    assert (names(), fleet_problem()) == (["one"], "")
    (home.root / "fleet.yaml").write_text("sessions: nonsense\n")
    assert names() == ["one"]
    assert "fleet.yaml:1" in fleet_problem()
    with pytest.raises(InvalidInput):
        current_fleet()


def test_providers_of_the_operators_own(home: Any) -> None:
    directory = home.root / "providers"
    directory.mkdir()
    assert list(providers()) == ["claude", "codex", "gemini", "ollama", "system"]
    (directory / "mine.yaml").write_text("version: 1\nname: mine\nlabel: Mine\ncandidates: [{program: mine}]\n")
    assert "mine" in providers()
    write(home, "one", provider="mine")
    assert names() == ["one"]
    (directory / "mine.yaml").unlink()
    assert "mine" not in providers()
    assert "there is no provider 'mine'" in fleet_problem()
