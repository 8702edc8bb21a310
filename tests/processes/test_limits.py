"""Limits as people write them."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidInput
from processes.limits import KEPT_BY, Limits, does, figure, kept_by


def test_as_written_and_as_kept() -> None:
    limits = Limits.parse(
        {"memory_mb": "512", "cpu_percent": 50, "run_time_s": "2h", "quiet_s": 90, "open_files": 64.0}
    )
    assert limits == Limits(512, 50.0, 7200.0, 90.0, 64)
    assert Limits.parse(limits.as_dict()) == limits
    assert Limits.parse(limits) is limits


@pytest.mark.parametrize("given", [None, {}, {"memory_mb": None}])
def test_none(given: Any) -> None:
    assert Limits.parse(given) == Limits()
    assert not Limits.parse(given)
    assert Limits.parse(given).as_dict() == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory_mb", 0), ("memory_mb", -1), ("memory_mb", 1.5), ("memory_mb", "much"), ("memory_mb", True),
        ("memory_mb", [512]), ("memory_mb", float("inf")), ("memory_mb", float("nan")), ("memory_mb", 1 << 50),
        ("cpu_percent", 0), ("cpu_percent", "half"), ("cpu_percent", float("nan")), ("cpu_percent", True),
        ("cpu_percent", 1e9), ("run_time_s", 0), ("run_time_s", "soon"), ("run_time_s", True), ("run_time_s", -3),
        ("quiet_s", "0s"), ("quiet_s", {}), ("open_files", 3), ("open_files", "3k"), ("open_files", 15),
    ],
)  # fmt: skip
def test_a_bad_one_is_named_with_what_to_write(name: str, value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        Limits.parse({name: value})
    assert name in caught.value.what
    assert caught.value.fix
    assert caught.value.detail["field"] == name


def test_an_unknown_one() -> None:
    with pytest.raises(InvalidInput, match="no limit 'memory'") as caught:
        Limits.parse({"memory": 512})
    assert "memory_mb" in caught.value.fix


def test_no_limits_at_all() -> None:
    with pytest.raises(InvalidInput, match="by name"):
        Limits.parse([512])  # type: ignore[arg-type]


def test_kept_by() -> None:
    limits = Limits(512, 50.0, 7200.0, 90.0, 64)
    assert kept_by(limits) == KEPT_BY
    assert kept_by(limits, {"memory", "cpu"}) == {**KEPT_BY, "memory_mb": "cgroup", "cpu_percent": "cgroup"}
    assert kept_by(Limits(memory_mb=1), {"cpu"}) == {"memory_mb": "sampling"}


def test_for_people() -> None:
    assert does("memory_mb", 612.4) == "uses 612 MB of memory"
    assert does("cpu_percent", 81.7) == "uses 82 % of a core"
    assert does("run_time_s", 7260) == "has run for 2 h 1 min"
    assert does("quiet_s", 2.25) == "has written nothing for 2.2 s"
    assert does("open_files", 60) == "has 60 files open"
    assert figure("memory_mb", 0.5) == "0.5 MB"
