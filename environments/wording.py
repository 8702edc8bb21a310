"""Words that several doors say."""

from __future__ import annotations


def so_many(number: int) -> str:
    """`1 environment`, `5 environments`."""
    return f"{number} environment" if number == 1 else f"{number} environments"
