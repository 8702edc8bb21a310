"""`gaia env …`."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from common.errors import InvalidInput, Unavailable
from gaia_site.cli.ground import called_from, ready, say

_STAGE_WAIT_S = 20.0


def setup(arguments: Namespace) -> int:
    """Make environments, or with --clean remove them. Returns: the exit code."""
    if arguments.clean:
        return clean(Namespace(names=[], project=arguments.project, json=arguments.json))
    ready()
    from environments.actions.setup import plan_setup, request_setup
    from gaia_site import platform
    from gaia_site.cli.following import finish, took

    plan = plan_setup(
        source=arguments.source,
        project=arguments.project,
        count=arguments.count,
        root=arguments.root,
        base_port=arguments.base_port,
        cwd=called_from(),
    )
    if arguments.dry_run:
        _print_plan(plan.as_dict(), as_json=arguments.json)
        return 0
    detached = platform.daemon_runs()
    if arguments.detach and not detached:
        raise Unavailable("--detach needs the daemon", fix="Start it with gaia up, or leave --detach away.")
    operation = request_setup(plan, detached=detached)
    if arguments.detach:
        print(json.dumps(operation.as_dict()) if arguments.json else f"gaia operation follow {operation.pk}")
        return 0
    done = finish(operation, detached=detached)
    if arguments.json:
        print(json.dumps(done.result))
    else:
        _told_setup(done.result, plan.as_dict(), took(done))
    return 0


def _print_plan(plan: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(plan))
        return
    print(f"{plan['project']} from {plan['source']}, checkouts in {plan['root']}")
    for each in plan["environments"]:
        ports = ", ".join(f"{stage} {port}" for stage, port in each["ports"].items())
        print(f"  {each['action']:<7} {Path(each['path']).name:<20} {each['branch']:<10} {ports}")
    print("Nothing was done (--dry-run).")


def _told_setup(result: dict[str, Any], plan: dict[str, Any], seconds: str) -> None:
    if not result["created"] and not result["repaired"]:
        print(f"Nothing to do: {len(result['unchanged'])} environments of {result['project']} are as they should be.")
    else:
        print(f"Environments of {result['project']} in {plan['root']}:" + (f" ({seconds})" if seconds else ""))
    for each in plan["environments"]:
        name = each["name"]
        if name in result["created"]:
            print(f"  created    {Path(each['path']).name}  {each['branch']}  dev stage on {each['ports']['dev']}")
        elif name in result["repaired"]:
            print(f"  repaired   {Path(each['path']).name}: {', '.join(result['repaired'][name])}")
    for name, kept in result["kept"].items():
        print(f"  kept       {name}: {', '.join(kept)} is the repository's own or was edited; GAIA's copy is in .gaia/")
    for name, paths in result["submodules"].items():
        print(f"  submodules {name}: {', '.join(paths)}; fetch them there with: git submodule update --init")
    for branch in result["diverged"]:
        print(f"  diverged   branch {branch} went another way in the hub than in the source; both are kept")


def clean(arguments: Namespace) -> int:
    """Remove environments after salvaging. Returns: the exit code."""
    ready()
    from environments.actions.setup import request_clean
    from gaia_site import platform
    from gaia_site.cli.following import finish
    from projects.actions import find

    detached = platform.daemon_runs()
    done = finish(request_clean(find(arguments.project), arguments.names or None, detached=detached), detached=detached)
    if arguments.json:
        print(json.dumps(done.result))
        return 0
    removed = done.result["removed"]
    print(f"{len(removed)} environments removed." if removed else "There was nothing to remove.")
    for each in removed:
        if each["salvage"]:
            print(f"  {each['name']}: its work is salvaged as {each['salvage']['name']}. Bring it back with:")
            for line in each["salvage"]["restore_command"].splitlines():
                print(f"    {line}")
        else:
            print(f"  {each['name']}: all of its work was in the hub")
        if each["trash"]:
            print(f"    the tree lies in {each['trash']}")
    return 0


def list_(arguments: Namespace) -> int:
    """Environments with git state and stages. Returns: the exit code."""
    ready()
    from environments.overview import environments_overview
    from gaia_site.cli import pictures

    environments = environments_overview()
    if arguments.json:
        print(json.dumps(environments))
        return 0
    if not environments:
        print("No environments. Make some: gaia env setup --source PATH-OR-URL")
    for each in environments:
        print(pictures.directory_line(each))
        for stage in each["stages"]:
            print("  " + pictures.stage_line(stage))
    return 0


def launch(arguments: Namespace) -> int:
    """Start a stage, through the daemon or, without one, by its own script. Returns: the exit code."""
    ready()
    from environments.actions import stages
    from environments.overview import describe_stage
    from gaia_site import platform

    stage = stages.find_stage(stages.find_environment(arguments.name, arguments.project), arguments.stage)
    if platform.daemon_runs():
        process = stages.launch(stage)
        _wait(process, until=lambda: process.state != "starting")
        if process.state != "running":
            raise Unavailable(f"stage {stage.name} did not start: {process.problem or 'see its log'}", fix=f"Log: {process.log}")
    else:
        process = stages.launch_by_script(stage)
    shown = describe_stage(stage, process)
    print(json.dumps(shown) if arguments.json else f"{stage} runs at {stage.url} (pid {shown['pid']})")
    return 0


def stop(arguments: Namespace) -> int:
    """Stop a stage. Returns: the exit code."""
    ready()
    from environments.actions import stages
    from environments.overview import describe_stage
    from gaia_site import platform
    from processes.actions.stopping import stop_process
    from processes.models import Process

    stage = stages.find_stage(stages.find_environment(arguments.name, arguments.project), arguments.stage)
    stages.notice_scripts(stage)
    process = Process.objects.active().filter(owner=stage.owner).first()
    if process is None:
        print(json.dumps(describe_stage(stage, None)) if arguments.json else f"{stage} does not run")
        return 0
    if platform.daemon_runs():
        stages.stop(stage)
        _wait(process, until=lambda: not process.active)
    else:
        stop_process(process)
    process.refresh_from_db()
    print(json.dumps(describe_stage(stage, process)) if arguments.json else f"{stage} is stopped")
    return 0


def _wait(process: Any, *, until: Any) -> None:
    deadline = time.monotonic() + _STAGE_WAIT_S + process.stop_grace
    while time.monotonic() < deadline:
        process.refresh_from_db()
        if until():
            return
        time.sleep(0.05)
    raise Unavailable(f"{process.owner} is still {process.state}", fix="gaia env list shows when it changes.")


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
        for each in [] if arguments.json else salvages:
            print(f"{each['name']}  {', '.join(each['kinds'])}")
        return 0
    into = Path(arguments.into).expanduser() if arguments.into else None
    if into is not None and not into.is_absolute():
        into = called_from() / into
    if into is not None and not into.is_dir():
        raise InvalidInput(f"{into} is not a directory")
    done = restore_salvage(arguments.salvage, into)
    print(json.dumps(done) if arguments.json else f"{arguments.salvage} is restored into {done['into']}")
    say("Look at it with git status; nothing was committed for you.")
    return 0
