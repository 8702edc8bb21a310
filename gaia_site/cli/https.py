"""`gaia https …`."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

from gaia_site.cli.ground import ready, say


def on(arguments: Namespace) -> int:
    """Have stages serve HTTPS. Returns: the exit code."""
    return _switch(arguments, True)


def off(arguments: Namespace) -> int:
    """Have stages serve plain HTTP again. Returns: the exit code."""
    return _switch(arguments, False)


def _switch(arguments: Namespace, wanted: bool) -> int:
    ready()
    from environments.actions import changing, https, stages
    from environments.reconcile import look_at_stages
    from gaia_site import platform
    from gaia_site.cli.following import finish
    from processes.actions.nodes import ensure_node

    detached = platform.daemon_runs()
    if not detached:
        look_at_stages(ensure_node())
    environment = stages.find_environment(arguments.name, arguments.project)
    chosen = stages.chosen_stages(environment, arguments.stage)
    before = {stage.pk for stage in chosen if stage.https == wanted}
    if arguments.restart and len(before) < len(chosen):
        finish(https.request_switch(chosen, wanted, detached=detached), detached=detached)
    else:
        https.switch(chosen, wanted)
    shown = changing.described(chosen)
    if arguments.json:
        print(json.dumps(shown))
        return 0
    scheme = "HTTPS" if wanted else "plain HTTP"
    if len(before) == len(chosen):
        print(f"Nothing to do: {', '.join(map(str, chosen))} on {scheme} already.")
        return 0
    for each in shown:
        print(f"{each['environment']} {each['name']:<8} {each['url']}")
    if wanted:
        say("Your program has to serve it with $TLS_CERT and $TLS_KEY (docs/https.md). Browsers: gaia https trust")
    return 0


def list_(arguments: Namespace) -> int:
    """The local authority and the environments with a certificate. Returns: the exit code."""
    ready()
    from environments.actions.https import overview

    found = overview()
    if arguments.json:
        print(json.dumps(found))
        return 0
    if not found["authority"] and not found["environments"]:
        print("No stage serves HTTPS. Have one do so: gaia https on NAME STAGE")
        return 0
    if found["authority"]:
        print("\n".join(_told(found["authority"])))
    for each in found["environments"]:
        ends = f"until {each['certificate']['until'][:10]}" if each["certificate"] else "no certificate yet"
        print(f"  {each['environment']:<28} {', '.join(each['stages']) or 'none':<18} {ends}")
    return 0


def ca(arguments: Namespace) -> int:
    """The local authority's certificate, made when there is none yet. Returns: the exit code."""
    ready()
    from environments.actions.https import authority_facts

    facts = authority_facts()
    if arguments.json:
        print(json.dumps(facts))
    elif arguments.path:
        print(facts["path"])
    else:
        print("\n".join(_told(facts)))
    return 0


def trust(arguments: Namespace) -> int:
    """Print how a system or a browser comes to trust the local authority; changes nothing. Returns: the exit code."""
    ready()
    from environments.actions.https import trust_instructions

    told = trust_instructions()
    if arguments.json:
        print(json.dumps(told))
        return 0
    for each in told:
        print(f"# {each['for']}")
        print("\n".join(each["commands"]))
        print("\n".join(f"# undo: {line}" for line in each["undo"]), end="\n\n")
    say("GAIA has changed nothing. The authority can only vouch for this machine: localhost, 127.0.0.1 and ::1.")
    return 0


def _told(facts: dict[str, Any]) -> list[str]:
    return [
        facts["subject"],
        f"  file         {facts['path']}",
        f"  vouches for  {', '.join(facts['names'])}",
        f"  until        {facts['until'][:10]}",
        f"  SHA-256      {facts['fingerprint']}",
    ]
