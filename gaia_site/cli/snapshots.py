"""`gaia env snapshots`: how environments were before verbs of git that could lose work."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

from common.errors import InvalidInput
from gaia_site.cli.ground import confirm, ready, say

RESTORE = "restore"


def snapshots(arguments: Namespace) -> int:
    """List snapshots, or bring one back. Returns: the exit code."""
    if arguments.of == RESTORE:
        return _restore(arguments)
    if arguments.name or arguments.into:
        raise InvalidInput(
            "it is not clear what to do",
            meaning="Nothing was done.",
            fix="To bring one back: gaia env snapshots restore NAME",
        )
    ready()
    from environments.git_overview import describe_snapshot

    found = _listed(arguments)
    if arguments.json:
        print(json.dumps([describe_snapshot(each) for each in found]))
        return 0
    for each in found:
        branch = each.branch or f"{each.head[:10]}, detached"
        files = f", {each.files} changed file{'' if each.files == 1 else 's'}" if each.files else ""
        print(f"{each.name:<36} {each.reason}")
        print(f"    {branch}{files}; by {each.actor}")
    say(
        "Bring one back: gaia env snapshots restore NAME"
        if found
        else "No snapshots: nothing could have been lost yet."
    )
    return 0


def _listed(arguments: Namespace) -> list[Any]:
    from environments.actions import git, git_look
    from environments.actions.stages import find_environment
    from projects.actions import find
    from projects.models import Project

    if arguments.of:
        environment = find_environment(arguments.of, arguments.project)
        return git_look.newest_first(git.list_snapshots(environment.project, environment))
    projects = [find(arguments.project)] if arguments.project else list(Project.objects.all())
    return git_look.newest_first(each for project in projects for each in git.list_snapshots(project))


def _restore(arguments: Namespace) -> int:
    if not arguments.name:
        raise InvalidInput(
            "NAME is missing", meaning="Nothing was done.", fix="gaia env snapshots lists them, with their names."
        )
    ready()
    from environments.actions import git, git_look
    from environments.actions.stages import find_environment

    if arguments.into:
        environment = find_environment(arguments.into, arguments.project)
    else:
        environment = git_look.snapshot_owner(arguments.name)
    question = f"Make {environment.directory} as it was in {arguments.name}? How it is now is kept in another snapshot."
    confirm(question, yes=arguments.yes)
    told = git.restore(environment, arguments.name)
    if arguments.json:
        print(json.dumps(told.as_dict()))
        return 0
    print(told.message)
    say(f"  How it was before: gaia env snapshots restore {told.snapshot}")
    return 0
