"""`gaia ports …`."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

from gaia_site.cli import pictures
from gaia_site.cli.ground import ready, say

_LOOKS = {"taken": "failed", "silent": "starting", "serving": "running", "free": "stopped"}
_WORDS = {"silent": "not listening"}


def list_(arguments: Namespace) -> int:
    """Ports that are handed out, with who listens there; conflicts first. Returns: the exit code."""
    ready()
    _look()
    from environments.actions.ports import overview

    found = overview()
    if arguments.json:
        print(json.dumps(found))
        return 0
    if not found:
        print("No port is handed out. Each stage of an environment gets one: gaia env setup")
    for each in found:
        print("\n".join(_lines(each)))
    taken = sum(each["state"] == "taken" for each in found)
    if taken:
        say(f"{taken} of {len(found)} taken by somebody else: stop that program, or move the stage.")
    return 0


def find(arguments: Namespace) -> int:
    """Propose free ports. Returns: the exit code."""
    ready()
    from environments.actions.ports import find

    found = find(arguments.count)
    if arguments.json:
        print(json.dumps(found))
    else:
        print("\n".join(map(str, found["ports"])))
        say(f"For a new project: gaia env setup --base-port {found['base_port']}")
    return 0


def move(arguments: Namespace) -> int:
    """Give a stage another port. Returns: the exit code."""
    ready()
    _look()
    from environments.actions import changing, ports, stages
    from gaia_site import platform
    from gaia_site.cli.following import finish

    stage = stages.find_stage(stages.find_environment(arguments.name, arguments.project), arguments.stage)
    before = stage.port
    if arguments.restart and arguments.to != before:
        detached = platform.daemon_runs()
        finish(ports.request_move(stage, arguments.to, detached=detached), detached=detached)
    else:
        ports.move(stage, arguments.to)
    [shown] = changing.described([stage])
    if arguments.json:
        print(json.dumps({"before": before, **shown}))
    elif shown["port"] == before:
        print(f"Nothing to do: {stage} is on port {before}.")
    else:
        print(f"{stage} has moved from port {before} to {shown['port']}: {shown['url']}")
    return 0


def _look() -> None:
    """What scripts did is noticed by the daemon; without one it is looked at now."""
    from environments.reconcile import look_at_stages
    from gaia_site import platform
    from processes.actions.nodes import ensure_node

    if not platform.daemon_runs():
        look_at_stages(ensure_node())


def _lines(each: dict[str, Any]) -> list[str]:
    """A port, whose it is and who has it; below it what to do when that is somebody else."""
    name = f"{each['environment']} {each['stage']}" if each["stage"] else each["owner"]
    state = _WORDS.get(each["state"], each["state"])
    lead = f"{pictures.icon(_LOOKS[each['state']])} {each['port']:<6} {name:<28} {state:<14}"
    lines = pictures.wrapped(lead, _holder(each), indent=4)
    return lines + (pictures.wrapped("    ", f"move it: {each['move']}") if each["move"] else [])


def _holder(each: dict[str, Any]) -> str:
    if each["pid"]:
        return f"{each['command'] or 'a process'} (pid {each['pid']}, {each['user']})"
    if each["hidden"]:
        return f"a process of {each['user'] or 'another user'}, whose pid only they and root can see"
    return ""
