"""Whether a file lies where its name says: whoever can write into a directory can put a symlink there."""

from __future__ import annotations

from pathlib import Path


def stays_inside(directory: Path, name: str | Path) -> bool:
    """Whether a file, all symlinks followed, lies in a directory; it need not exist.

    Args:
        name: relative to the directory, or absolute.
    """
    try:
        return (directory / name).resolve().is_relative_to(directory.resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of symlinks, a name that can be none
        return False
