"""django-q entry points: short and idempotent."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from django.conf import settings

from common.errors import Conflict
from environments.actions import backup_rounds, git, git_rounds, health, https, trash
from environments.states import Verdict
from events.actor import acting_as
from processes.models import Operation
from projects.models import Project


def purge() -> int:
    """Remove checkouts whose days in the trash are over; how many there were."""
    with acting_as("jobs:purge-trash"):
        return trash.purge()


def renew_certificates() -> int:
    """Renew certificates of environments that end within 30 days; how many there were."""
    with acting_as("jobs:renew-certificates"):
        return https.renew()


def look_at_health() -> int:
    """Look at every environment and write down how it is; how many are not well."""
    with acting_as("jobs:health"):
        rows = health.monitor(confirmations=settings.GAIA["health.confirmations"])
        return sum(row.verdict != Verdict.OK for row in rows)


def forget_health() -> int:
    """Forget periods of health that are over for long; how many there were."""
    with acting_as("jobs:health-history"):
        return health.prune()


def request_backups() -> int | None:
    """Ask for the backups whose time has come; the operation's number."""
    with acting_as("jobs:backups"):
        operation = backup_rounds.request_due()
        return operation.pk if operation else None


def prune_backups() -> int:
    """Delete the backups that are not kept any longer; how many there were."""
    with acting_as("jobs:prune-backups"):
        return len(backup_rounds.prune())


def drop_snapshots() -> int:
    """Forget the snapshots that the settings do not keep any longer; how many there were."""
    with acting_as("jobs:drop-snapshots"):
        return sum(len(git.drop_old_snapshots(project)) for project in Project.objects.all())


def weekly_sync() -> list[int]:
    """Ask for a sync of every project; the operations' numbers. Merging is for people, unless the settings say so."""
    merges = settings.GAIA["environments.weekly_sync_merges"]
    with acting_as("jobs:weekly-sync"):
        return _ask_each(lambda project: git_rounds.request_sync(project, merges=merges))


def monthly_clean() -> list[int]:
    """Ask for merged branches to be deleted in every project; the operations' numbers."""
    with acting_as("jobs:monthly-clean"):
        return _ask_each(git_rounds.request_clean_branches)


def _ask_each(request: Callable[[Project], Operation]) -> list[int]:
    """Ask for it in every project that nobody works on just now."""
    asked = []
    for project in git_rounds.projects_with_environments():
        with suppress(Conflict):  # next time
            asked.append(request(project).pk)
    return asked
