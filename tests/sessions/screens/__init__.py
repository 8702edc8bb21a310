"""Captures of real agents on screens of several sizes, and what each of them shows."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import yaml

HERE = Path(__file__).parent


class Shown(NamedTuple):
    """A capture's name, whose agent it shows, its pane's title, and what the agent does by which rule."""

    name: str
    provider: str
    title: str
    state: str
    rule: str


def screen(name: str) -> str:
    """A capture, as `tmux capture-pane -p` printed it."""
    return (HERE / f"{name}.txt").read_text(encoding="utf-8")


def table() -> list[Shown]:
    """All captures."""
    rows = yaml.safe_load((HERE / "table.yaml").read_text(encoding="utf-8"))
    return [Shown(**row) for row in rows]
