"""The hub: the project's own bare repository, between the source and the checkouts.

`refs/remotes/source/*` mirrors the source's branches. The hub's own branches follow them by fast-forward only: what was
pushed to the hub is never thrown away, a branch that went another way is reported. `env` and `env/*` belong to GAIA.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from common.errors import Conflict
from common.files import file_lock
from common.redaction import mask_url
from environments.drivers.git import GitError, Output, Progress, Repository, bare, run_git
from environments.drivers.git_locks import writing
from environments.drivers.partial import cannot_write, partial_directory, publish, remove_dead_partials
from environments.drivers.source import Source

ENVIRONMENT_BRANCHES = "env"
_HEADS, _MIRROR = "refs/heads/", "refs/remotes/source/"
_CONFIG = (
    "gc.auto=0",  # salvaged and overwritten commits stay until somebody decides
    "maintenance.auto=false",
    "receive.autogc=false",
    "receive.denyDeletes=true",
    "core.logAllRefUpdates=always",  # a forced push can be undone
    "gc.reflogExpire=never",
    "gc.reflogExpireUnreachable=never",
)
_CLOBBERED_TAG = re.compile(r"^ ! \[rejected\] +(\S+) +-> .*would clobber existing tag", re.MULTILINE)


@dataclass(frozen=True)
class HubState:
    """What the hub holds after an update.

    Args:
        default_branch: where environments start from.
        head_sha: the commit of the default branch.
        branches: the hub's branches.
        diverged: branches that the source and the hub have taken different ways; the hub's was left alone.
        moved_tags: tags that the source has moved; the hub keeps the commit it knew.
        created: whether the hub was made just now.
    """

    default_branch: str
    head_sha: str
    branches: tuple[str, ...]
    diverged: tuple[str, ...]
    moved_tags: tuple[str, ...]
    created: bool


def create_or_update_hub(source: Source, hub: Path, *, timeout: float, progress: Progress | None = None) -> HubState:
    """Make the hub when it is missing, then bring it up to date with its source.

    Args:
        source: where the project comes from; a local one is hard-linked, which takes no time and no space.
        hub: the bare repository.
        timeout: seconds for each transfer.

    Returns: what the hub holds now. A kill at any moment leaves either no hub or a working one.
    Raises: Conflict when something else lies there, GitError, Refused, Unavailable.
    """
    try:
        with file_lock(hub.parent / f".{hub.name}.lock", timeout=timeout, what=f"the hub {hub}"):
            created = _create(source, hub, timeout, progress)
            repository = bare(hub)
            with writing(repository):
                return _update(source, repository, created, timeout, progress)
    except OSError as error:
        raise cannot_write(hub.parent, error) from error


def _create(source: Source, hub: Path, timeout: float, progress: Progress | None) -> bool:
    if hub.exists():
        remove_dead_partials(hub)
        if not (hub / "HEAD").is_file() or not (hub / "objects").is_dir():
            raise Conflict(
                f"{hub} exists and is not a repository",
                meaning="It was not touched.",
                fix="Move it away and run this again.",
                path=str(hub),
            )
        return False
    with partial_directory(hub) as partial:
        built = partial / "hub"
        _clone(source, built, timeout, progress)
        repository = bare(built)
        if (built / "objects/info/alternates").exists():  # the source borrows objects: the hub must have its own
            repository.run("repack", "-a", "-d", "-q", timeout=timeout)
            (built / "objects/info/alternates").unlink()
        # the address may hold a token, and the source is given anew with every update
        repository.run("remote", "remove", "origin")
        _leave_out_environments(repository)
        publish(built, hub)
    return True


def _clone(source: Source, built: Path, timeout: float, progress: Progress | None) -> None:
    settings = [item for value in _CONFIG for item in ("-c", value)]
    place = ["clone", "--bare", "--origin", "origin", "--template=", *settings, "--progress" if progress else "--quiet"]
    origin = source.path or source.url
    try:
        run_git(*place, "--", origin, built, timeout=timeout, progress=progress)
    except GitError as error:
        if source.path is None or "--local" not in error.stderr:
            raise
        # symlinks among the objects: git does not link such a repository, only transfer from it
        shutil.rmtree(built, ignore_errors=True)
        run_git(*place, "--no-local", "--", origin, built, timeout=timeout, progress=progress)


def _leave_out_environments(repository: Repository) -> None:
    """A source may be somebody's environment itself: its `env/*` are not this hub's, the mirror has them.

    A branch that is called `env` would keep git from making `env/dev1` beside it.
    """
    refs = repository.text("for-each-ref", "--format=delete %(refname)", _HEADS + ENVIRONMENT_BRANCHES)
    if refs:
        repository.run("update-ref", "--stdin", stdin=refs + "\n")


def _update(
    source: Source, repository: Repository, created: bool, timeout: float, progress: Progress | None
) -> HubState:
    fetched = repository.run(
        "fetch", "--prune", "--no-auto-maintenance", "--progress" if progress else "--no-progress",
        # not as a refspec: then tags that only the hub has would be pruned, too
        "--no-write-fetch-head", "--tags", "--no-prune-tags", "--", source.path or source.url, f"+{_HEADS}*:{_MIRROR}*",
        timeout=timeout, progress=progress, check=False,
    )  # fmt: skip
    moved_tags = _moved_tags(fetched, source)
    refs = _refs(repository)
    mirrored = {name.removeprefix(_MIRROR): sha for name, sha in refs.items() if name.startswith(_MIRROR)}
    heads = {name.removeprefix(_HEADS): sha for name, sha in refs.items() if name.startswith(_HEADS)}
    diverged = _follow(repository, mirrored, heads)
    default = _default_branch(source, repository, mirrored, heads, timeout)
    if default not in heads:
        raise GitError(f"{mask_url(source.url)} has no branch to start from", subcommand="fetch")
    return HubState(default, heads[default], tuple(sorted(heads)), diverged, moved_tags, created)


def _moved_tags(fetched: Output, source: Source) -> tuple[str, ...]:
    tags = tuple(_CLOBBERED_TAG.findall(fetched.stderr))
    rejected = fetched.stderr.count("! [")
    if not fetched.ok and (fetched.code != 1 or rejected != len(tags) or not tags):
        raise GitError(f"{source.url} could not be fetched", subcommand="fetch", stderr=fetched.stderr)
    return tags


def _refs(repository: Repository) -> dict[str, str]:
    listed = repository.lines("for-each-ref", "--format=%(refname) %(objectname)", _HEADS, _MIRROR)
    return dict(line.rsplit(" ", 1) for line in listed)


def _follow(repository: Repository, mirrored: dict[str, str], heads: dict[str, str]) -> tuple[str, ...]:
    """Fast-forward the hub's branches; updates `heads`, returns the diverged ones."""
    diverged = []
    for branch, sha in sorted(mirrored.items()):
        old = heads.get(branch, "")
        if old == sha or _is_environments(branch) or (old and _contains(repository, old, sha)):
            continue
        # an empty old value means: must not exist; a name that collides with a directory of branches fails too
        if (old and not _contains(repository, sha, old)) or not repository.run(
            "update-ref", "-m", "from the source", _HEADS + branch, sha, old, check=False
        ).ok:
            diverged.append(branch)
        else:
            heads[branch] = sha
    return tuple(diverged)


def _is_environments(branch: str) -> bool:
    return branch.split("/")[0] == ENVIRONMENT_BRANCHES


def _contains(repository: Repository, tip: str, commit: str) -> bool:
    return repository.run("merge-base", "--is-ancestor", commit, tip, check=False).ok


def _default_branch(
    source: Source,
    repository: Repository,
    mirrored: Iterable[str],
    heads: Collection[str],
    timeout: float,
) -> str:
    """The branch HEAD names in the source, else main, master or the first one; the hub's HEAD is set to it."""
    present = repository.text("symbolic-ref", "-q", "HEAD", check=False).removeprefix(_HEADS)
    own = [branch for branch in sorted(mirrored) if not _is_environments(branch)]
    wanted = [_source_head(source, timeout), "main", "master", *own, *sorted(heads)]
    default = next((branch for branch in wanted if branch in heads), "")
    if default and present != default:
        repository.run("symbolic-ref", "HEAD", _HEADS + default)
    return default


def _source_head(source: Source, timeout: float) -> str:
    """The branch that HEAD names in the source; empty when it is detached."""
    listed = run_git("ls-remote", "--symref", "--", source.path or source.url, "HEAD", timeout=timeout).stdout
    found = re.match(rf"ref: {_HEADS}(\S+)\tHEAD", listed)
    return found[1] if found else ""
