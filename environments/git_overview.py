"""What every door shows of git: plain data."""

from __future__ import annotations

from typing import Any

from common.text import decodable
from environments.drivers.history import Commit, Diff, FileDiff
from environments.drivers.snapshots import Snapshot
from environments.drivers.status import GitStatus
from environments.models import Environment


def describe_status(environment: Environment, found: GitStatus) -> dict[str, Any]:
    """What git says of an environment."""
    return {
        "environment": environment.directory,
        "project": environment.project.name,
        "path": environment.path,
        "branch": decodable(found.branch),
        "head": found.head,
        "upstream": found.upstream,
        "ahead": found.ahead,
        "behind": found.behind,
        "staged": found.staged,
        "unstaged": found.unstaged,
        "untracked": found.untracked,
        "conflicts": found.conflicts,
        "conflict_files": list(found.conflict_paths),
        "dirty": found.dirty,
        "detached": found.detached,
        "in_progress": found.in_progress or "",
        "error": found.error or "",
    }


def describe_commit(commit: Commit) -> dict[str, Any]:
    """One commit."""
    return {
        "id": commit.id,
        "short": commit.short,
        "author": commit.author,
        "at": commit.at.isoformat(),
        "refs": [name.strip() for name in commit.refs.split(",") if name.strip()],
        "subject": commit.subject,
    }


def describe_snapshot(snapshot: Snapshot) -> dict[str, Any]:
    """One snapshot."""
    return {
        "name": snapshot.name,
        "environment": snapshot.name.partition("/")[0],
        "reason": decodable(snapshot.reason),
        "actor": snapshot.actor,
        "taken_at": snapshot.taken_at.isoformat(),
        "branch": decodable(snapshot.branch),
        "head": snapshot.head,
        "commit": snapshot.commit,
        "files": snapshot.files,
    }


def describe_diff(diff: Diff, *, lines: bool = True) -> dict[str, Any]:
    """A difference.

    Args:
        lines: off leaves only the files with their counts.
    """
    return {
        "against": diff.against,
        "added": diff.added,
        "removed": diff.removed,
        "files": [_describe_file(file, lines=lines) for file in diff.files],
        "left_out": diff.left_out,
        "untracked": list(diff.untracked),
    }


def _describe_file(file: FileDiff, *, lines: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "path": file.path,
        "old_path": file.old_path,
        "kind": file.kind,
        "binary": file.binary,
        "added": file.added,
        "removed": file.removed,
    }
    if not lines:
        return shown
    hunks = [
        {
            "context": hunk.context,
            "lines": [{"kind": each.kind, "old": each.old, "new": each.new, "text": each.text} for each in hunk.lines],
        }
        for hunk in file.hunks
    ]
    return {**shown, "truncated": file.truncated, "hunks": hunks}
