"""What was measured of checkouts, and the exported master configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings
from django.utils import timezone

from common.files import file_lock, write_json
from common.text import decodable
from environments.drivers.status import GitStatus
from environments.models import Environment, GitState
from environments.overview import environments_overview
from events import log

_TOLD = ("branch", "head", "ahead", "behind", "conflicts", "detached", "in_progress", "error")


def record_git(environments: Sequence[Environment], statuses: Mapping[int, GitStatus]) -> None:
    """What git says now of checkouts, and when it was asked, so that every door can show the age.

    An event tells of commits, branches, conflicts and errors, and of checkouts that got dirty or clean; not of every
    file that is saved.

    Args:
        environments: with their last snapshot (`select_related("git")`).
        statuses: by environment id.
    """
    asked = [environment for environment in environments if environment.pk in statuses]
    now = timezone.now()
    rows = {each.pk: _snapshot(each.pk, statuses[each.pk], now) for each in asked}
    fields = [field.name for field in GitState._meta.concrete_fields if field.name not in {"id", "environment"}]
    with log.atomic():
        GitState.objects.bulk_create(
            rows.values(), update_conflicts=True, unique_fields=["environment"], update_fields=fields
        )
        for environment in asked:
            old, new = getattr(environment, "git", None), rows[environment.pk]
            if old is not None and _differ(old, new):
                log.emit("git.changed", subject=environment.key, message=f"{environment.directory}: {_told(new)}")


def _snapshot(pk: int, status: GitStatus, now: Any) -> GitState:
    return GitState(
        environment_id=pk,
        branch=decodable(status.branch)[:250],
        head=status.head,
        ahead=status.ahead,
        behind=status.behind,
        staged=status.staged,
        unstaged=status.unstaged,
        untracked=status.untracked,
        conflicts=status.conflicts,
        detached=status.detached,
        in_progress=status.in_progress or "",
        error=status.error or "",
        checked_at=now,
    )


def _differ(old: GitState, new: GitState) -> bool:
    return bool(old.dirty) != bool(new.dirty) or any(getattr(old, name) != getattr(new, name) for name in _TOLD)


def _told(git: GitState) -> str:
    if git.error:
        return f"git says: {git.error}"
    moved = [f"{number} {word}" for number, word in ((git.ahead, "ahead"), (git.behind, "behind")) if number]
    dirty = f"{git.dirty} changed files" if git.dirty else "clean"
    parts = [f"{git.branch or 'no branch'} at {git.head[:9]}", *moved, dirty]
    parts += [f"{git.conflicts} in conflict"] if git.conflicts else []
    parts += [f"{git.in_progress} under way"] if git.in_progress else []
    return ", ".join(parts)


def export() -> bool:
    """Write `data/environments.json`, the master configuration for tools that read files; True when it changed."""
    path = settings.GAIA.home.data / "environments.json"
    with file_lock(settings.GAIA.home.locks / "export.lock", timeout=10, what="the exported configuration"):
        return write_json(path, {"version": 1, "environments": _exported()})


def _exported() -> list[dict[str, Any]]:
    return [
        {
            "project": each["project"],
            "name": each["name"],
            "directory": each["directory"],
            "path": each["path"],
            "branch": each["branch"],
            "stages": {
                stage["name"]: {"port": stage["port"], "url": stage["url"], "database": stage["database"]}
                for stage in each["stages"]
            },
        }
        for each in environments_overview()
    ]
