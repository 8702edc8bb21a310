"""`gaia passwd`, `gaia token`, `gaia config`, `gaia manage`."""

from __future__ import annotations

import getpass
import json
import sys
from argparse import Namespace
from datetime import timedelta

from common.errors import Cancelled, InvalidInput, NotFound
from common.redaction import mask_url
from gaia_site.cli.ground import given, ready, say


def passwd(arguments: Namespace) -> int:
    """Give an account a new password. Returns: the exit code."""
    ready()
    from policy.actions import set_password

    password = None if arguments.random else _typed_password()
    chosen = set_password(arguments.user, password)
    if arguments.json:
        print(json.dumps({"username": arguments.user, "password": chosen if arguments.random else None}))
    elif arguments.random:
        print(f"New password of {arguments.user}: {chosen}")
    else:
        print(f"Password of {arguments.user} changed.")
    return 0


def _typed_password() -> str:
    """Twice from the terminal, or the first line of standard input."""
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        try:
            password = getpass.getpass("New password: ")
            again = getpass.getpass("Again: ")
        except EOFError:
            raise Cancelled("nothing was changed") from None
        if again != password:
            raise InvalidInput("the two passwords differ", meaning="Nothing was changed.", fix="Type it twice alike.")
    if not password:
        fix = "Type one, or let GAIA make one: gaia passwd --random."
        raise InvalidInput("an empty password was given", meaning="Nothing was changed.", fix=fix)
    return password


def token(arguments: Namespace) -> int:
    """Issue or revoke a token. Returns: the exit code."""
    ready()
    from policy.actions import ensure_operator, issue_token, revoke_tokens

    if arguments.revoke:
        count = revoke_tokens(arguments.name)
        if not count:
            raise NotFound(f"there is no token called {arguments.name!r}", meaning="Nothing was revoked.")
        print(json.dumps({"revoked": count}) if arguments.json else f"{count} tokens revoked.")
        return 0
    scopes = ["read"] if arguments.read_only else ["read", "operate"]
    text = issue_token(ensure_operator(), arguments.name, scopes=scopes, lifetime=timedelta(days=arguments.days))
    if arguments.json:
        print(json.dumps({"token": text, "name": arguments.name, "scopes": scopes, "days": arguments.days}))
    else:
        print(f"{text}\n  shown once; it may {' and '.join(scopes)} for {arguments.days} days")
    return 0


def config(arguments: Namespace) -> int:
    """Settings in force and where each comes from, or one that is changed. Returns: the exit code, 1 for mistakes."""
    from common import config as settings

    if arguments.key:
        return _one_setting(arguments)
    loaded = settings.load()
    shown = {key.dotted: mask_url(str(loaded[key.dotted])) for key in settings.KEYS}
    if arguments.json:
        rows = {name: {"value": value, "origin": loaded.origins[name]} for name, value in shown.items()}
        problems = [vars(problem) for problem in loaded.problems]
        print(json.dumps({"home": str(loaded.home.root), "settings": rows, "problems": problems}))
    else:
        print(f"home  {loaded.home.root}")
        for name, value in shown.items():
            origin = "config.toml" if loaded.origins[name] == str(loaded.home.config_file) else loaded.origins[name]
            print(f"{name:<25} {value or '-':<22} {origin}")
        print("Change one in config.toml in the home, or in the environment: server.port is GAIA_SERVER_PORT.")
    for problem in loaded.problems:
        sys.stderr.write(f"gaia: {problem.message}\n  The default is in force.\n  {problem.hint}\n")
    return 1 if loaded.problems else 0


def _one_setting(arguments: Namespace) -> int:
    from common import config as settings
    from common import config_edit
    from common.home import gaia_home

    key, home = arguments.key, gaia_home()
    if arguments.unset:
        there = config_edit.unset(home, key)
        told = {"setting": key, "removed": there}
        print(
            json.dumps(told) if arguments.json else f"{key} {'was taken out of' if there else 'is not in'} config.toml."
        )
        return 0
    if arguments.value is not None:
        home.ensure()
        config_edit.set_value(home, key, given(arguments.value, key))
    loaded = settings.load(home)
    if key not in loaded.values:
        raise NotFound(f"there is no setting {key}", fix="gaia config shows them all.")
    shown, origin = mask_url(str(loaded[key])), loaded.origins[key]
    print(json.dumps({"setting": key, "value": shown, "origin": origin}) if arguments.json else shown)
    if arguments.value is not None and origin.startswith("GAIA_"):
        say(f"{origin} in your environment says otherwise, and wins: unset {origin}")
    elif arguments.value is not None and not key.startswith("layers."):  # those are read when they are needed
        say("What runs takes it with its next start: gaia down --keep-stages && gaia up --detach")
    return 0


def manage(arguments: Namespace) -> int:
    """Run a Django management command. Returns: the exit code."""
    ready(console=True)
    from django.core.management import execute_from_command_line

    execute_from_command_line(["gaia manage", *arguments.words])
    return 0


def bootstrap_only(arguments: Namespace) -> int:
    """`test` and `lock` need the bootstrap. Raises: InvalidInput."""
    raise InvalidInput("this verb is run by the bootstrap", fix="Call it as ./gaia test, from the repository.")
