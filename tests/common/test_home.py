from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.errors import InvalidInput
from common.home import Home, gaia_home


def test_everything_in_it_is_private(tmp_path: Path) -> None:
    home = Home(tmp_path / "deep" / "home").ensure()
    for directory in [home.root, *(path for path in home.root.rglob("*") if path.is_dir())]:
        assert directory.stat().st_mode & 0o777 == 0o700, directory
    assert home.ensure() == home


def test_which_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for value, expected in (
        (str(tmp_path / "link"), tmp_path / "real"),
        ("", Path.home() / ".gaia"),
        ("~/elsewhere", Path.home() / "elsewhere"),
    ):
        monkeypatch.setenv("GAIA_HOME", value)
        assert gaia_home().root == expected.resolve()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GAIA_HOME", "here")
    assert gaia_home().root == tmp_path / "here"


def test_the_home_of_somebody_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAIA_HOME", "~nosuchperson/gaia")
    with pytest.raises(InvalidInput, match="cannot be found"):
        gaia_home()


def test_two_homes_have_two_tmux_servers(tmp_path: Path) -> None:
    default = Home(Path("~/.gaia").expanduser().resolve())
    names = {Home(tmp_path / "a").tmux_socket_name, Home(tmp_path / "b").tmux_socket_name, default.tmux_socket_name}
    assert len(names) == 3
    assert default.tmux_socket_name == "gaia"


def test_names_of_its_parts_stay_below_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for name in (
        "data",
        "database",
        "run",
        "locks",
        "hubs",
        "checkouts",
        "trash",
        "salvage",
        "processes",
        "logs",
        "sessions",
    ):
        assert os.path.commonpath([getattr(home, name), tmp_path]) == str(tmp_path)


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701, 0o777])
def test_a_home_that_others_could_enter_becomes_private(tmp_path: Path, mode: int) -> None:
    """Made by hand, or by a version of long ago: the settings in it may hold a password."""
    home = Home(tmp_path / "home")
    home.root.mkdir()
    home.root.chmod(mode)
    (home.root / "config.toml").touch()
    home.ensure()
    assert home.root.stat().st_mode & 0o777 == 0o700


def test_a_home_that_is_private_is_left_as_it_is(tmp_path: Path) -> None:
    """Somebody may have taken the right to write away from themselves; what others may not do is all that matters."""
    home = Home(tmp_path / "home").ensure()
    changed = home.root.stat().st_ctime_ns
    home.ensure()
    assert home.root.stat().st_ctime_ns == changed
