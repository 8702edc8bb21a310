from __future__ import annotations

import pytest

from common.redaction import mask_cut, mask_url, mask_values


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("https://me:secret@host/x.git", "https://me:***@host/x.git"),
        ("postgresql://gaia:pa%40ss@db:5432/gaia", "postgresql://gaia:***@db:5432/gaia"),
        ("clone of https://abcdefghijklmnopqrstuvwxyz@host/x failed", "clone of https://***@host/x failed"),
        ("two: http://a:b@c/ and ssh://d:e@f/", "two: http://a:***@c/ and ssh://d:***@f/"),
        ("https://:token@host/", "https://:***@host/"),
        ("git@host:project.git", "git@host:project.git"),
        ("https://host/path?a=b@c", "https://host/path?a=b@c"),
        ("no address at all", "no address at all"),
    ],
)
def test_passwords_in_addresses_are_masked(text: str, masked: str) -> None:
    assert mask_url(text) == masked


@pytest.mark.parametrize(
    ("text", "values", "masked"),
    [
        ("key=hunter2!", ["hunter2"], "key=***!"),
        ("hunter2 hunter22", ["hunter2", "hunter22"], "*** ***"),
        ("-----\nMIIE\n-----", ["-----\nMIIE\n-----"], "***"),
        ("only MIIE of it", ["-----\nMIIE\n-----"], "only *** of it"),
        ("a(b", ["(", "a(b"], "a(b"),
        ("a(b)", ["a(b)"], "***"),
        ("nothing of it", [], "nothing of it"),
        ("http://a:b@c/ and key1", ["key1"], "http://a:***@c/ and ***"),
    ],
)
def test_values_are_masked(text: str, values: list[str], masked: str) -> None:
    assert mask_values(text, values) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("it said swordf…", "it said ***…"),
        ("'key is swordf…' and swordf", "'key is ***…' and swordf"),
        ("it said swo…", "it said swo…"),
        ("it said shark…", "it said shark…"),
        ("swordfish-4711…", "swordfish-4711…"),
        ("swordf", "swordf"),
    ],
)
def test_what_is_left_of_a_value_that_was_cut_is_masked(text: str, masked: str) -> None:
    """Whole ones are the other function's."""
    assert mask_cut(text, ["swordfish-4711"]) == masked
