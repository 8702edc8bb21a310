"""Faults that are really there, planted one at a time: the doctor finds each, and its fix mends it in a shell."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from environments.drivers.stage_files import SCRIPTS
from environments.models import Environment, Health, Stage
from environments.states import EnvironmentState
from events.models import Event
from gaia_site.cli.arguments import build_parser
from gaia_site.doctor.checks import Depth
from gaia_site.doctor.examination import examine
from tests.environments.conftest import kill_everything_below
from tests.environments.databases import break_it, fill
from tests.environments.drivers.repositories import git, make_repository
from tests.environments.places import Place, free_ports
from tests.environments.test_health_faults import stranger
from tests.gaia_site.in_a_shell import gaia_in_path, in_a_shell


@pytest.fixture
def shop(transactional_db: None, acting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """One environment, nothing wrong with it, and a `gaia` that the shell finds."""
    identity = tmp_path / "gitconfig"
    identity.write_text("[user]\n\tname = Ada\n\temail = ada@example.org\n")
    for name, value in {
        "GIT_CONFIG_GLOBAL": str(identity),
        "GIT_CONFIG_NOSYSTEM": "1",
    }.items():
        monkeypatch.setenv(name, value)
    source = make_repository(tmp_path / "code" / "shop", {"README.md": "hello\n"})
    with free_ports() as base, gaia_in_path(tmp_path / "bin") as first:
        monkeypatch.setenv("PATH", f"{first}:{os.environ['PATH']}")
        monkeypatch.setitem(settings.GAIA.values, "server.port", base + 9)  # type: ignore[arg-type]
        monkeypatch.setenv("GAIA_SERVER_PORT", str(base + 9))
        place = Place(tmp_path / "code", source, base)
        place.set_up(1, base_port=base)
        yield place
        kill_everything_below(tmp_path)


@dataclass(frozen=True)
class Fault:
    """One thing that is made wrong.

    Args:
        key: by which the doctor tells it. plant: makes it; a context while which it is there.
    """

    key: str
    plant: Callable[[Place], Any]
    depth: Depth = Depth.USUAL
    verdict: str = "failed"


def home_opened(shop: Place) -> None:
    settings.GAIA.home.root.chmod(0o755)


def set_up_interrupted(shop: Place) -> None:
    """Nobody has looked since: the row knows it all the same."""
    Environment.objects.update(state=EnvironmentState.DAMAGED, problem="its set-up was interrupted")


def token_readable(shop: Place) -> None:
    file = settings.GAIA.home.run / "cli.json"
    file.write_text('{"local_url": "http://127.0.0.1:1", "token": "x"}')
    file.chmod(0o644)


def setting_misspelt(shop: Place) -> None:
    settings.GAIA.home.config_file.write_text("# mine\n[server]\nprot = 1\nhost = '127.0.0.1'\n")


def setting_outside(shop: Place) -> None:
    settings.GAIA.home.config_file.write_text("port = 1\n[server]\nhost = '127.0.0.1'\n")


def settings_broken(shop: Place) -> None:
    settings.GAIA.home.config_file.write_text("[server]\nhost = '127.0.0.1'\nport ==== 8\n")


def nobody_commits(shop: Place) -> None:
    Path(os.environ["GIT_CONFIG_GLOBAL"]).write_text("")


def port_taken(shop: Place) -> Any:
    return stranger(shop.stage(1, "qa").port)


def script_deleted(shop: Place) -> None:
    (shop.path(1) / SCRIPTS[0]).unlink()


def checkout_deleted(shop: Place) -> None:
    shutil.rmtree(shop.path(1))


def head_detached(shop: Place) -> None:
    git(shop.path(1), "switch", "-q", "--detach")


def layer_drifted(shop: Place) -> None:
    file = shop.path(1) / ".env.local"
    file.write_text(file.read_text().replace("DEV_PORT=", "DEV_PORT=1"))


def database_damaged(shop: Place) -> None:
    fill(shop.stage(1, "qa"), *(f"{number}" * 400 for number in range(60)))
    break_it(shop.stage(1, "qa"))


def never_backed_up(shop: Place) -> None:
    first = Event.objects.order_by("id").first()
    assert first is not None
    Event.objects.filter(pk=first.pk).update(at=timezone.now() - timedelta(days=3))


def certificate_missing(shop: Place) -> None:
    Stage.objects.filter(environment__name="dev1", name="dev").update(https=True)


@contextmanager
def migration_missing(shop: Place) -> Iterator[None]:
    call_command("migrate", "services", _before_the_last("services"), verbosity=0)
    (settings.GAIA.home.run / "schema").unlink(missing_ok=True)
    try:
        yield
    finally:
        call_command("migrate", verbosity=0)


def _before_the_last(app: str) -> str:
    from django.db.migrations.loader import MigrationLoader

    names = sorted(name for label, name in MigrationLoader(connection).disk_migrations if label == app)
    return names[-2] if len(names) > 1 else "zero"


FAULTS = [
    Fault("home.open", home_opened, Depth.VERIFY),
    Fault("home.secret-open/cli.json", token_readable, Depth.VERIFY),
    Fault("settings.mistake/server.prot", setting_misspelt, Depth.VERIFY),
    Fault("settings.mistake/port", setting_outside, Depth.VERIFY),
    Fault("settings.mistake/config.toml", settings_broken, Depth.VERIFY),
    Fault("git.identity", nobody_commits, Depth.VERIFY, "warning"),
    Fault("ports.taken/environment/shop-dev1/qa", port_taken, Depth.PORTS),
    Fault("directory.incomplete/shop-dev1", script_deleted),
    Fault("directory.missing/shop-dev1", checkout_deleted),
    Fault("git.detached/shop-dev1", head_detached, verdict="warning"),
    Fault("layer.env-file/shop-dev1", layer_drifted, verdict="warning"),
    Fault("databases.damaged/shop-dev1/qa", database_damaged),
    Fault("environments.damaged/shop-dev1", set_up_interrupted, Depth.VERIFY),
    Fault("backups.never", never_backed_up, Depth.VERIFY, "warning"),
    Fault("certificates.missing/shop-dev1", certificate_missing, Depth.VERIFY),
    Fault("migrations.missing", migration_missing, Depth.VERIFY),
]
_USUAL = {"parts.down"}  # nothing is up in these tests


def found(depth: Depth) -> dict[str, dict[str, Any]]:
    return {each["key"]: each for each in examine(depth)["findings"] if each["key"] not in _USUAL}


def test_nothing_is_found_where_nothing_is_wrong(shop: Place) -> None:
    for depth in (Depth.COMPREHENSIVE, Depth.VERIFY, Depth.PORTS):
        assert set(found(depth)) <= {"production.public-url", "production.told"}, depth
    Health.objects.all().delete()
    [unseen] = [each for each in examine(Depth.VERIFY)["notes"] if each["key"].startswith("environments.")]
    assert unseen["what"] == "nobody has looked at shop-dev1 yet"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.key)
def test_it_is_found_and_its_fix_mends_it(shop: Place, fault: Fault) -> None:
    with fault.plant(shop) or nullcontext():
        told = found(fault.depth)
        assert fault.key in told, told.keys()
        finding = told[fault.key]
        assert finding["verdict"] == fault.verdict
        assert finding["what"]
        assert finding["meaning"]
        for command in finding["fix"].split(" && "):
            if command.startswith("gaia "):
                build_parser().parse_args(shlex.split(command)[1:])
        if fault.key != "migrations.missing":
            shop._put_stamp()
        done = in_a_shell(finding["fix"])
        shop._keep_stamp()
        assert done.returncode == 0, f"{finding['fix']}: {done.stdout}{done.stderr}"
        assert fault.key not in found(fault.depth)
