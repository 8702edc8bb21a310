"""Lets checkouts know what the hub has, so that ahead and behind are counted against today's default branch."""

from __future__ import annotations

from pathlib import Path

from environments.drivers.git import GitError, checkout
from environments.drivers.git_locks import again_when_overtaken, run_patiently

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
        run_patiently(repository, "symbolic-ref", "refs/remotes/origin/HEAD", tracked, timeout=FETCH_S)
    knew = repository.text("rev-parse", "-q", "--verify", tracked, check=False) == head
    if knew and not always:
        return False
    words = (
        "fetch", "-q", "--no-write-fetch-head", "--no-auto-maintenance", "--", hub,
        "+refs/heads/*:refs/remotes/origin/*",
    )  # fmt: skip
    # an agent fetches whenever it likes: the two may meet
    fetched = again_when_overtaken(lambda: run_patiently(repository, *words, timeout=FETCH_S, check=False))
    if not fetched.ok:
        raise GitError(f"{path.name} cannot fetch from the hub", subcommand="fetch", stderr=fetched.stderr)
    return not knew
