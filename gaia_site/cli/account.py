"""`gaia passwd`, `gaia token`, `gaia config`, `gaia manage`."""

from __future__ import annotations

import getpass
import json
import sys
from argparse import Namespace
from datetime import timedelta

from common.errors import InvalidInput
from common.redaction import mask_url
from gaia_site.cli.ground import ready


def passwd(arguments: Namespace) -> int:
    """Give an account a new password. Returns: the exit code."""
    ready()
    from policy.actions import set_password

    password = None
    if not arguments.random:
        if not sys.stdin.isatty():
            password = sys.stdin.readline().rstrip("\n")
        else:
            password = getpass.getpass("New password: ")
            if getpass.getpass("Again: ") != password:
                raise InvalidInput("the two passwords differ", meaning="Nothing was changed.")
        if not password:
            raise InvalidInput("an empty password was given", fix="Type one, or let GAIA make one: gaia passwd --random.")
    chosen = set_password(arguments.user, password)
    if arguments.json:
        print(json.dumps({"username": arguments.user, "password": chosen if arguments.random else None}))
    else:
        print(f"New password of {arguments.user}: {chosen}" if arguments.random else f"Password of {arguments.user} changed.")
    return 0


def token(arguments: Namespace) -> int:
    """Issue or revoke a token. Returns: the exit code."""
    if arguments.days < 1:
        raise InvalidInput("--days must be at least 1")
    ready()
    from policy.actions import ensure_operator, issue_token, revoke_tokens

    if arguments.revoke:
        count = revoke_tokens(arguments.name)
        print(json.dumps({"revoked": count}) if arguments.json else f"{count} tokens revoked.")
        return 0
    scopes = ["read"] if arguments.read_only else ["read", "operate"]
    text = issue_token(ensure_operator(), arguments.name, scopes=scopes, lifetime=timedelta(days=arguments.days))
    print(json.dumps({"token": text, "scopes": scopes}) if arguments.json else f"{text}\n(shown once)")
    return 0


def config(arguments: Namespace) -> int:
    """Settings in force and where each comes from. Returns: the exit code, 1 when some are wrong."""
    from common import config as settings

    loaded = settings.load()
    shown = {key.dotted: mask_url(str(loaded[key.dotted])) for key in settings.KEYS}
    if arguments.json:
        rows = {name: {"value": value, "origin": loaded.origins[name]} for name, value in shown.items()}
        print(json.dumps({"home": str(loaded.home.root), "settings": rows, "problems": [vars(one) for one in loaded.problems]}))
    else:
        print(f"home  {loaded.home.root}")
        for key in settings.KEYS:
            print(f"{key.dotted:<26} {shown[key.dotted] or '-':<22} {loaded.origins[key.dotted]:<10} {key.variable}")
    for problem in loaded.problems:
        sys.stderr.write(f"gaia: {problem.message}\n  {problem.hint}\n")
    return 1 if loaded.problems else 0


def manage(arguments: Namespace) -> int:
    """Run a Django management command. Returns: the exit code."""
    ready()
    from django.core.management import execute_from_command_line

    execute_from_command_line(["gaia manage", *arguments.words])
    return 0


def bootstrap_only(arguments: Namespace) -> int:
    """`test` and `lock` need the bootstrap. Raises: InvalidInput."""
    raise InvalidInput("this verb is run by the bootstrap", fix="Call it as ./gaia test, from the repository.")
