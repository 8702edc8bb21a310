from __future__ import annotations

import pytest

from common.durations import format_duration, parse_duration
from common.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5m", 300), ("1h30m", 5400), ("1h 30m", 5400), ("7d", 604800), ("250ms", 0.25), (" 2W ", 1209600),
     ("1.5h", 5400), ("12", 12), (12, 12), (0.5, 0.5), ("0", 0)],
)  # fmt: skip
def test_durations_as_people_write_them(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "soon", "5 parsecs", "-5s", "5m5", "m", "1h,30m", "٣s", -1, float("inf"), float("nan"), True]
)
def test_what_is_none(text: str | float) -> None:
    with pytest.raises(InvalidInput):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (8.9, "8 s"), (65, "1 min"), (120, "2 min"), (3600, "1 h"), (11_100, "3 h 5 min"),
     (352_800, "4 d 2 h"), (-3, "0 s"), (86_400 + 61, "1 d 1 min")],
)  # fmt: skip
def test_durations_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
