"""Every test process has a GAIA home and a database of its own, real servers can be started on them.

`GAIA_DATABASE_URL=postgresql://...` runs the tests on PostgreSQL, where each process makes a database of its own
beside the one that is named (`.ci/postgres pytest ...` starts a throw-away server). Otherwise SQLite in the home.

Fixtures for all: `home`, `acting`, `operator`, `start_web`, `running_web`, `live_server_url`.
"""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import database, measuring

if TYPE_CHECKING:
    from common.home import Home
    from policy.models import User
    from tests.live import Web

# Whoever started this may ignore signals (nohup does, and a shell's `&`), and all that the tests start would, too.
for _number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

# What is imported is kept compiled: a thousand processes of the tests load GAIA's code from its beginning.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

measuring.begin()

# The settings read the environment when they are imported, and make the home. So this happens first of all: nothing
# of the developer's own GAIA is seen or touched. Short names, because sockets' paths may have 107 characters.
if "gaia_site.settings" in sys.modules:
    raise pytest.UsageError("the settings were imported before tests/conftest.py: unset DJANGO_SETTINGS_MODULE")
_SERVER_URL = os.environ.get("GAIA_DATABASE_URL", "")
_KEPT_VARIABLES = ("GAIA_SCREENSHOTS", "GAIA_CHAOS_KILLS")  # of the tests themselves
for _name in [name for name in os.environ if name.startswith("GAIA_") and name not in _KEPT_VARIABLES]:
    del os.environ[_name]
_HOME = Path(tempfile.mkdtemp(prefix="gaia-")).resolve()
os.environ["GAIA_HOME"] = str(_HOME)
os.environ["GAIA_SESSIONS_SOCKET_DIRS"] = str(_HOME / "sockets")  # nobody's tmux servers are looked at
os.environ.pop("TMUX_TMPDIR", None)  # GAIA's socket does not follow it; a tmux that a test runs by hand would


def _remove_home(owner: int) -> None:
    if os.getpid() == owner:  # a forked child has no business with it
        shutil.rmtree(_HOME, ignore_errors=True)


atexit.register(_remove_home, os.getpid())  # pytest_unconfigure is not asked when pytest cannot even begin
if _SERVER_URL:
    os.environ["GAIA_DATABASE_URL"] = database.worker_url(_SERVER_URL)
os.environ["DJANGO_SETTINGS_MODULE"] = "gaia_site.settings"

from django.conf import settings  # noqa: E402
from django.db import connections  # noqa: E402
from django.test import TransactionTestCase  # noqa: E402

_KEPT = (settings.GAIA.home.database.name, "secret_key")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """The workers inherit this process's environment and must begin as it began."""
    del os.environ["DJANGO_SETTINGS_MODULE"]
    if _SERVER_URL:
        os.environ["GAIA_DATABASE_URL"] = _SERVER_URL


# Whole command lines, set-ups and daemons: begun last, they would keep one worker busy while the others are done.
_LONG = (
    "chaos/test_kill", "gaia_site/test_up_down", "gaia_site/test_cli", "gaia_site/test_manage", "environments/test_",
    "processes/test_daemon", "processes/test_operations", "services/test_daemon", "sessions/test_look",
    "sessions/test_start", "events/test_",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long comes first."""
    items.sort(key=lambda item: not any(part in item.nodeid for part in _LONG))


def pytest_collection_finish() -> None:
    """Six thousand tests and all of Django stay: the collector need not look at them again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def pytest_unconfigure() -> None:
    measuring.write()
    connections.close_all()
    _remove_home(os.getpid())


@pytest.fixture(scope="session")
def django_db_setup(django_db_blocker: Any, pytestconfig: pytest.Config) -> Iterator[None]:
    """A copy of the migrated template, in place of pytest-django's `migrate`."""
    name = settings.DATABASES["default"]["NAME"]
    own = (
        database.PostgresDatabase(_SERVER_URL, name)
        if _SERVER_URL
        else database.SqliteFile(name, pytestconfig.cache.mkdir("gaia-databases"))
    )
    with django_db_blocker.unblock():
        own.create()
        # Django would empty every table after a test that commits, and with them what migrations put there
        TransactionTestCase._fixture_teardown = lambda self: own.restore()  # type: ignore[method-assign]
        yield
        own.drop()


@pytest.fixture(autouse=True)
def home() -> Iterator[Home]:
    """The GAIA home in force (`$GAIA_HOME`): the test process's own, emptied after every test."""
    from sessions import configured

    yield settings.GAIA.home
    data = settings.GAIA.home.data
    for entry in [*_HOME.iterdir(), *data.iterdir()]:
        if entry == data or entry.name.startswith(_KEPT):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    settings.GAIA.home.ensure()
    for remembered in (configured._last_good, configured._last_good_providers):  # of files that are gone now
        remembered.clear()


@pytest.fixture
def acting() -> Iterator[str]:
    """The test acts as `user:tester`."""
    from events.actor import acting_as

    with acting_as("user:tester"):
        yield "user:tester"


@dataclass(frozen=True)
class Operator:
    """An operator and the text of a token of theirs that may read and operate."""

    user: User
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Token {self.token}"}

    def sign_in(self) -> str:
        """A `Cookie` header of a new browser session."""
        from django.test import Client

        client = Client()
        client.force_login(self.user)
        return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"


@pytest.fixture
def operator(db: None) -> Operator:
    """Somebody who may do everything, signed in nowhere yet."""
    from events.actor import acting_as
    from policy.actions import issue_token
    from policy.models import User

    with acting_as("cli:tester"):
        user = User.objects.create_superuser("operator", "", None)
        return Operator(user, issue_token(user, "test"))


@pytest.fixture
def start_web(transactional_db: None, tmp_path: Path) -> Iterator[Callable[..., Web]]:
    """Starts real web servers on the test's home and database; keyword arguments are environment variables."""
    from tests.live import Web

    started: list[Web] = []

    def start(**environ: str) -> Web:
        web = Web(tmp_path / f"web{len(started)}.log", **environ)
        started.append(web)
        web.wait_until_up()
        return web

    yield start
    for web in started:
        web.kill()


@pytest.fixture
def running_web(start_web: Callable[..., Web]) -> Web:
    """A real web server whose streams' clocks run fast (`tests.live_settings`)."""
    return start_web(DJANGO_SETTINGS_MODULE="tests.live_settings")


@pytest.fixture
def live_server_url(running_web: Web) -> str:
    """Its address, without a slash at the end."""
    return running_web.url
