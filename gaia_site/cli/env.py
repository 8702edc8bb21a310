"""`gaia env …`."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import GaiaError, InvalidInput, Unavailable
from environments.wording import so_many
from gaia_site.cli.ground import called_from, confirm, ready, say
from gaia_site.cli.show import look_at_environments

_STAGE_WAIT_S = 20.0


def setup(arguments: Namespace) -> int:
    """Make environments, or with --clean remove them. Returns: the exit code."""
    if arguments.clean:
        return _clean_instead(arguments)
    ready()
    from environments.actions.setup import plan_setup, request_setup
    from gaia_site.cli.following import finish, took

    plan = plan_setup(
        source=arguments.source,
        project=arguments.project,
        count=arguments.count,
        root=arguments.root,
        base_port=arguments.base_port,
        cwd=called_from(),
    )
    if arguments.source is None and arguments.project is None:
        _tell_the_other(plan.project)
    if arguments.dry_run:
        _print_plan(plan.as_dict(), as_json=arguments.json)
        return 0
    detached = _daemon_for(arguments)
    operation = request_setup(plan, detached=detached)
    if arguments.detach:
        return _left_to_the_daemon(operation, arguments)
    done = finish(operation, detached=detached)
    if arguments.json:
        print(json.dumps(done.result))
    else:
        _told_setup(done.result, plan.as_dict(), took(done))
    return 0


def _tell_the_other(project: str) -> None:
    """Somebody who stands in another repository than the registered project may have meant that one."""
    from environments.actions.sources import stood_beside

    beside = stood_beside(project, called_from())
    if beside is not None:
        say(f"This is about the registered project {project}. For {beside}: gaia env setup --source {beside}")


def _daemon_for(arguments: Namespace) -> bool:
    """Whether the daemon runs the operation. Raises: Unavailable when --detach asks for a daemon that is not there."""
    from gaia_site import platform

    runs = platform.daemon_runs()
    if arguments.detach and not runs:
        raise Unavailable("--detach needs the daemon", fix="Start it with gaia up, or leave --detach away.")
    return runs


def _left_to_the_daemon(operation: Any, arguments: Namespace) -> int:
    print(json.dumps(operation.as_dict()) if arguments.json else f"gaia operation follow {operation.pk}")
    return 0


def _print_plan(plan: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(plan))
        return
    print(f"{plan['project']} from {plan['source']}, checkouts in {plan['root']}")
    for each in plan["environments"]:
        ports = ", ".join(f"{stage} {port}" for stage, port in each["ports"].items())
        print(f"  {each['action']:<7} {Path(each['path']).name:<20} {each['branch']:<10} {ports}")
    if plan["others"]:
        print(f"  leave   {', '.join(plan['others'])}")
    print("Nothing was done (--dry-run).")


def _told_setup(result: dict[str, Any], plan: dict[str, Any], seconds: str) -> None:
    if not result["created"] and not result["repaired"]:
        verb = "is" if len(result["unchanged"]) == 1 else "are"
        print(f"Nothing to do: {so_many(len(result['unchanged']))} of {result['project']} {verb} as wanted.")
    else:
        print(f"Environments of {result['project']} in {plan['root']}:" + (f" ({seconds})" if seconds else ""))
    for each in plan["environments"]:
        name, directory = each["name"], Path(each["path"]).name
        if name in result["created"]:
            print(f"  created    {directory}  {each['branch']}  dev stage on {each['ports']['dev']}")
        elif name in result["repaired"]:
            print(f"  repaired   {directory}: {', '.join(result['repaired'][name])}")
    for line in _notes(result):
        print(f"  {line}")


def _notes(result: dict[str, Any]) -> list[str]:
    """What else there is to know; what holds for several environments is said once."""
    lines = []
    for text, names in _by_text(result["problems"]):
        lines.append(f"problem    {names}: {text}")
    for text, names in _by_text(result["kept"]):
        lines.append(f"kept       {names}: {text}")
    for text, names in _by_text(result["submodules"]):
        lines.append(f"submodule  {names}: {text}; fetch it there with: git submodule update --init")
    for name, text in result["not_fetched"].items():
        lines.append(f"not asked  {name}: {text}; its ahead and behind are those of before")
    if result["learned"]:
        lines.append(f"behind     {_joined(result['learned'])}: the hub has new commits; take them over with ./sync.sh")
    for branch in result["diverged"]:
        lines.append(f"diverged   branch {branch} went another way in the hub than in the source; both are kept")
    if result["moved_tags"]:
        lines.append(f"tags       moved in the source, kept in the hub: {', '.join(result['moved_tags'])}")
    if result["others"]:
        lines.append(
            f"others     {_joined(result['others'])}: not asked for, left alone; gaia env clean NAME removes one"
        )
    if result["placeholder"]:
        lines.append(f"stages     {_joined(result['placeholder'])}: run a placeholder until gaia.yaml says the command")
    return lines


def _by_text(told: Mapping[str, list[str]]) -> list[tuple[str, str]]:
    names: dict[str, list[str]] = {}
    for name, texts in told.items():
        for text in texts:
            names.setdefault(text, []).append(name)
    return [(text, _joined(of)) for text, of in names.items()]


def _joined(names: list[str]) -> str:
    """`dev1, dev2`, or the first and the last of many."""
    return ", ".join(names) if len(names) < 4 else f"{names[0]} … {names[-1]}"


def _clean_instead(arguments: Namespace) -> int:
    """`setup --clean`: the project by its name or its source."""
    ready()
    from environments.actions.sources import choose_project

    project = arguments.project
    if project is None and arguments.source is not None:
        project = choose_project(arguments.source, None, called_from()).name
    return clean(Namespace(**{**vars(arguments), "names": [], "project": project}))


def clean(arguments: Namespace) -> int:
    """Remove environments after salvaging. Returns: the exit code."""
    ready()
    from environments.actions.setup import chosen_environments, request_clean
    from gaia_site.cli.following import finish
    from projects.actions import find

    project, names = find(arguments.project), arguments.names or None
    if arguments.dry_run:
        chosen = [environment.directory for environment in chosen_environments(project, names)]
        said = f"Would salvage and remove: {', '.join(chosen) or 'nothing'}\nNothing was done (--dry-run)."
        print(json.dumps({"project": project.name, "remove": chosen}) if arguments.json else said)
        return 0
    detached = _daemon_for(arguments)
    if leaving := chosen_environments(project, names):
        which = ", ".join(environment.directory for environment in leaving)
        confirm(f"Remove {which}? Work that is nowhere else is salvaged first.", yes=arguments.yes)
    operation = request_clean(project, names, detached=detached)
    if arguments.detach:
        return _left_to_the_daemon(operation, arguments)
    try:
        done = finish(operation, detached=detached)
    except GaiaError as error:
        if not arguments.json:  # with --json they are in the error's detail
            _told_removed(error.detail.get("removed", []))
        raise
    if arguments.json:
        print(json.dumps(done.result))
    else:
        _told_removed(done.result["removed"] or None)
    return 0


def _told_removed(removed: list[dict[str, Any]] | None) -> None:
    if removed is None:
        print("There was nothing to remove.")
    elif removed:
        print(f"{so_many(len(removed))} removed.")
    for each in removed or []:
        if each["salvage"]:
            print(f"  {each['name']}: its work is salvaged as {each['salvage']['name']}. Bring it back with:")
            for line in each["salvage"]["restore_command"].splitlines():
                print(f"    {line}")
        elif each["trash"]:
            print(f"  {each['name']}: it had no work that the hub does not have")
        else:
            print(f"  {each['name']}: its checkout was not there any more")
        if each["trash"]:
            print(f"    the tree lies in {each['trash']}")
        if each["left"]:
            print("    what lies at its path is not GAIA's and was left alone")


def list_(arguments: Namespace) -> int:
    """Environments with git state and stages, looked at now when no daemon does. Returns: the exit code."""
    look_at_environments()
    from environments.overview import environments_overview
    from gaia_site.cli import pictures

    environments = environments_overview()
    if arguments.json:
        print(json.dumps(environments))
        return 0
    if not environments:
        print("No environments. Make some: gaia env setup --source PATH-OR-URL")
    for each in environments:
        print("\n".join(pictures.directory_lines(each)))
        for stage in each["stages"]:
            print("\n".join(f"  {line}" for line in pictures.stage_lines(stage)))
    return 0


def launch(arguments: Namespace) -> int:
    """Start a stage, through the daemon or, without one, by its own script, and wait until it answers.

    Returns: the exit code.
    """
    ready()
    from environments.actions import stages
    from environments.overview import describe_one
    from environments.reconcile import look_at_stages
    from gaia_site import platform
    from processes.actions.nodes import ensure_node

    stage = stages.find_stage(stages.find_environment(arguments.name, arguments.project), arguments.stage)
    if not platform.daemon_runs():
        look_at_stages(ensure_node())
    process = stages.bring_up(stage, timeout=_STAGE_WAIT_S)
    shown = describe_one(stage, process)
    print(json.dumps(shown) if arguments.json else f"{stage} runs at {stage.url} (pid {shown['pid']})")
    return 0


def stop(arguments: Namespace) -> int:
    """Stop a stage. Returns: the exit code."""
    ready()
    from environments.actions import stages
    from environments.overview import describe_one
    from environments.reconcile import look_at_stages
    from processes.actions.nodes import ensure_node

    stage = stages.find_stage(stages.find_environment(arguments.name, arguments.project), arguments.stage)
    look_at_stages(ensure_node())
    process = stages.notice_scripts(stage)
    if not stages.bring_down(stage, timeout=_STAGE_WAIT_S) and not stages.stop(stage):
        print(json.dumps(describe_one(stage, None)) if arguments.json else f"{stage} does not run")
        return 0
    if process is not None:
        process.refresh_from_db()
    print(json.dumps(describe_one(stage, process)) if arguments.json else f"{stage} is stopped")
    return 0


def restore(arguments: Namespace) -> int:
    """List salvages, or bring one back. Returns: the exit code."""
    ready()
    from environments.actions.salvages import list_salvages, restore_salvage

    if not arguments.salvage:
        salvages = list_salvages()
        if arguments.json:
            print(json.dumps(salvages))
        elif not salvages:
            print("No salvages: nothing was ever removed that the hub did not have.")
        else:
            _told_salvages(salvages)
        return 0
    into = Path(arguments.into).expanduser() if arguments.into else None
    if into is not None and not into.is_absolute():
        into = called_from() / into
    if into is not None and not into.is_dir():
        raise InvalidInput(f"{into} is not a directory", fix="Name a checkout of the project with --into.")
    done = restore_salvage(arguments.salvage, into)
    print(json.dumps(done) if arguments.json else f"{arguments.salvage} is restored into {done['into']}")
    for name in done["aside"]:
        say(f"  its branch has gone another way meanwhile: the salvaged commits are on {name}")
    say("Look at it with git status; nothing was committed for you.")
    return 0


def _told_salvages(salvages: list[dict[str, Any]]) -> None:
    for each in salvages:
        print(f"{each['name']}  {', '.join(each['kinds'])}")
    say("Bring one back: gaia env restore NAME")
