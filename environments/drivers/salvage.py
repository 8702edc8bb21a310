"""Brings work to safety before a checkout is removed, and back again.

Commits that the hub lacks, stashes, staged, uncommitted and untracked files are pushed to `refs/salvage/NAME-TIME/` in
the hub, checked there, and the files are also written as one patch. What git cannot hold (repositories inside the
checkout that it does not know, submodules with work of their own) goes into an archive.

    refs/salvage/NAME-TIME/heads/BRANCH    a branch with commits the hub lacks, and the one checked out
                          /tags/TAG        a tag the hub lacks
                          /detached        HEAD, when no branch is checked out
                          /other/NAME      MERGE_HEAD and the like
                          /stash/N         the stash's entries
                          /worktree        the files, see changes.py
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from common.errors import Conflict, NotFound
from common.run import run
from environments.drivers.changes import SNAPSHOT_S, commit_changes, find_changes, write_patch
from environments.drivers.checkout import MARKER
from environments.drivers.git import GitError, Repository, bare, checkout
from environments.drivers.git_locks import writing
from environments.drivers.trash import move_to_trash, purge_trash, stamp
from environments.drivers.work import SALVAGE_ROOT, Work, busy_submodules, find_tips, find_unpushed, find_work

__all__ = ["Restored", "Salvage", "Work", "find_work", "move_to_trash", "purge_trash", "restore", "salvage"]

# Work is brought to safety whatever the hub's hooks and checks say of it.
RECEIVE = "git -c core.hooksPath=/dev/null -c receive.fsckObjects=false -c transfer.fsckObjects=false receive-pack"


@dataclass(frozen=True)
class Salvage:
    """Where the work is now.

    Args:
        name: `NAME-TIME`.
        refs: what lies below `refs/salvage/NAME-TIME` in the hub → commit.
        patch: uncommitted and untracked files as a patch, None when there were none.
        archive: the nested repositories as a tar file, None when there were none.
        restore_command: lines for a shell that bring everything back with git alone.
        work: what was found.
    """

    name: str
    refs: Mapping[str, str]
    patch: Path | None
    archive: Path | None
    restore_command: str
    work: Work


@dataclass(frozen=True)
class Restored:
    """What came back.

    Args:
        branches: branches that have their commits again.
        aside: branches made beside one that has gone another way since.
        files: whether uncommitted and untracked files were put back.
        stashes: entries put back on the stash.
    """

    branches: tuple[str, ...]
    aside: tuple[str, ...]
    files: bool
    stashes: int


def salvage(path: Path, hub: Path, *, name: str, directory: Path, now: datetime | None = None) -> Salvage | None:
    """Bring all work of a checkout to safety; the checkout itself is not changed.

    Args:
        path: the checkout.
        hub: the project's bare repository.
        name: what the salvage is called; the moment is added.
        directory: where the patch and the archive go.

    Returns: where it is, None when there was nothing. When it returns, everything was found again in the hub.
    Raises: GitError, Unavailable; then nothing may be removed.
    """
    repository = checkout(path)
    changes = find_changes(repository)
    tips = find_tips(repository)
    nested = (*changes.nested, *busy_submodules(path))
    work = Work(find_unpushed(repository, hub, tips), len(changes.uncommitted), len(changes.untracked), nested)
    if not work.anything:
        return None
    with writing(bare(hub)):
        full_name = _free_name(hub, f"{name}-{stamp(now)}")
        branch = repository.text("symbolic-ref", "-q", "--short", "HEAD", check=False)
        refs = {ref: tips[ref] for ref in work.unpushed}
        patch = None
        if changes.uncommitted or changes.untracked:
            refs["worktree"] = commit_changes(repository, changes, f"GAIA salvaged {full_name}")
            patch = directory / f"{full_name}.patch"
            write_patch(repository, refs["worktree"], patch)
        base = f"heads/{branch}" if branch else "detached"
        if base in tips:  # where the files belong, even when the hub has the commit
            refs[base] = tips[base]
        archive = _archive(path, nested, directory / f"{full_name}.tar")
        _push(repository, hub, full_name, refs)
        keep_large_files(repository.git_dir, hub)
        _verify(hub, full_name, refs)
    command = _restore_command(path, hub, full_name, refs, branch, archive)
    return Salvage(full_name, refs, patch, archive, command, work)


def restore(path: Path, hub: Path, salvage_name: str, *, archive: Path | None = None) -> Restored:
    """Bring salvaged work back into a checkout: commits, stashes, uncommitted and untracked files.

    Args:
        path: a clean checkout of the same hub.
        salvage_name: `NAME-TIME`.
        archive: of nested repositories, to be unpacked.

    Raises: NotFound; Conflict when the checkout has uncommitted work, or the files do not fit onto it any more.
    """
    repository = checkout(path)
    prefix = SALVAGE_ROOT + salvage_name
    if not _refs_below(bare(hub), prefix):
        raise NotFound(
            f"there is no salvage {salvage_name!r}",
            fix=f"Salvages: git -C {shlex.quote(str(hub))} for-each-ref {SALVAGE_ROOT}",
        )
    changes = find_changes(repository)
    if changes.uncommitted or changes.untracked:
        raise Conflict(
            f"{path} has uncommitted work",
            meaning="Salvaged files could get mixed up with it, so nothing was restored.",
            fix="Commit it, or put it aside with: git stash -u",
        )
    repository.run("fetch", "-q", "--no-tags", "--", hub, f"+{prefix}/*:{prefix}/*", timeout=SNAPSHOT_S)
    refs = _refs_below(repository, prefix)
    branches, aside = _restore_branches(repository, hub, prefix, refs)
    stashes = sorted((ref for ref in refs if ref.startswith("stash/")), key=_number, reverse=True)
    for ref in stashes:
        repository.run("stash", "store", "-m", f"salvaged {salvage_name} {ref}", refs[ref])
    if "worktree" in refs:
        _restore_files(repository, path, refs["worktree"])
    if archive is not None:
        run(["tar", "-xf", archive, "-C", path], timeout=SNAPSHOT_S)
    return Restored(branches, aside, "worktree" in refs, len(stashes))


# -- storing


def _free_name(hub: Path, name: str) -> str:
    number, candidate = 1, name
    while _refs_below(bare(hub), SALVAGE_ROOT + candidate):
        number += 1
        candidate = f"{name}-{number}"
    return candidate


def _refs_below(repository: Repository, prefix: str) -> dict[str, str]:
    listed = repository.lines("for-each-ref", "--format=%(refname) %(objectname)", f"{prefix}/")
    return {line.rsplit(" ", 1)[0].removeprefix(f"{prefix}/"): line.rsplit(" ", 1)[1] for line in listed}


def _push(repository: Repository, hub: Path, name: str, refs: Mapping[str, str]) -> None:
    if refs:
        wanted = [f"{sha}:{SALVAGE_ROOT}{name}/{ref}" for ref, sha in refs.items()]
        options = ("-q", "--no-verify", "--atomic", f"--receive-pack={RECEIVE}")
        repository.run("push", *options, "--", hub, *wanted, timeout=SNAPSHOT_S)


def _verify(hub: Path, name: str, refs: Mapping[str, str]) -> None:
    """Find every ref and every object again in the hub."""
    repository = bare(hub)
    if _refs_below(repository, SALVAGE_ROOT + name) != dict(refs):
        raise GitError(f"the salvage {name} did not arrive in the hub", subcommand="push")
    if refs:
        # walks everything that is reachable and fails on the first object that is missing
        repository.run("rev-list", "--objects", "--quiet", *refs.values(), "--not", "--branches", timeout=SNAPSHOT_S)


def _archive(path: Path, nested: tuple[str, ...], file: Path) -> Path | None:
    if not nested:
        return None
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    names = [f"./{name}" for name in nested]
    if (path / ".git/modules").is_dir():  # a submodule's repository lies there
        names.append("./.git/modules")
    run(["tar", "-cf", file, "-C", path, *names], timeout=SNAPSHOT_S)
    file.chmod(0o600)
    run(["tar", "-tf", file], timeout=SNAPSHOT_S)
    return file


def keep_large_files(git_dir: Path, hub: Path) -> None:
    """Keep git-lfs's objects too, where git-lfs looks for them in a repository on the same machine."""
    objects = git_dir / "lfs/objects"
    for directory, _, files in os.walk(objects):
        place = hub / "lfs/objects" / Path(directory).relative_to(objects)
        for name in files:
            if (place / name).exists():
                continue
            place.mkdir(parents=True, exist_ok=True)
            try:
                os.link(Path(directory) / name, place / name)
            except OSError:  # another file system
                shutil.copy2(Path(directory) / name, place / f"{name}.part")
                os.replace(place / f"{name}.part", place / name)


# -- bringing back


def _restore_command(
    path: Path, hub: Path, name: str, refs: Mapping[str, str], branch: str, archive: Path | None
) -> str:
    """Shell lines that need git and nothing of GAIA; the directory is made anew when it is gone."""
    lines = [
        f"(set -e; D={shlex.quote(str(path))} H={shlex.quote(str(hub))} S={SALVAGE_ROOT}{name}",
        'test -e "$D" || git clone -q --no-checkout "$H" "$D"',
        'cd "$D"',
        *_restore_marker(path),
        'git fetch -q "$H" "+$S/*:$S/*"',
    ]
    own = shlex.quote(branch)
    if f"heads/{branch}" in refs:
        aside = shlex.quote(f"{branch}-{name}")
        lines.append(f"test -e .git/index || git checkout -q -B {own} $S/heads/{own}")
        lines.append(f"git merge -q --ff-only $S/heads/{own} || git checkout -q -b {aside} $S/heads/{own}")
    elif "detached" in refs:
        lines.append("git checkout -q --detach $S/detached")
    for ref in sorted(refs):
        kind, _, rest = ref.partition("/")
        if kind == "heads" and rest != branch:
            lines.append(f"git branch {shlex.quote(rest)} $S/{shlex.quote(ref)}")
        elif kind == "tags":
            lines.append(f"git tag {shlex.quote(rest)} $S/{shlex.quote(ref)}")
    for ref in sorted((ref for ref in refs if ref.startswith("stash/")), key=_number, reverse=True):
        lines.append(f"git stash store -m 'salvaged {name}' {refs[ref]}")
    if "worktree" in refs:
        lines.append("git stash apply -q --index $S/worktree || git stash apply -q $S/worktree")
    if archive is not None:
        lines.append(f"tar -xf {shlex.quote(str(archive))}")
    return "\n".join(lines) + ")"


def _restore_marker(path: Path) -> list[str]:
    """What makes the directory an environment's again, so that the next set-up takes it over."""
    try:
        marker = json.dumps(json.loads((path / ".git" / MARKER).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return []
    return [f"test -e .git/{MARKER} || printf '%s\\n' {shlex.quote(marker)} >.git/{MARKER}"]


def _number(ref: str) -> int:
    return int(ref.rpartition("/")[2])


def _restore_branches(
    repository: Repository, hub: Path, prefix: str, refs: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    current = repository.text("symbolic-ref", "-q", "--short", "HEAD", check=False)
    have = _refs_below(repository, "refs/heads")
    unpushed = find_unpushed(repository, hub, have)
    branches, aside = [], []
    for ref, sha in refs.items():
        kind, _, branch = ref.partition("/")
        if kind == "tags":
            repository.run("update-ref", f"refs/tags/{branch}", sha, "", check=False)
        if kind != "heads":
            continue
        old = have.get(branch, "")
        contained = bool(old) and repository.run("merge-base", "--is-ancestor", sha, old, check=False).ok
        follows = not old or repository.run("merge-base", "--is-ancestor", old, sha, check=False).ok
        # a branch made anew from a newer base has nothing of its own: it may go back to where the work was
        if contained:
            continue
        if follows or branch not in unpushed:
            _move_branch(repository, branch, sha, current)
            branches.append(branch)
        else:
            name = f"{branch}-{prefix.removeprefix(SALVAGE_ROOT)}"
            repository.run("update-ref", f"refs/heads/{name}", sha)
            aside.append(name)
    return tuple(branches), tuple(aside)


def _move_branch(repository: Repository, branch: str, sha: str, current: str) -> None:
    if branch == current:
        repository.run("reset", "-q", "--keep", sha, timeout=SNAPSHOT_S)
    else:
        repository.run("update-ref", f"refs/heads/{branch}", sha)


def _restore_files(repository: Repository, path: Path, snapshot: str) -> None:
    for options in (("--index",), ()):
        with suppress(GitError):
            repository.run("stash", "apply", "-q", *options, snapshot, timeout=SNAPSHOT_S)
            return
    raise Conflict(
        f"the salvaged files do not fit onto what {path} has now",
        meaning="The commits are back; git left conflict markers, or some files where they were.",
        fix=f"Start from where they were: git checkout -b salvaged {snapshot}^1 && git stash apply --index {snapshot}",
    )
