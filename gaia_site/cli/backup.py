"""`gaia backup …`, `gaia env reset` and `gaia env repair-database`."""

from __future__ import annotations

import json
from argparse import Namespace
from datetime import datetime
from typing import Any

from common.durations import format_duration
from common.errors import GaiaError, InvalidInput, NotFound, Unavailable
from gaia_site.cli import pictures
from gaia_site.cli.ground import confirm, forget_schema, load, ready, say

_UNITS = ("bytes", "kB", "MB", "GB", "TB")
_SHOWN_TABLES = 15
_ICONS = {"verified": "ready", "taking": "creating", "deleted": "stopped"}  # whose they look like


def take(arguments: Namespace) -> int:
    """Take backups. Returns: the exit code."""
    if not (arguments.environment or arguments.all or arguments.gaia):
        raise InvalidInput(
            "it was not said of what", meaning="Nothing was done.", fix="Say gaia backup take --all, dev1, or --gaia."
        )
    if arguments.all and arguments.environment:
        raise InvalidInput(
            f"--all and {arguments.environment} say different things",
            meaning="Nothing was done.",
            fix="Say one of them.",
        )
    ready()
    from environments.actions import backup_rounds, backups, stages
    from environments.actions.databases import every_stage

    if arguments.all:
        return _take_many(arguments, every_stage(), own=True)
    if not arguments.environment:
        return _told_taken(arguments, [backup_rounds.describe(backups.take_backup(None))])
    environment = stages.find_environment(arguments.environment, arguments.project)
    if arguments.stage and not arguments.gaia:
        taken = backups.take_backup(stages.find_stage(environment, arguments.stage))
        return _told_taken(arguments, [backup_rounds.describe(taken)])
    chosen = [stages.find_stage(environment, arguments.stage)] if arguments.stage else every_stage([environment])
    return _take_many(arguments, chosen, own=arguments.gaia)


def _take_many(arguments: Namespace, chosen: Any, *, own: bool) -> int:
    from environments.actions import backup_rounds, backups
    from gaia_site import platform
    from gaia_site.cli.following import finish

    detached = platform.daemon_runs()
    done = finish(backup_rounds.request_backups(chosen, own=own, detached=detached), detached=detached)
    taken = [backup_rounds.describe(backups.find_backup(each["name"])) for each in done.result["taken"]]
    return _told_taken(arguments, taken)


def _told_taken(arguments: Namespace, taken: list[dict[str, Any]]) -> int:
    if arguments.json:
        print(json.dumps({"taken": taken}))
        return 0
    longest = max(len(each["name"]) for each in taken)
    for each in taken:
        print(f"{each['name']:<{longest}}  {size_told(each['size']):>9}, verified by restoring it")
    return 0


def list_(arguments: Namespace) -> int:
    """Backups, newest first; by their files when GAIA's own database cannot be read. Returns: the exit code."""
    found = _listed(arguments)
    if arguments.json:
        print(json.dumps(found))
        return 0
    if not found:
        print("No backups. Take some: gaia backup take --all")
    for each in found:
        taken = datetime.fromisoformat(each["created_at"]).astimezone()
        state = f"{pictures.icon(_ICONS.get(each['state'], each['state']))} {each['state']:<8}"
        what = each.get("problem") or each["reason"]
        print(f"{state} {each['name']:<44} {size_told(each['size']):>9}  {taken:%Y-%m-%d %H:%M}  {what}")
    return 0


def _listed(arguments: Namespace) -> list[dict[str, Any]]:
    load()
    from django.db import DatabaseError

    try:
        ready()
        return _rows(arguments)
    except (DatabaseError, Unavailable) as error:
        if arguments.environment or arguments.all:
            raise
        from environments.actions.own_database import every_file

        say(f"GAIA's own database cannot be read ({error}); these are the files. Restore it: gaia backup restore gaia")
        return every_file()


def _rows(arguments: Namespace) -> list[dict[str, Any]]:
    from environments.actions import backup_rounds, backups, stages
    from environments.models import Backup
    from environments.states import BackupState

    backups.fail_interrupted()
    rows = Backup.objects.select_related("stage__environment__project")
    if not arguments.all:
        rows = rows.exclude(state=BackupState.DELETED)
    if arguments.environment:
        environment = stages.find_environment(arguments.environment, arguments.project)
        rows = rows.filter(stage__environment__name=environment.name, stage__environment__project=environment.project)
    return backup_rounds.described(list(rows))


def show(arguments: Namespace) -> int:
    """One backup, and what restoring it would change. Returns: the exit code."""
    load()
    from environments.actions.databases import OWN_CALLED
    from environments.actions.own_database import own_backup, preview_own

    own = own_backup(arguments.name)
    if own is not None:
        shown = {"name": own.name, "of": OWN_CALLED, "reason": own.reason, "size": own.size} | preview_own(own)
    else:
        ready()
        from environments.actions import backup_rounds, backups, restores

        backup = backups.find_backup(arguments.name)
        shown = backup_rounds.describe(backup) | restores.preview(backup)
    print(json.dumps(shown) if arguments.json else "\n".join(_shown(shown)))
    return 0


def _shown(shown: dict[str, Any]) -> list[str]:
    age = format_duration(shown["age_s"])
    lines = [f"{shown['name']}: {shown['of']}, {age} old, {size_told(shown['unpacked'])}, {shown['reason']}"]
    if shown.get("problem"):
        lines.append(f"  {pictures.icon('failed')} {shown['problem']}")
    return lines + changes_told(shown)


def changes_told(shown: dict[str, Any]) -> list[str]:
    """What restoring would replace, as lines."""
    now = shown["now"]
    there = size_told(now["size"]) if now["exists"] else "not there"
    lines = [f"  replaces  {shown['target']} ({now['problem'] or there})"]
    if shown["runs"]:
        lines.append(f"  stage     runs (pid {shown['runs']['pid']}) and has to be stopped: --restart does it")
    differ = [each for each in shown["tables"] if each["now"] != each["backup"]]
    if shown["tables"] and not differ:
        lines.append(f"  rows      the same number in each of {len(shown['tables'])} tables")
    for each in differ[:_SHOWN_TABLES]:
        lines.append(f"  rows      {each['name']}: {_rows_told(each['now'])} now, {_rows_told(each['backup'])} then")
    if len(differ) > _SHOWN_TABLES:
        lines.append(f"  rows      and in {len(differ) - _SHOWN_TABLES} more tables; --json has all")
    return lines + [f"  {pictures.icon('failed')} {problem}" for problem in shown["problems"]]


def _rows_told(number: int | None) -> str:
    return "none" if number is None else str(number)


def restore(arguments: Namespace) -> int:
    """Put a backup in the place of a database. Returns: the exit code."""
    load()
    from environments.actions.own_database import own_backup

    own = own_backup(arguments.name)
    if own is not None:
        return _restore_own(arguments, own)
    ready()
    from environments.actions import restores
    from gaia_site import platform
    from gaia_site.cli.following import finish

    backup = _chosen(arguments)
    if not arguments.json:
        say("\n".join([f"Restoring {backup.name}:", *changes_told(restores.preview(backup))]))
    confirm(f"Restore {backup.name}? A backup of what is there now is taken first.", yes=arguments.yes)
    detached = platform.daemon_runs()
    done = finish(
        restores.request_restore(backup, restart=arguments.restart, detached=detached), detached=detached
    ).result
    _told_restored(arguments, done)
    return 0


def _chosen(arguments: Namespace) -> Any:
    """The backup that was named, or with --latest the newest one of a stage."""
    from environments.actions import backups, stages
    from environments.actions.databases import Database

    if not arguments.latest:
        if arguments.stage:
            raise InvalidInput(f"{arguments.stage!r} is one word too many", fix="A stage is named with --latest.")
        return backups.find_backup(arguments.name)
    environment = stages.find_environment(arguments.name, arguments.project)
    database = Database(stages.find_stage(environment, arguments.stage or "dev"))
    backup = backups.newest_of(database)
    if backup is None:
        raise NotFound(f"there is no backup of {database.called}", fix="gaia backup list shows what there is.")
    return backup


def _restore_own(arguments: Namespace, own: Any) -> int:
    from environments.actions.own_database import preview_own, record_own_restored, restore_own

    if not arguments.json:
        say("\n".join([f"Restoring {own.name}:", *changes_told(preview_own(own))]))
    confirm(f"Restore {own.name}? What happened since it was taken will be unknown to GAIA.", yes=arguments.yes)
    done = restore_own(own)
    forget_schema()  # the restored one may be older than this GAIA
    ready()
    found = record_own_restored(done)
    _told_restored(arguments, done | found)
    if not arguments.json:
        say("Start GAIA with gaia up; gaia env setup repairs what it does not know of.")
    return 0


def _told_restored(arguments: Namespace, done: dict[str, Any]) -> None:
    if arguments.json:
        print(json.dumps(done))
        return
    print(f"{done['name']} was restored into {done['of']}.")
    if done["before"]:
        print(f"  what was there: gaia backup restore {done['before']}")
    if done["salvaged"]:
        print(f"  what was there is damaged and lies in {done['salvaged']}")
    if done.get("restarted"):
        print("  its stage runs again")


def verify(arguments: Namespace) -> int:
    """Restore a backup into a scratch place once more. Returns: the exit code."""
    ready()
    from environments.actions import backup_rounds, backups
    from gaia_site import platform
    from gaia_site.cli.following import finish

    backup, detached = backups.find_backup(arguments.name), platform.daemon_runs()
    finish(backup_rounds.request_verify(backup, detached=detached), detached=detached)
    shown = backup_rounds.describe(backups.find_backup(arguments.name))
    print(json.dumps(shown) if arguments.json else f"{backup.name} is whole.")
    return 0


def delete(arguments: Namespace) -> int:
    """Delete backups. Returns: the exit code."""
    ready()
    from environments.actions import backups

    chosen = [backups.find_backup(name) for name in arguments.names]
    confirm(f"Delete {', '.join(each.name for each in chosen)}? There is no way back.", yes=arguments.yes)
    deleted = [each.name for each in chosen if backups.delete(each)]
    said = f"Deleted: {', '.join(deleted)}" if deleted else "They were deleted before."
    print(json.dumps({"deleted": deleted}) if arguments.json else said)
    return 0


def repair_database(arguments: Namespace) -> int:
    """Salvage a stage's damaged database and make it again. Returns: the exit code."""
    ready()
    from environments.actions import repair, stages
    from gaia_site import platform
    from gaia_site.cli.following import finish

    stage = stages.find_stage(stages.find_environment(arguments.name, arguments.project), arguments.stage)
    confirm(f"Make the database of {stage} again if it is damaged? Its files are salvaged first.", yes=arguments.yes)
    detached = platform.daemon_runs()
    operation = repair.request_repair(stage, restart=arguments.restart, detached=detached)
    done = finish(operation, detached=detached).result
    print(json.dumps(done) if arguments.json else "\n".join(_repaired(done)))
    return 0


def _repaired(done: dict[str, Any]) -> list[str]:
    """Exactly what was done."""
    called = done["of"][0].upper() + done["of"][1:]
    if done["made_from"] == "whole":
        return [f"{called} is whole; nothing was done."]
    made = {
        "backup": f"from its newest whole backup, {done['backup']}",
        "recovered": "from what could be read of it: there is no backup",
        "empty": "anew, empty: there is no backup, and nothing could be read",
    }[done["made_from"]]
    lines = [f"{called} was made {made}.", f"  it was      {done['was']}"]
    if done["salvaged"]:
        lines.append(f"  its files   {done['salvaged']}")
    if done["recovered"]:
        read = done["recovered"]
        rows = sum(read["tables"].values())
        lines.append(f"  readable    {rows} rows in {len(read['tables'])} tables, by {read['how']}")
        lines.append(f"              in {done['salvaged']}/recovered.sqlite3")
        lines += [f"  unreadable  {problem}" for problem in read["problems"][:5]]
    if done["restarted"]:
        lines.append("  its stage runs again")
    return lines


def reset(arguments: Namespace) -> int:
    """Put environments back to a fresh state. Returns: the exit code."""
    if bool(arguments.names) == arguments.all:
        raise InvalidInput(
            "it was not said which", meaning="Nothing was done.", fix="Say gaia env reset --all, or dev1."
        )
    ready()
    from environments.actions.reset import plan_reset, request_reset
    from gaia_site import platform
    from gaia_site.cli.following import finish

    chosen = _projects(arguments)
    plans = {project: plan_reset(project, arguments.names or None) for project in chosen}
    which = ", ".join(f"{project.name}-{name}" for project, names in plans.items() for name in names)
    if not which:
        raise NotFound("there is no environment to reset", fix="Make some: gaia env setup.")
    confirm(
        f"Reset {which}? Stages and sessions in them end; work is salvaged and databases are backed up first.",
        yes=arguments.yes,
    )
    detached, results = platform.daemon_runs(), []
    for project, names in plans.items():
        if not names:
            continue
        try:
            done = finish(request_reset(project, names, detached=detached), detached=detached)
        except GaiaError as error:
            if not arguments.json:
                _told_reset({"reset": [], "databases": [], "removed": []} | error.detail, project.name)
            raise
        results.append(done.result)
        if not arguments.json:
            _told_reset(done.result, project.name)
    if arguments.json:
        print(json.dumps({"projects": results}))
    return 0


def _projects(arguments: Namespace) -> list[Any]:
    from projects.actions import find
    from projects.models import Project

    if arguments.project or arguments.names:
        return [find(arguments.project)]
    return list(Project.objects.all())


def _told_reset(result: dict[str, Any], project: str) -> None:
    for name in result["reset"]:
        print(f"{project}-{name} is as new.")
    for each in result["databases"]:
        if each["salvaged"]:
            print(f"  {each['of']} was damaged; its files lie in {each['salvaged']}")
    backups = [each for each in result["databases"] if each["backup"]]
    if backups:
        print(f"  {len(backups)} databases were backed up. Bring one back with gaia backup restore NAME:")
        print("\n".join(f"    {each['backup']}" for each in backups))
    for each in result["removed"]:
        if each["salvage"]:
            print(f"  the work in {each['name']}: gaia env restore {each['salvage']['name']}, or without GAIA:")
            print("\n".join(f"    {line}" for line in each["salvage"]["restore_command"].splitlines()))


def size_told(size: float) -> str:
    """`1.2 MB`."""
    for unit in _UNITS[:-1]:
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} {_UNITS[-1]}"
