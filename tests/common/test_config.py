"""Settings: file and variables, which wins, and what is said about mistakes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from common import config
from common.home import Home

ROOT = Path(__file__).resolve().parents[2]


def load(home: Path, text: str = "", **environ: str) -> config.Config:
    home.mkdir(exist_ok=True)
    if text:
        (home / "config.toml").write_text(text)
    return config.load(Home(home), environ)


def test_defaults(tmp_path: Path) -> None:
    loaded = load(tmp_path / "home")
    assert loaded["server.port"] == 8080
    assert loaded.problems == ()
    assert set(loaded.origins.values()) == {"default"}
    assert loaded.url == "http://127.0.0.1:8080"


def test_the_file_is_read_and_a_variable_wins(tmp_path: Path) -> None:
    text = '[server]\nport = 9000\npublic_url = "https://gaia.example.org/"\n[environments]\ngit_timeout = "2m"\n'
    loaded = load(tmp_path, text, GAIA_SERVER_PORT="9001", GAIA_JOBS_WORKERS="4")
    assert (loaded["server.port"], loaded.origins["server.port"]) == (9001, "GAIA_SERVER_PORT")
    assert (loaded["environments.git_timeout"], loaded.origins["environments.git_timeout"]) == (
        120.0,
        str(tmp_path / "config.toml"),
    )
    assert loaded["jobs.workers"] == 4
    assert loaded.url == "https://gaia.example.org"
    assert loaded.problems == ()


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("GAIA_SERVER_PORT", "nonsense", "expected a whole number, got 'nonsense'"),
        ("GAIA_SERVER_PORT", "0", "0 is not a port"),
        ("GAIA_SERVER_PORT", "65536", "65536 is not a port"),
        ("GAIA_SERVER_PORT", "80.5", "expected a whole number"),
        ("GAIA_SERVER_DEBUG", "maybe", "expected true or false"),
        ("GAIA_SERVER_HOST", "two words", "is not an address"),
        ("GAIA_SERVER_TIME_ZONE", "Mars/Olympus", "there is no time zone 'Mars/Olympus'"),
        ("GAIA_SERVER_TIME_ZONE", "../../etc/passwd", "there is no time zone"),
        ("GAIA_SERVER_PUBLIC_URL", "gaia.example.org", "is not an origin"),
        ("GAIA_SERVER_PUBLIC_URL", "https://gaia.example.org/path", "is not an origin"),
        ("GAIA_SERVER_PUBLIC_URL", "https://gaia.example.org:port", "is not a URL"),
        ("GAIA_DATABASE_URL", "mysql://me:secret@host/db", "is not the URL of a database GAIA can use"),
        ("GAIA_DATABASE_URL", "postgresql://host", "is not the URL of a database"),
        ("GAIA_DATABASE_URL", "postgresql://host:port/db", "is not a URL"),
        ("GAIA_ENVIRONMENTS_COUNT", "0", "expected at least 1, got 0"),
        ("GAIA_ENVIRONMENTS_GIT_TIMEOUT", "soon", "not a duration: 'soon'"),
    ],
)
def test_a_mistake_is_a_problem_and_the_default_stays(tmp_path: Path, variable: str, value: str, says: str) -> None:
    loaded = load(tmp_path, **{variable: value})
    [problem] = loaded.problems
    assert says in problem.message
    assert variable in problem.message
    assert problem.hint
    assert "secret" not in problem.message
    [key] = [key for key in config.KEYS if key.variable == variable]
    assert loaded[key.dotted] == key.default


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("[server]\nprot = 1", "there is no setting server.prot", "server.port"),
        ("[x]\nyz = 1", "there is no setting x.yz", "gaia config"),
        ("port = 1", "port stands outside a [section]", "[server]"),
        ("[server", "cannot be read", "Mend the file"),
        ("[server]\nport = true", "expected a whole number, got True", "Port"),
        ("[server]\nhost = 1", "expected text, got 1", "Address"),
        ("[environments]\ngit_timeout = inf", "a duration is 0 or more seconds, not inf", "clone"),
        ("[environments]\ngit_timeout = -1", "a duration is 0 or more seconds, not -1", "clone"),
    ],
)
def test_mistakes_in_the_file(tmp_path: Path, text: str, says: str, hint: str) -> None:
    [problem] = load(tmp_path, text).problems
    assert says in problem.message
    assert str(tmp_path / "config.toml") in problem.message
    assert hint in problem.hint


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    assert "cannot be read" in load(tmp_path).problems[0].message
    (tmp_path / "config.toml").unlink()
    (tmp_path / "config.toml").mkdir()
    assert "cannot be read" in load(tmp_path).problems[0].message


def test_a_slip_in_a_variable_is_noticed_and_others_are_left_alone(tmp_path: Path) -> None:
    loaded = load(tmp_path, GAIA_SERVER_PROT="1", GAIA_HOME="/x", GAIA_ROLE="web", GAIA_SESSION="me", OTHER="1")
    [problem] = loaded.problems
    assert (problem.key, problem.hint) == ("GAIA_SERVER_PROT", "Did you mean GAIA_SERVER_PORT?")


@pytest.mark.parametrize(
    ("value", "parsed"), [("1", True), ("TRUE", True), ("on", True), ("no", False), ("", False), ("0", False)]
)
def test_true_and_false(tmp_path: Path, value: str, parsed: bool) -> None:
    assert load(tmp_path, GAIA_SERVER_DEBUG=value)["server.debug"] is parsed


@pytest.mark.parametrize(
    "url", ["", "postgresql://me:pw@host:5432/gaia", "postgres:///gaia?host=/run", "sqlite:///tmp/x.sqlite3"]
)
def test_databases_gaia_can_use(tmp_path: Path, url: str) -> None:
    assert load(tmp_path, GAIA_DATABASE_URL=url).problems == ()


@pytest.mark.parametrize("key", config.KEYS, ids=lambda key: key.dotted)
def test_every_setting_is_documented(key: Any) -> None:
    documented = re.findall(r"^\| (\S+) \| (GAIA_\w+) \|", (ROOT / "docs" / "operating.md").read_text(), re.MULTILINE)
    assert (key.dotted, key.variable) in documented
    assert key.doc
