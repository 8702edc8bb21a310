"""Passing on what was pushed to the hub: to the source's branch of the same name, when the project wants that."""

from __future__ import annotations

from pathlib import Path

from common.errors import Conflict
from environments.drivers.gaia_yaml import NAMES, read_publish
from environments.drivers.git import GitError, bare
from environments.drivers.git_locks import run_patiently
from environments.drivers.source import Source


def says_publish(hub: Path, default_branch: str) -> bool:
    """Whether gaia.yaml says `publish: true` on the hub's default branch; what a checkout's own says does not count.

    Raises: InvalidInput for a gaia.yaml with a mistake, with its line.
    """
    for name in NAMES:
        text = bare(hub).run("show", f"refs/heads/{default_branch}:{name}", check=False)
        if text.ok:
            return read_publish(text.stdout, name=name)
    return False


def publish(hub: Path, source: Source, branch: str, *, timeout: float, force: bool = False) -> bool:
    """Push a branch of the hub to the source.

    Args:
        branch: never a protected one; the caller has seen to that.
        timeout: seconds.
        force: replace what the source has, if that is what the hub last saw there.

    Returns: whether the source did not have it yet.
    Raises: Conflict when the source has commits the hub lacks; GitError.
    """
    repository = bare(hub)
    mirror = repository.text("rev-parse", "-q", "--verify", f"refs/remotes/source/{branch}", check=False)
    tip = repository.text("rev-parse", "--verify", f"refs/heads/{branch}")
    if mirror == tip:
        return False
    lease = [f"--force-with-lease=refs/heads/{branch}:{mirror}"] if force else []
    wanted = f"refs/heads/{branch}:refs/heads/{branch}"
    tried = repository.run("push", "-q", *lease, "--", source.path or source.url, wanted, timeout=timeout, check=False)
    if tried.ok:
        run_patiently(repository, "update-ref", f"refs/remotes/source/{branch}", tip, timeout=timeout)
        return True
    if "[rejected]" in tried.stderr or "[remote rejected]" in tried.stderr:
        raise Conflict(
            f"the source does not take {branch}",
            meaning=tried.stderr.strip() + "\nIt is in the hub.",
            fix="Sync, then push again.",
        )
    raise GitError(f"{branch} was not published", subcommand="push", stderr=tried.stderr)
