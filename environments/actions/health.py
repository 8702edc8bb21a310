"""Looking at how environments are: every check of every room, side by side, and the record of what changed.

`monitor` is what doors and the schedule call. What needs the database is asked before and after; the looks themselves,
which may hang, are in threads of their own and know no models.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Max
from django.utils import timezone
from django.utils.module_loading import import_string

from environments.actions import health_record
from environments.actions.layer_facts import facts_of
from environments.drivers.checks import MB, Limits, StageFacts, Subject, check_directory, check_disk, check_record
from environments.drivers.checks_databases import check_databases
from environments.drivers.checks_git import check_git, check_hub
from environments.drivers.checks_layer import check_layer
from environments.drivers.checks_stages import check_ports, check_stages
from environments.drivers.side_by_side import HungError, Look, side_by_side
from environments.findings import Finding, not_known, well
from environments.health_overview import newest_health, sizes_a_day_ago
from environments.models import Backup, Environment, Health, Stage
from environments.overview import processes_of, stage_state
from environments.states import ENVIRONMENT_ACTIVE, ENVIRONMENT_BUSY, BackupState, EnvironmentState, Need, Verdict
from events import log
from processes.actions.harvest import is_alive
from processes.drivers import ports
from processes.models import Process

logger = logging.getLogger(__name__)

Check = Callable[[Sequence[Environment]], Mapping[int, Sequence[Finding]]]
"""A check of an upper room, named in `settings.GAIA_HEALTH_CHECKS`: environments in, findings by their ids out."""
Tell = Callable[[int, int], None]

_CHECKS: tuple[tuple[str, Callable[[Subject], list[Finding]]], ...] = (
    ("environment", check_record),
    ("directory", check_directory),
    ("git", check_git),
    ("hub", check_hub),
    ("stages", check_stages),
    ("ports", check_ports),
    ("layer", check_layer),
    ("databases", check_databases),
    ("disk", check_disk),
)
CHECK_S = 10.0
"""Seconds one check of one environment may take."""
ALL_S = 20.0
"""Seconds a look at all environments may take: a job is ended after 30."""
_WORKERS = 8
_YOUNG = timedelta(days=1)


def monitor(
    environments: Iterable[Environment] | None = None,
    *,
    confirmations: int = 1,
    tell: Tell = lambda done, total: None,
) -> list[Health]:
    """Look at environments and write down how they are; an event tells of every change.

    Args:
        environments: default all that are neither being made nor removed.
        confirmations: how often in a row something that may pass must be seen before it makes a verdict worse; 1 for
            whoever asks now and wants to know what is seen now.
        tell: called with how many looks are done, and of how many.

    Returns: what is on record of each now, worst first.
    """
    chosen = [each for each in fresh(environments) if each.state not in ENVIRONMENT_BUSY]
    looked_at = timezone.now()
    found = check_environments(chosen, tell=tell)
    return health_record.record(chosen, found, confirmations=confirmations, looked_at=looked_at)


def live() -> list[Environment]:
    """Every environment there is."""
    return list(Environment.objects.filter(state__in=ENVIRONMENT_ACTIVE).select_related("project"))


def fresh(environments: Iterable[Environment] | None) -> list[Environment]:
    """The rows as they are now, with projects and stages: whoever asks may hold old ones. Two queries."""
    rows = Environment.objects.select_related("project", "layer").prefetch_related("stages")
    if environments is None:
        return list(rows.filter(state__in=ENVIRONMENT_ACTIVE))
    return list(rows.filter(pk__in=[each.pk for each in environments]))


def check_environment(environment: Environment) -> list[Finding]:
    """What every check says of one environment now; nothing is written."""
    return check_environments(fresh([environment]))[environment.pk]


def check_environments(
    environments: Sequence[Environment], *, tell: Tell = lambda done, total: None
) -> dict[int, list[Finding]]:
    """What every check says of environments now, by their ids; nothing is written and nothing raised.

    A check that hangs or fails is `unknown`, with the reason.

    Args:
        environments: with their projects and stages.
    """
    subjects = _subjects(environments)
    looks = [Look((one.path, name), _bound(check, one)) for one in subjects.values() for name, check in _CHECKS]
    names = [(pk, name) for pk in subjects for name, _ in _CHECKS]
    results = side_by_side(looks, workers=_WORKERS, timeout=CHECK_S, deadline=ALL_S, tell=tell)
    found: dict[int, list[Finding]] = {each.pk: [] for each in environments}
    for (pk, name), result in zip(names, results, strict=True):
        found[pk] += [_failed(name, result)] if isinstance(result, Exception) else result
    for name, check in [("backups", _check_backups), *_upper_checks()]:
        for pk, more in _asked(name, check, environments).items():
            found[pk] += more
    return found


def drift(environments: Iterable[Environment] | None = None) -> list[dict[str, Any]]:
    """What of environments is not as their layer says, looked at now; nothing is written.

    Args:
        environments: default all.

    Returns: `{environment, layer, findings}` of each; without findings it is as its layer says.
    """
    chosen = [each for each in fresh(environments) if each.state not in ENVIRONMENT_BUSY]
    subjects = _subjects(chosen)
    looks = [Look((one.path, "layer"), _bound(check_layer, one)) for one in subjects.values()]
    results = side_by_side(looks, workers=_WORKERS, timeout=CHECK_S, deadline=ALL_S, tell=lambda done, total: None)
    told = []
    for each, result in zip(chosen, results, strict=True):
        found = [_failed("layer", result)] if isinstance(result, Exception) else result
        bad = [finding.as_dict() for finding in found if finding.verdict != Verdict.OK]
        told.append({"environment": each.directory, "layer": each.layer_name, "findings": bad})
    return told


def _bound(check: Callable[[Subject], list[Finding]], one: Subject) -> Callable[[], list[Finding]]:
    return lambda: check(one)


def _failed(name: str, error: Exception) -> Finding:
    if isinstance(error, HungError):
        return not_known(name, str(error), fix="Does the disk answer? Look with: dmesg | tail")
    logger.error("the health check %s failed", name, exc_info=error)
    return not_known(name, f"the check itself failed: {type(error).__name__}: {error}")


def _upper_checks() -> list[tuple[str, Check]]:
    return [(path.rpartition(".check_")[2], import_string(path)) for path in settings.GAIA_HEALTH_CHECKS]


def _asked(name: str, check: Check, environments: Sequence[Environment]) -> Mapping[int, Sequence[Finding]]:
    try:
        return check(environments)
    except Exception as error:  # one room's trouble must not hide what the others found
        return {each.pk: [_failed(name, error)] for each in environments}


def _subjects(environments: Sequence[Environment]) -> dict[int, Subject]:
    processes = processes_of(environments)
    before = newest_health(environments)
    limits = _limits()
    running = [stage.port for each in environments for stage in each.stages.all() if _is_active(processes, stage)]
    layers = facts_of(environments)
    heard = ports.listeners(running) if running else {}
    return {
        each.pk: Subject(
            directory=each.directory,
            path=Path(each.path),
            branch=each.branch,
            project=each.project.name,
            hub=each.project.hub,
            stages=tuple(_facts(stage, processes.get(stage.owner)) for stage in each.stages.all()),
            damage=each.problem if each.state == EnvironmentState.DAMAGED else "",
            limits=limits,
            authority=settings.GAIA.home.ca / "ca.pem",
            sizes_before=sizes_a_day_ago(before.get(each.pk)),
            listeners=heard,
            layer=layers[each.pk],
        )
        for each in environments
    }


def _is_active(processes: Mapping[str, Process], stage: Stage) -> bool:
    return stage.owner in processes and processes[stage.owner].active


def _facts(stage: Stage, process: Process | None) -> StageFacts:
    since = process and (process.started_at if process.active else process.ended_at)
    return StageFacts(
        name=stage.name,
        called=stage.called,
        port=stage.port,
        url=stage.url,
        database=stage.database,
        state=stage_state(process),
        since=(timezone.now() - since).total_seconds() if since else 0.0,
        alive=process is not None and process.active and is_alive(process),
        pid=(process and process.pid) or 0,
        token=process.token if process else "",
        problem=_ended(process),
    )


def _ended(process: Process | None) -> str:
    if process is None or process.problem:
        return process.problem if process else ""
    return "" if process.exit_code is None else f"it ended with exit code {process.exit_code}"


def _limits() -> Limits:
    config = settings.GAIA
    return Limits(
        behind=config["health.behind"],
        uncommitted_days=config["health.uncommitted_days"],
        disk_warning=config["health.disk_warning_mb"] * MB,
        disk_failed=config["health.disk_failed_mb"] * MB,
        largest_database=config["health.database_mb"] * MB,
        growth=config["health.growth_mb"] * MB,
    )


def _check_backups(environments: Sequence[Environment]) -> dict[int, list[Finding]]:
    """Every database has a verified backup that is not too old; a young environment need not have one yet."""
    verified = Backup.objects.filter(stage__environment__in=environments, state=BackupState.VERIFIED)
    newest = dict(verified.values("stage").annotate(newest=Max("created_at")).values_list("stage", "newest"))
    now = timezone.now()
    return {
        each.pk: _backups_of(each, {one.name: newest.get(one.pk) for one in each.stages.all()}, now)
        for each in environments
    }


def _backups_of(environment: Environment, newest: Mapping[str, datetime | None], now: datetime) -> list[Finding]:
    days = settings.GAIA["health.backup_days"]
    never = [name for name, at in newest.items() if at is None]
    old = [name for name, at in newest.items() if at is not None and now - at > timedelta(days=days)]
    found = []
    needed = Need.BACKUPS in environment.layer.needs
    if never and (needed or now - environment.created_at > _YOUNG):
        found.append(_no_backup(environment, never, "never", "no verified backup"))
    if old:
        found.append(_no_backup(environment, old, "old", f"no verified backup of the last {days} days"))
    if found or never:
        return found
    return [well("backups", "every database has a verified backup")]


def _no_backup(environment: Environment, stages: Sequence[str], fault: str, what: str) -> Finding:
    has = "database has" if len(stages) == 1 else "databases have"
    told = f"{environment.directory}: the {', '.join(stages)} {has} {what}"
    meaning = "What is in there cannot be brought back when it is damaged."
    needed = Need.BACKUPS in environment.layer.needs
    verdict = Verdict.FAILED if needed else Verdict.WARNING
    meaning += f" Layer {environment.layer.name} stands on backups." if needed else ""
    return Finding("backups", verdict, told, meaning, f"gaia backup take {environment.directory}", fault)


def prune() -> int:
    """Forget periods that ended longer ago than `health.history_days`; how many. The newest of each stays."""
    before = timezone.now() - timedelta(days=settings.GAIA["health.history_days"])
    newest = Health.objects.values("environment").annotate(newest=Max("id")).values("newest")
    with log.atomic():
        old = Health.objects.filter(checked_at__lt=before).exclude(id__in=newest)
        number, _ = old.delete()
        if number:
            told = f"{number} periods of environments' health older than {before:%Y-%m-%d} were forgotten"
            log.emit("health.pruned", subject="health", message=told, periods=number)
    return number
