"""Looking at a lock that another holds."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from common.locks import lock_held


def test_lock_is_seen_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not lock_held(path)
    assert not path.exists()
    with open(path, "w") as holder:
        assert not lock_held(path)
        fcntl.flock(holder, fcntl.LOCK_EX)
        assert lock_held(path)
        assert lock_held(path)  # the first look did not take it away
        with open(path) as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not lock_held(path)
