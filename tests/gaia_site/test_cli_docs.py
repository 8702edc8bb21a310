"""Every verb is documented with all of its flags, and tested by calling it."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.gaia_site.verbs import every_verb

ROOT = Path(__file__).resolve().parents[2]


@cache
def sections() -> dict[str, str]:
    """docs/cli.md by its headings."""
    parts = re.split(r"^###? `gaia (.+)`$", (ROOT / "docs" / "cli.md").read_text(), flags=re.MULTILINE)
    texts = [re.split(r"^## ", text, maxsplit=1, flags=re.MULTILINE)[0] for text in parts[2::2]]
    return dict(zip(parts[1::2], texts, strict=True))


@pytest.mark.parametrize("verb", every_verb(), ids=" ".join)
def test_every_verb_is_documented_with_its_flags_and_an_example(verb: tuple[str, ...]) -> None:
    section = sections()[" ".join(verb)]
    for action in every_verb()[verb]:
        for option in action.option_strings or [action.metavar or action.dest]:
            assert re.search(rf"`[^`]*(?<![\w-]){re.escape(str(option))}(?![\w-])[^`]*`", section), (
                f"{option} is not explained"
            )
    examples = "".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))
    assert f"gaia {' '.join(verb)}" in examples or f"gaia --{verb[0]}" in examples


def test_nothing_is_documented_that_there_is_not() -> None:
    assert {tuple(name.split()) for name in sections()} == set(every_verb())
    for verb, section in ((tuple(name.split()), text) for name, text in sections().items()):
        known = {option for action in every_verb()[verb] for option in action.option_strings} | {"--help"}
        known |= {"--group-status", "--multi-env-status", "--watch"}
        for option in re.findall(r"(?<![\w-])(--[a-z][a-z-]+)(?=[`, =\]|])", section):
            if verb not in {("manage",), ("test",)}:
                assert option in known, f"{verb} has no {option}"


@cache
def called() -> set[tuple[str, ...]]:
    """The words that tests call the command line with: `cli("env", "setup", …)`, `gaia("up", …)`."""
    found: set[tuple[str, ...]] = set()
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            words = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            if name in {"cli", "gaia", "start", "on_a_terminal", "bare", "used"} and words:
                found |= {tuple(words[:1]), tuple(words[:2]), tuple(words[:3])}
    return found


@pytest.mark.parametrize("verb", [verb for verb in every_verb() if verb not in {("test",), ("lock",)}], ids=" ".join)
def test_every_verb_is_called_by_a_test(verb: tuple[str, ...]) -> None:
    """`test` and `lock` are called in test_bootstrap.py, where the bootstrap is."""
    assert verb in called()
