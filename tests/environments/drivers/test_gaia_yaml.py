"""Reading gaia.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import InvalidInput
from environments.drivers.gaia_yaml import MAX_BYTES, read


def write(path: Path, text: str, name: str = "gaia.yaml") -> None:
    (path / name).write_text(text)


def test_without_a_file_the_placeholder_runs_and_says_what_to_do(tmp_path: Path) -> None:
    command = read(tmp_path)
    assert command.source == "default"
    assert "placeholder.py" in command.command
    assert "no gaia.yaml" in command.message
    assert command.health_path == "/health"


@pytest.mark.parametrize("name", ["gaia.yaml", "gaia.yml"])
def test_command_and_health(tmp_path: Path, name: str) -> None:
    write(tmp_path, "command: run --port $PORT  # here\nhealth: /up?full=1\n", name)
    command = read(tmp_path, "qa")
    assert (command.command, command.health_path, command.source) == ("run --port $PORT", "/up?full=1", "gaia.yaml")


def test_a_stage_overrides_what_the_top_says(tmp_path: Path) -> None:
    write(
        tmp_path,
        "command: top\nhealth: /top\nenv: {LEVEL: info, WORKERS: 2, DEBUG: yes}\n"
        "stages:\n  qa:\n    command: |\n      first\n      second\n    env: {LEVEL: warning}\n"
        "  staging: {health: /s}\n",
    )
    dev, qa, staging = (read(tmp_path, stage) for stage in ("dev", "qa", "staging"))
    assert (dev.command, dev.health_path, dict(dev.env)) == (
        "top",
        "/top",
        {"LEVEL": "info", "WORKERS": "2", "DEBUG": "yes"},
    )
    assert (qa.command, qa.health_path, qa.env["LEVEL"], qa.env["WORKERS"]) == (
        "first\nsecond\n",
        "/top",
        "warning",
        "2",
    )
    assert (staging.command, staging.health_path) == ("top", "/s")


def test_only_one_stage_has_a_command(tmp_path: Path) -> None:
    write(tmp_path, "stages: {qa: {command: x}}")
    assert read(tmp_path, "qa").command == "x"
    with pytest.raises(InvalidInput, match="no command for stage dev"):
        read(tmp_path, "dev")


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("command: a\n\ncomand: b\n", 3, "Did you mean command?"),
        ("command: a\nport: 80\n", 2, "Known: command"),
        ("command: a\nhealth: up\n", 2, "/health"),
        ("command: a\nhealth: '/a b'\n", 2, "/health"),
        ("command: [a, b]\n", 1, "command: python"),
        ("command: ''\n", 1, "command: python"),
        ("command: a\ncommand: b\n", 2, "Keep one"),
        ("- a\n- b\n", 1, "command: python"),
        ("command: a\nenv: [A]\n", 2, "command: python"),
        ("command: a\nenv: {PORT: 1}\n", 2, "Remove it"),
        ("command: a\nenv: {GAIA_X: 1}\n", 2, "Remove it"),
        ("command: a\nenv: {'A-B': 1}\n", 2, "letters, digits"),
        ("command: a\nenv:\n  A: {b: c}\n", 3, "quotes"),
        ("command: a\nstages:\n  qa:\n    helth: /x\n", 4, "Did you mean health?"),
        ("command: a\nstages: {qa: run}\n", 2, "command: python"),
        ("command: &x a\nhealth: *x\n", 2, "Write the value out"),
        ("command: 'a\n", 2, "command: python"),
        ("command: a\n\tb: c\n", 2, "command: python"),
        ("? [a]\n: b\n", 1, "command: python"),
    ],
)
def test_mistakes_are_told_with_line_and_hint(tmp_path: Path, text: str, line: int, hint: str) -> None:
    write(tmp_path, text)
    with pytest.raises(InvalidInput) as raised:
        read(tmp_path)
    assert raised.value.what.startswith(f"gaia.yaml:{line}:")
    assert raised.value.detail["line"] == line
    assert hint in raised.value.fix


def test_a_mistake_in_another_stage_shows_at_once(tmp_path: Path) -> None:
    write(tmp_path, "command: a\nstages: {staging: {healt: /x}}")
    with pytest.raises(InvalidInput, match="healt"):
        read(tmp_path, "dev")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"# nothing\n",
        b"\xff\xfe\x00",
        b"a: b\0",
        b"command: a\n" + b"#" * MAX_BYTES,
        b"[" * 60_000,
        b"---\na: b\n---\n",
    ],
    ids=["empty", "comment", "not text", "nul", "huge", "deep", "two documents"],
)
def test_files_that_cannot_be_read(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "gaia.yaml").write_bytes(data)
    with pytest.raises(InvalidInput) as raised:
        read(tmp_path)
    assert raised.value.what.startswith("gaia.yaml")
    assert raised.value.fix


def test_a_tag_that_would_make_an_object_is_only_text(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    write(tmp_path, f'command: !!python/object/apply:os.system ["touch {touched}"]\n')
    with pytest.raises(InvalidInput):
        read(tmp_path)
    assert not touched.exists()
