import pytest

from common.text import plain


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]52;c;ZXZpbA==\x07after", "after"),
        ("\x1b]0;a title\x1b\\after", "after"),
        ("\x1bPq…\x1b\\after", "after"),
        ("never ended \x1b]52;c;ZXZpbA==", "never ended "),
        ("\x9b31mred", "31mred"),
        ("bell\x07 back\x08 return\r null\x00", "bell back return null"),
        ("ünï → 漢字 ✓", "ünï → 漢字 ✓"),
        ("\x1b", ""),
        ("\x1b(B text", " text"),
    ],
)
def test_only_text_is_left(written: str, shown: str) -> None:
    assert plain(written) == shown
