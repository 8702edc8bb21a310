"""The definition as people write it, and what they are told when it is wrong."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InvalidInput
from services.spec import Probe, ServiceSpec, parse_spec
from services.states import Condition, ProbePurpose, Restart

DOCUMENT: dict[str, Any] = {
    "name": "api-server",
    "command": "go",
    "args": ["run", "main.go"],
    "port": 8080,
    "health_check": {
        "type": "http",
        "endpoint": "http://localhost:8080/health",
        "interval": "30s",
        "timeout": "5s",
        "retries": 3,
    },
    "auto_restart": True,
}


def spec(**fields: Any) -> ServiceSpec:
    return parse_spec({"name": "api", "command": "serve", **fields})


def test_the_example_of_the_document_works_as_written() -> None:
    found = parse_spec(DOCUMENT)
    assert found.command == ["go", "run", "main.go"]
    assert (found.port, found.restart, found.cwd) == (8080, Restart.ALWAYS, Path.home())
    ready, live = found.named_probes
    assert (ready.name, ready.purpose) == ("health", ProbePurpose.READINESS)
    assert (live.name, live.purpose) == ("health-live", ProbePurpose.LIVENESS)
    for probe in (ready, live):
        assert (probe.kind, probe.endpoint) == ("http", "http://localhost:8080/health")
        assert (probe.interval, probe.timeout, probe.retries) == (30.0, 5.0, 3)


def test_without_auto_restart_a_failed_check_restarts_nothing() -> None:
    found = parse_spec({**DOCUMENT, "auto_restart": False})
    assert found.restart == Restart.NEVER
    assert [probe.purpose for probe in found.probes] == [ProbePurpose.READINESS]


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ({"command": "serve"}, ["serve"]),
        ({"command": "serve --port 80 'two words'"}, ["serve", "--port", "80", "two words"]),
        ({"command": "my server", "args": []}, ["my server"]),  # with args it is one word
        ({"command": "serve", "args": ["a b", 8080, True]}, ["serve", "a b", "8080", "true"]),
        ({"command": ["serve", "a b"]}, ["serve", "a b"]),
        ({"command": ["serve"], "args": ["x"]}, ["serve", "x"]),
    ],
)
def test_commands(given: dict[str, Any], command: list[str]) -> None:
    assert parse_spec({"name": "api", **given}).command == command


@pytest.mark.parametrize(
    ("given", "seconds"), [("30s", 30), ("1m30s", 90), ("1h", 3600), (5, 5), ("5", 5), ("250ms", 0.25)]
)
def test_durations(given: Any, seconds: float) -> None:
    assert spec(stop_grace=given).stop_grace == seconds


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["db"], [("db", "healthy", "")]),
        ("db", [("db", "healthy", "")]),
        (["db", {"name": "q", "condition": "started"}], [("db", "healthy", ""), ("q", "started", "")]),
        ({"db": "completed"}, [("db", "completed", "")]),
        ({"db": {"condition": "log_line", "pattern": "up"}}, [("db", "log_line", "up")]),
        ({"db": {}}, [("db", "healthy", "")]),
    ],
)
def test_dependencies(given: Any, expected: list[tuple[str, str, str]]) -> None:
    found = [(each.name, each.condition, each.pattern) for each in spec(depends_on=given).depends_on]
    assert found == [(name, Condition(condition), pattern) for name, condition, pattern in expected]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"memory": "2GB"}, {"memory_mb": 2048}),
        ({"memory": "1.5 GiB", "cpu": 50}, {"memory_mb": 1536, "cpu_percent": 50.0}),
        ({"memory": 512}, {"memory_mb": 512}),
        ({"memory": "1048576b"}, {"memory_mb": 1}),
        ({"memory_mb": 512, "run_time": "1h"}, {"memory_mb": 512, "run_time_s": 3600.0}),
        ({"quiet": "5m"}, {"quiet_s": 300.0}),
        ({"open_files": 64}, {"open_files": 64}),
        ({"memory": None}, {}),
        ({}, {}),
    ],
)  # fmt: skip
def test_limits(given: dict[str, Any], kept: dict[str, float]) -> None:
    assert spec(limits=given).limits == kept


def test_variables_become_text() -> None:
    found = spec(env={"A": 1, "B": True, "C": 1.5, "D": ""}, secrets={"S": "x", "T": None})
    assert found.env == {"A": "1", "B": "true", "C": "1.5", "D": ""}
    assert found.secrets == {"S": "x", "T": None}


def test_probes_have_names_of_their_own() -> None:
    probes = [{"type": "tcp", "endpoint": "1"}] * 3 + [{"type": "tcp", "endpoint": "1", "name": "web"}]
    assert [probe.name for probe in spec(probes=probes).named_probes] == [
        "readiness",
        "readiness-2",
        "readiness-3",
        "web",
    ]


def test_a_stored_probe_is_read_again() -> None:
    for probe in parse_spec(DOCUMENT).named_probes:
        assert Probe.model_validate(probe.model_dump(mode="json")) == probe


SECRET = "swordfish-4711"
WRONG: list[tuple[Any, str]] = [
    (None, "a service is written as an object"),
    ([], "a service is written as an object"),
    ({"command": "x"}, "name: it is missing"),
    ({"name": "api"}, "command: it is empty"),
    ({"name": "api", "command": ""}, "command: it is empty"),
    ({"name": "api", "command": [""]}, "the command is empty"),
    ({"name": "api", "command": "'"}, "cannot be split into words"),
    ({"name": "api", "command": "x", "args": "y"}, '"args" is a list of words'),
    ({"name": "api", "args": ["y"]}, '"args" goes with a command'),
    ({"name": "a b", "command": "x"}, "Use 'a-b'"),
    ({"name": 7, "command": "x"}, "name:"),
    ({"name": "api", "command": ["a\0b"]}, "command[0]: a NUL character"),
    ({"name": "api", "command": "x", "prot": 80}, "prot: there is no such field; did you mean port?"),
    ({"name": "api", "command": "x", "autorestart": True}, "did you mean auto_restart?"),
    ({"name": "api", "command": "x", "port": 0}, "port: 0 is out of range"),
    ({"name": "api", "command": "x", "port": 65536}, "port: 65536 is out of range"),
    ({"name": "api", "command": "x", "port": "web"}, "port: write a whole number, not 'web'"),
    ({"name": "api", "command": "x", "cwd": "srv/api"}, "cwd: srv/api is not absolute"),
    ({"name": "api", "command": "x", "cwd": "~nobody-of-that-name/x"}, "nobody's home"),
    ({"name": "api", "command": "x", "env": ["A=1"]}, 'env: write variables as an object: {"NAME": "value"}'),
    ({"name": "api", "command": "x", "env": {"1A": "x"}}, "env: '1A' is not the name of a variable"),
    ({"name": "api", "command": "x", "env": {"GAIA_ATTEMPT_TOKEN": "x"}}, "is not the name of a variable"),
    ({"name": "api", "command": "x", "env": {"A": {}}}, "env.A: write text"),
    ({"name": "api", "command": "x", "env": {"A": "1"}, "secrets": {"A": "2"}}, "A: either in env or in secrets"),
    ({"name": "api", "command": "x", "secrets": {"A": [SECRET]}}, "secrets.A: write text"),
    ({"name": "api", "command": "x", "secrets": SECRET}, "secrets: write variables as an object"),
    ({"name": "api", "command": "x", "title": "a\0"}, "title: a NUL character"),
    ({"name": "api", "command": "x", "title": "\ud800"}, "title: half a character"),
    ({"name": "api", "command": "x", "cwd": "/\ud800"}, "cwd: a path has whole characters"),
    ({"name": "api", "command": "x", "env": {"A": "\udfff"}}, "env.A: half a character"),
    ({"name": "api", "command": "x", "user": "a b"}, "user: it has characters that cannot be"),
    ({"name": "api", "command": "x", "restart": "sometimes"}, "restart: 'sometimes' is none of"),
    ({"name": "api", "command": "x", "restart": "never", "auto_restart": False}, "not both"),
    ({"name": "api", "command": "x", "auto_restart": "yes"}, '"auto_restart" is true or false'),
    ({"name": "api", "command": "x", "stop_grace": "soon"}, "stop_grace: not a duration: 'soon'"),
    ({"name": "api", "command": "x", "stop_grace": -1}, "stop_grace: a duration is 0 or more seconds"),
    ({"name": "api", "command": "x", "stop_grace": "2h"}, "stop_grace: '2h' is out of range"),
    ({"name": "api", "command": "x", "limits": {"memory": "much"}}, "'much' is no amount of memory"),
    ({"name": "api", "command": "x", "limits": {"memory": "1kb"}}, "less than a megabyte"),
    ({"name": "api", "command": "x", "limits": {"memory": 1, "memory_mb": 2}}, "a limit is written twice"),
    ({"name": "api", "command": "x", "limits": {"disk": 1}}, "there is no limit 'disk'"),
    ({"name": "api", "command": "x", "limits": 5}, "limits: write limits as an object"),
    ({"name": "api", "command": "x", "depends_on": 5}, '"depends_on" is a list of names'),
    ({"name": "api", "command": "x", "depends_on": ["api"]}, "it depends on itself"),
    ({"name": "api", "command": "x", "depends_on": ["db", "db"]}, "it depends on db twice"),
    ({"name": "api", "command": "x", "depends_on": {"db": "alive"}}, "depends_on[0].condition: 'alive' is none of"),
    ({"name": "api", "command": "x", "depends_on": {"db": "log_line"}}, '"pattern" goes with'),
    ({"name": "api", "command": "x", "depends_on": {"db": {"pattern": "x"}}}, '"pattern" goes with'),
    ({"name": "api", "command": "x", "health_check": "http"}, '"health_check" is an object'),
    ({"name": "api", "command": "x", "health_check": {"type": "http"}}, "an http check needs an endpoint"),
    ({"name": "api", "command": "x", "health_check": {"type": "ftp", "endpoint": "x"}}, "type: 'ftp' is none of"),
    ({"name": "api", "command": "x", "health_check": {"type": "ftp", "endpoint": "x"}}, "wrong: health_check.type: "),
    ({"name": "api", "command": "x", "health_check": {"type": "tcp"}, "probes": 5}, '"probes" is a list'),
    (
        {"name": "api", "command": "x", "health_check": {"type": "log", "pattern": "x"}, "probes": [{"type": "exec"}]},
        "wrong: probes[0]: an exec check",
    ),
    ({"name": "api", "command": "x", "depends_on": {"db": 5}}, "the condition of each"),
    ({"name": "api", "command": "x", "probes": [{"type": "exec"}]}, "an exec check needs a command"),
    ({"name": "api", "command": "x", "probes": [{"type": "log"}]}, "a log check needs a pattern"),
    ({"name": "api", "command": "x", "probes": [{"type": "log", "pattern": "("}]}, "probes[0].pattern"),
    ({"name": "api", "command": "x", "probes": [{"type": "tcp"}]}, 'needs a port: "port": 8080'),
    ({"name": "api", "command": "x", "probes": [{"type": "http", "endpoint": "/up"}]}, 'needs a port: "port": 8080'),
    ({"name": "api", "command": "x", "probes": [{"type": "tcp", "endpoint": "db"}]}, "HOST:PORT"),
    ({"name": "api", "command": "x", "probes": [{"type": "tcp", "endpoint": "1", "interval": 0}]}, "out of range"),
    ({"name": "api", "command": "x", "probes": [{"type": "tcp", "endpoint": "1", "interval": "1ms"}]}, "out of range"),
    ({"name": "api", "command": "x", "probes": [{"type": "tcp", "endpoint": "1", "retries": 0}]}, "out of range"),
    ({"name": "api", "command": "x", "probes": [{"type": "log", "pattern": "x", "purpose": "liveness"}]}, "startup"),
    ({"name": "api", "command": "x", "mcp": {"transport": "http", "url": "http://x/mcp"}}, '"kind": "mcp"'),
]


@pytest.mark.parametrize(("given", "told"), WRONG, ids=lambda value: str(value)[:60])
def test_mistakes_name_the_field_and_what_to_write(given: Any, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_spec(given)
    text = f"{caught.value.what} {caught.value.meaning}"
    assert told in text
    assert caught.value.fix
    assert caught.value.detail["mistakes"]
    assert SECRET not in f"{text} {caught.value.detail}"


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(InvalidInput, match="the definition of api has 3 mistakes") as caught:
        parse_spec({"name": "api", "command": "x", "port": "a", "cwd": "b", "nmae": 1})
    assert len(caught.value.detail["mistakes"]) == 3


_ODD: list[Any] = [1, None, "x", {}, [], [1], {"a": 1}, True, 1.5, [[]], [None]]
_GOOD: dict[str, Any] = {
    "health_check": {"type": "tcp", "endpoint": "1"}, "probes": [{"type": "tcp", "endpoint": "1"}], "kind": "mcp",
    "mcp": {"transport": "stdio"}, "restart": "always", "auto_restart": True, "args": ["x"], "command": "x",
    "depends_on": ["db"], "env": {"A": "1"}, "port": 1, "limits": {"memory": 1}, "name": "api",
}  # fmt: skip


@pytest.mark.parametrize("one", _GOOD)
def test_two_odd_fields_together_are_no_defect(one: str) -> None:
    """Short forms are put together before anything is checked."""
    for other in _GOOD:
        for left in [*_ODD, _GOOD[one]]:
            for right in [*_ODD, _GOOD[other]]:
                with suppress(InvalidInput):
                    parse_spec({"name": "api", "command": "x", one: left, other: right})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = st.sampled_from([*ServiceSpec.model_fields, "args", "health_check", "auto_restart", "nonsense"])


@settings(max_examples=150)
@given(st.dictionaries(_FIELDS, _JSON, max_size=6))
def test_whatever_is_written_is_read_or_told_to_be_wrong(given: dict[str, Any]) -> None:
    with suppress(InvalidInput):  # anything else would be a traceback
        parse_spec({"name": "api", "command": "x", **given})
