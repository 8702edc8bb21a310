"""What a machine that others reach must have, and a fleet that others count on."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.db import connection

from common.redaction import mask_url
from environments.findings import Finding
from gaia_site.doctor.checks import PRODUCTION, Check, Needs, failed, note, warning
from gaia_site.doctor.configuration import messages

_HERE = {"127.0.0.1", "localhost", "::1"}
_SHORTEST_KEY = 32
_WORLD = {"0.0.0.0", "::"}  # noqa: S104  compared, not bound


def check_debug() -> Iterator[Finding]:
    """Django's debug mode is off: its pages show settings and variables."""
    if settings.DEBUG:
        fix = "gaia config server.debug false && unset GAIA_SERVER_DEBUG"
        yield failed("production", "debug", "debug mode is on", "Error pages show everybody what GAIA knows.", fix)


def check_key() -> Iterator[Finding]:
    """The key that signs sessions is long, and the home's own."""
    if len(settings.SECRET_KEY) < _SHORTEST_KEY or len(set(settings.SECRET_KEY)) < 5:
        file = settings.GAIA.home.data / "secret_key"
        what = "the key that signs sessions is too short"
        fix = f"mv {file} {file}.old && gaia down --keep-stages && gaia up --detach"
        yield failed("production", "key", what, "Whoever guesses it signs in as anybody.", fix)


def check_exposure() -> Iterator[Finding]:
    """People come over TLS, to an origin that is known; nobody comes past it."""
    host, public = settings.GAIA["server.host"], str(settings.GAIA["server.public_url"])
    if not public:
        meaning = "Links in notifications lead to this machine only, and hosts other than it are refused. "
        meaning += "Where people type another name than this machine has, write that one."
        yield warning("production", "public-url", "server.public_url is not set", meaning,
                      "gaia config server.public_url https://$(hostname -f)")  # fmt: skip
    elif not public.startswith("https://"):
        fix = f"gaia config server.public_url https://{public.partition('://')[2]}"
        meaning = "Passwords and tokens cross the network in the clear. A TLS proxy in front of it: docs/operating.md."
        yield failed("production", "tls", f"the console is reached without TLS, at {public}", meaning, fix)
    if host not in _HERE and not public.startswith("https://"):
        fix = "gaia config server.host 127.0.0.1"
        meaning = "Passwords and tokens cross the network in the clear."
        yield failed("production", "exposed", f"the console listens on {host} without TLS", meaning, fix)
    elif host in _WORLD:
        what = f"the console listens on {host}, so its TLS proxy can be gone round"
        yield warning("production", "bypass", what, "", "gaia config server.host 127.0.0.1")
    if "*" in settings.ALLOWED_HOSTS:
        yield failed("production", "hosts", "any host name is answered to", "Links can be made to lead elsewhere.",
                     "unset DJANGO_SETTINGS_MODULE")  # fmt: skip


def check_engine() -> Iterator[Finding]:
    """Several nodes share a PostgreSQL database, not a file."""
    from processes.models import Node

    nodes = Node.objects.exclude(heartbeat_at=None).count()
    if connection.vendor == "sqlite" and nodes > 1:
        what = f"{nodes} nodes use one SQLite file"
        meaning = "Only one machine may have it open; PostgreSQL serves several. Decide which server, make a database "
        meaning += "there, and give its address when you are asked: postgresql://USER:PASSWORD@HOST/NAME."
        yield failed("production", "engine", what, meaning, "gaia config database.url -")
    elif connection.vendor == "postgresql":
        url = str(settings.GAIA["database.url"])
        if "sslmode" not in url and not any(f"@{host}" in url for host in (*_HERE, "/")) and "host=/" not in url:
            what = f"the connection to {mask_url(url)} need not be encrypted"
            more = "&" if "?" in url else "?"
            meaning = "Others on the network may read along. Give the address once more when you are asked, with "
            meaning += f"{more}sslmode=require behind it; verify-full also checks who answers, by sslrootcert=FILE."
            yield warning("production", "database-tls", what, meaning, "gaia config database.url -")


def check_told() -> Iterator[Finding]:
    """Somebody is told when something goes wrong while nobody looks."""
    from events.models import Destination

    if not Destination.objects.filter(enabled=True).exists():
        what = "nobody is told when something goes wrong"
        mail = " or a mail address" if settings.GAIA["mail.url"] else "; for a mail address set mail.url first"
        meaning = f"Decide who is told: you are asked for the https:// address of a webhook{mail}."
        yield warning("production", "told", what, meaning, "gaia notify add operators -")


def check_password() -> Iterator[Finding]:
    """The first password was changed, or at least seen."""
    from policy.models import User

    never = User.objects.filter(is_superuser=True, is_active=True, last_login=None)
    for user in never:
        yield note(
            "production", "account", f"account {user.username} has never signed in", "gaia passwd", user.username
        )


def check_deploy() -> Iterator[Finding]:
    """What Django's own checks for deployments say besides."""
    if str(settings.GAIA["server.public_url"]).startswith("https://"):
        yield from messages(deploy=True)


CHECKS = (
    Check("production", check_debug, PRODUCTION, well="debug mode is off"),
    Check("production", check_key, PRODUCTION, well="the key that signs sessions is long"),
    Check("production", check_exposure, PRODUCTION, well="people come over TLS"),
    Check("production", check_engine, PRODUCTION, Needs.DATABASE, "the database fits the number of nodes"),
    Check("production", check_told, PRODUCTION, Needs.DATABASE, "somebody is told when something goes wrong"),
    Check("production", check_password, PRODUCTION, Needs.DATABASE, "every operator has signed in"),
    Check("production", check_deploy, PRODUCTION, well="Django's checks for deployments say nothing"),
)
