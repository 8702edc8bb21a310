"""What one commit did, and what a snapshot holds: differences that need no checkout to be looked at."""

from __future__ import annotations

from common.errors import NotFound
from common.text import decodable, plain
from environments.drivers.git import Repository
from environments.drivers.history import DIFF_S, Diff, read_diff

_SHOW = (
    "show", "--format=", "--patch", "-m", "--first-parent", "--no-ext-diff", "--no-textconv", "--no-color",
    "--find-renames", "--src-prefix=a/", "--dst-prefix=b/",
)  # fmt: skip


def commit_diff(repository: Repository, commit: str) -> Diff:
    """What a commit changed against its first parent; the first commit of all adds everything.

    Args:
        repository: a checkout or a bare repository that has the commit.
        commit: a commit, branch or tag.

    Raises: NotFound.
    """
    sha = _sha(repository, commit)
    text = repository.run(*_SHOW, sha, "--", timeout=DIFF_S).stdout
    files, left_out = read_diff(text)
    return Diff(commit, tuple(files), left_out, ())


def snapshot_diff(hub: Repository, commit: str) -> Diff:
    """What a snapshot holds that was in no commit; its untracked files are only named.

    Args:
        hub: the project's bare repository.
        commit: of the snapshot, in the shape of a stash entry: its third parent has the untracked files.
    """
    found = commit_diff(hub, commit)
    listed = hub.run("ls-tree", "-r", "-z", "--name-only", f"{commit}^3", timeout=DIFF_S, check=False)
    names = [name for name in listed.stdout.split("\0") if name] if listed.ok else []
    return Diff(commit, found.files, found.left_out, tuple(_shown(name) for name in names))


def _sha(repository: Repository, commit: str) -> str:
    sha = repository.text("rev-parse", "-q", "--verify", "--end-of-options", f"{commit}^{{commit}}", check=False)
    if not sha or sha.startswith("^"):
        raise NotFound(f"there is no commit {commit!r} here", fix="gaia env git log shows which there are.")
    return sha


def _shown(name: str) -> str:
    return plain(decodable(name))
