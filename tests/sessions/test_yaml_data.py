"""Data files: mistakes are found, named with file and line, and never executed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from common.errors import InvalidInput
from sessions.yaml_data import read_yaml, validate


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    sizes: list[int] = []


def refused(tmp_path: Path, text: str | bytes) -> InvalidInput:
    path = tmp_path / "data.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(InvalidInput) as error:
        validate(read_yaml(path), Model)
    assert error.value.what.startswith(f"{path}:")
    assert error.value.fix
    return error.value


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("", 1, "keys and values"),
        ("- a\n- b\n", 1, "keys and values"),
        ("name: [\n", 2, "node content"),
        ("name: a\n\tb: c\n", 2, "tab"),
        ("name: a\nsizes:\n  - 1\n  - two\n", 4, "sizes.1"),
        ("name: a\n\ncolour: red\n", 3, "there is no key colour"),
        ("sizes: [1]\n", 1, "name is missing"),
        ("name: a\nname: b\n", 2, "stands here twice"),
        ("name: 12\n", 1, "string"),
        ("x: &x a\nname: *x\n", 2, "alias"),
        ("base: &b {name: a}\n<<: *b\n", 2, "alias"),
        ("<<: {name: a}\n", 1, "plain word"),
        ("? [a, b]\n: c\n", 1, "plain word"),
        ("name: !!python/object/apply:os.system ['true']\n", 1, "python"),
        ("name: !!python/name:os.system\n", 1, "python"),
        ("name: !ours a\n", 1, "!ours"),
        ("name: a\n---\nname: b\n", 2, "document"),
        (b"name: \xff\xfe\n", 1, ""),
        ("name: " + "[" * 200 + "]" * 200 + "\n", 1, "deep"),
        ("name:\n " + "[" * 500_000, 2, ""),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, text: str | bytes, line: int, what: str) -> None:
    error = refused(tmp_path, text)
    assert what in error.what
    assert error.detail["line"] == line


def test_a_billion_laughs_are_not_laughed(tmp_path: Path) -> None:
    bomb = "a: &a [x]\n" + "".join(
        f"{b}: &{b} [*{a},*{a},*{a},*{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert "alias" in refused(tmp_path, bomb).what


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_a_file_that_cannot_be_read_is_said(tmp_path: Path, make: object) -> None:
    make(tmp_path / "none.yaml")  # type: ignore[operator]
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_yaml(tmp_path / "none.yaml")


def test_a_file_that_is_no_such_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    with path.open("wb") as file:
        os.truncate(file.fileno(), 2_000_000)
    with pytest.raises(InvalidInput, match="larger"):
        read_yaml(path)


def test_what_is_right_is_read(tmp_path: Path) -> None:
    path = tmp_path / "data.yaml"
    path.write_text("# a comment\nname: 'é: #1'\nsizes: [1, 2]\n")
    assert validate(read_yaml(path), Model) == Model(name="é: #1", sizes=[1, 2])
