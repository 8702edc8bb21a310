"""One setting is changed in config.toml, and nothing else of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from common import config
from common.config_edit import set_value, unset
from common.errors import InvalidInput, NotFound
from common.home import Home

FILE = """# mine
[server]
port = 9000  # the old one
# host is as it is

[jobs]
workers = 4
"""


@pytest.fixture
def written(tmp_path: Path) -> Home:
    (tmp_path / "config.toml").write_text(FILE)
    (tmp_path / "config.toml").chmod(0o640)
    return Home(tmp_path)


def text(written: Home) -> str:
    return written.config_file.read_text()


def test_the_line_is_replaced_where_it_stands(written: Home) -> None:
    assert set_value(written, "server.port", "9001") == 9001
    assert text(written) == FILE.replace("port = 9000  # the old one", "port = 9001")
    assert written.config_file.stat().st_mode & 0o777 == 0o640


def test_a_new_one_goes_to_the_end_of_its_section(written: Home) -> None:
    set_value(written, "server.debug", "yes")
    assert "# host is as it is\ndebug = true\n\n[jobs]" in text(written)
    set_value(written, "backups.timeout", "90m")
    assert text(written).endswith('workers = 4\n\n[backups]\ntimeout = "90m"\n')
    loaded = config.load(written, {})
    assert (loaded.problems, loaded["server.debug"], loaded["backups.timeout"]) == ((), True, 5400.0)


def test_a_file_that_is_not_there_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    written = Home(tmp_path)
    set_value(written, "database.url", 'postgresql://me:p"w\\d@host/gaia')
    assert written.config_file.stat().st_mode & 0o777 == 0o600
    assert config.load(written, {})["database.url"] == 'postgresql://me:p"w\\d@host/gaia'


def test_one_is_taken_out_known_or_not(written: Home) -> None:
    written.config_file.write_text("top = 1\n" + FILE + "prot = 1\n")
    assert [unset(written, name) for name in ("jobs.prot", "top", "server.port", "server.port")] == [True] * 3 + [False]
    assert text(written) == FILE.replace("port = 9000  # the old one\n", "")


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("server.prot", "1", NotFound),
        ("server.port", "70000", InvalidInput),
        ("server.port", "nine", InvalidInput),
        ("server.host", "a b", InvalidInput),
        ("server.debug", "perhaps", InvalidInput),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_changes(written: Home, key: str, value: str, error: type) -> None:
    with pytest.raises(error) as raised:
        set_value(written, key, value)
    assert raised.value.fix
    assert text(written) == FILE


def test_a_file_with_another_mistake_is_left_alone(written: Home) -> None:
    written.config_file.write_text("[server\n")
    with pytest.raises(InvalidInput, match="cannot be changed"):
        set_value(written, "server.port", "1")
    assert text(written) == "[server\n"
