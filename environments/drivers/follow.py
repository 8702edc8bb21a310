"""Lets checkouts know what the hub has, so that ahead and behind are counted against today's default branch."""

from __future__ import annotations

from pathlib import Path

from environments.drivers.git import checkout

FETCH_S = 600.0
"""Seconds for a fetch from the hub, which lies on the same machine."""


def follow_hub(path: Path, hub: Path, *, default_branch: str, head: str, always: bool = False) -> bool:
    """Bring a checkout's remote-tracking branches up to date; its own branch, index and files stay as they are.

    Args:
        path: the checkout.
        hub: the project's bare repository.
        default_branch: the hub's; `origin/HEAD` is made to name it.
        head: the commit it is at.
        always: fetch even when that commit is known, for what other branches have.

    Returns: whether the checkout did not know that commit yet.
    Raises: GitError.
    """
    repository = checkout(path)
    tracked = f"refs/remotes/origin/{default_branch}"
    if repository.text("symbolic-ref", "-q", "refs/remotes/origin/HEAD", check=False) != tracked:
        repository.run("symbolic-ref", "refs/remotes/origin/HEAD", tracked)
    knew = repository.text("rev-parse", "-q", "--verify", tracked, check=False) == head
    if knew and not always:
        return False
    repository.run(
        "fetch", "-q", "--no-write-fetch-head", "--no-auto-maintenance", "--", hub,
        "+refs/heads/*:refs/remotes/origin/*", timeout=FETCH_S,
    )  # fmt: skip
    return not knew
