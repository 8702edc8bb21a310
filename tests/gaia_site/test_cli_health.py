"""`gaia env monitor`, as a person and as a script call it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import closing

import pytest

from environments.models import Environment, Health
from gaia_site.cli import health as verb
from tests.environments.drivers.repositories import git
from tests.environments.places import Place
from tests.gaia_site.command_line import CommandLine


@pytest.fixture
def shop(shop_of: Callable[[int], Place]) -> Place:
    """Environments shop-dev1 and shop-dev2 on the command line's installation."""
    return shop_of(2)


def test_nothing_to_look_at(cli: CommandLine) -> None:
    said = cli("env", "monitor")
    assert (said.code, said.out) == (0, "✓ Healthy: There is no environment yet\n")
    assert cli("env", "monitor", "nobody").mistake(3)


def test_well_then_a_warning_then_broken_and_well_again(cli: CommandLine, shop: Place) -> None:
    said = cli("env", "monitor")
    assert said.code == 0
    assert [line.split() for line in said.lines[:2]] == [["✓", "shop-dev1", "healthy"], ["✓", "shop-dev2", "healthy"]]
    assert said.lines[-1] == "✓ Healthy: All 2 environments are healthy"

    git(shop.path(2), "switch", "-q", "--detach")
    said = cli("env", "monitor", "dev2")
    assert said.code == verb.NEEDS_ATTENTION
    assert "▲ shop-dev2                    needs attention" in said.lines
    assert f"      git -C {shop.path(2)} switch env/dev2" in said.lines, "to be copied as it is"
    assert "shop-dev1" not in said.out

    database = shop.path(1) / "data/qa/shop.db"
    whole = database.read_bytes()
    database.write_bytes(b"nonsense" * 1000)
    said = cli("env", "monitor", "--json")
    assert (said.code, said.data["verdict"], said.data["counts"]["warning"]) == (1, "failed", 1)
    [first, second] = said.data["environments"]
    assert (first["environment"], second["environment"]) == ("shop-dev1", "shop-dev2")
    assert first["findings"][0]["key"] == "databases.damaged/qa"
    assert Health.objects.filter(verdict="failed").get().environment == shop.environment(1), "it is on record"
    lines = cli("env", "monitor").lines
    assert "    ✗ the database of stage qa of shop-dev1 is damaged" in lines
    assert all(len(line) <= 80 for line in lines if "switch" not in line)
    assert lines[-2:] == [
        "✗ Unhealthy: the database of stage qa of shop-dev1 is damaged; 1 environment",
        "  more is not well",
    ]

    database.write_bytes(whole)
    git(shop.path(2), "switch", "-q", "env/dev2")
    assert cli("env", "monitor").code == 0


def test_it_is_a_management_command(cli: CommandLine, shop: Place) -> None:
    said = cli.manage("monitor_envs", "dev1")
    assert (said.code, said.lines[-1]) == (0, "✓ Healthy: The environment is healthy")


def test_an_interrupted_set_up_is_damage_and_what_was_removed_is_left_out(cli: CommandLine, shop: Place) -> None:
    Environment.objects.filter(name="dev1").update(state="creating")
    Environment.objects.filter(name="dev2").update(state="removed")
    # without a daemon the look notices that no operation works on it any more
    said = cli("env", "monitor", "--json")
    assert said.code == 1
    assert [each["environment"] for each in said.data["environments"]] == ["shop-dev1"]
    assert Health.objects.get(verdict="failed").findings[0]["key"] == "environment.damaged"


def test_it_looks_again_and_again(cli: CommandLine, shop: Place) -> None:
    process = cli.start("env", "monitor", "--watch", "--interval", "1", "--json")
    assert process.stdout is not None
    with closing(process.stdout) as told:
        assert '"verdict": "ok"' in told.readline()
        (shop.path(1) / "stop.sh").unlink()
        assert any('"verdict": "failed"' in told.readline() for _ in range(5))
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 1
