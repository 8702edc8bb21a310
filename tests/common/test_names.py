from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InvalidInput
from common.names import check_name, slugify


@pytest.mark.parametrize("name", ["dev1", "a", "A-b_c", "7", "x" * 64])
def test_good_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "proposal"),
    [("two words", "two-words"), ("..", ""), ("../etc", "etc"), ("a:b", "a-b"), ("a.b", "a-b"), ("-x", "x"),
     ("_x", "x"), ("", ""), ("x" * 65, "x" * 64), ("Über", "Uber"), ("a/b", "a-b"), ("a\n", "a"), ("日本", "")],
)  # fmt: skip
def test_bad_names_come_with_a_proposal(name: str, proposal: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_name(name, what="session name")
    assert caught.value.what == f"{name!r} is not a valid session name"
    assert caught.value.fix == (f"Use {proposal!r}." if proposal else "Choose another name.")


@settings(deadline=None)
@given(st.text())
def test_a_slug_is_a_name_or_nothing(text: str) -> None:
    slug = slugify(text)
    assert slug == "" or check_name(slug) == slug
