"""`gaia backup …`, `gaia env reset` and `gaia env repair-database` as people and scripts call them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from environments.drivers.databases import DatabaseInUse, opened
from environments.models import Backup
from tests.environments.conftest import _own_git_configuration, base_port, place  # noqa: F401  fixtures
from tests.environments.databases import break_it, customers, file_of, fill
from tests.environments.places import Place
from tests.gaia_site.command_line import CommandLine


@pytest.fixture
def shop(place: Place, cli: CommandLine) -> Place:  # noqa: F811
    """Two environments, one with a customer."""
    place.set_up(2)
    fill(place.stage(1, "qa"), "Ada")
    return place


def test_taken_listed_shown_verified_restored_deleted(shop: Place, cli: CommandLine) -> None:
    stage = shop.stage(1, "qa")
    taken = cli("backup", "take", "dev1", "qa", "--json").data["taken"]
    [name] = [each["name"] for each in taken]
    fill(stage, "Grace")

    assert [each["name"] for each in cli("backup", "list", "dev1", "--json").data] == [name]
    assert cli("backup", "list", "dev2", "--json").data == []
    shown = cli("backup", "show", name)
    assert f"replaces  {file_of(stage)} (" in shown.out
    assert "customer: 2 now, 1 then" in shown.out
    assert cli("backup", "verify", name).out == f"{name} is whole.\n"

    done = cli("backup", "restore", name)
    assert done.out.startswith(f"{name} was restored into the database of stage qa of shop-dev1.\n")
    assert "customer: 2 now, 1 then" in done.err
    assert customers(stage) == ["Ada"]

    before = Backup.objects.get(reason=f"before restoring {name}").name
    assert f"gaia backup restore {before}" in done.out
    assert cli("backup", "restore", "--latest", "dev1", "qa", "--json").data["name"] == before
    assert customers(stage) == ["Ada", "Grace"]

    assert cli("backup", "delete", name, before, "--json").data == {"deleted": [name, before]}
    listed = cli("backup", "list", "--all").out
    assert f"{name} " in listed
    assert "deleted" in listed
    cli("backup", "show", "shop-nothing").mistake(3)
    assert "is deleted" in cli("backup", "restore", name).mistake(4)[0]


def test_what_is_to_be_taken_must_be_said(shop: Place, cli: CommandLine) -> None:
    assert cli("backup", "take").mistake(2)[0] == "gaia: it was not said of what"
    assert cli("backup", "take", "--all", "dev1").mistake(2)[0] == "gaia: --all and dev1 say different things"
    cli("backup", "take", "nowhere").mistake(3)
    cli("backup", "take", "dev1", "prod").mistake(2)
    assert len(cli("backup", "take", "dev1", "--json").data["taken"]) == 3
    said = cli("backup", "take", "dev2", "dev")
    assert said.out.startswith("shop-dev2-dev-2")
    assert "verified by restoring it" in said.out
    assert cli.manage("backup_envs", "dev2", "qa").out.startswith("shop-dev2-qa-2")


def test_a_damaged_one_is_told_and_made_again(shop: Place, cli: CommandLine) -> None:
    stage = shop.stage(1, "qa")
    cli("backup", "take", "dev1", "qa")
    fill(stage, *(f"customer {number}" for number in range(2000)))
    broken = break_it(stage)

    lines = cli("backup", "take", "dev1").mistake(4)
    assert "1 of 3 backups failed; shop-dev1-qa: the database shop.db is damaged" in lines[0]
    assert "gaia env repair-database" in lines[-1]

    said = cli("env", "repair-database", "dev1", "qa")
    assert said.code == 0, said
    assert said.out.startswith(
        "The database of stage qa of shop-dev1 was made from its newest whole backup, shop-dev1-qa-"
    )
    [line] = [line for line in said.lines if line.startswith("  its files")]
    assert (Path(line.split()[-1]) / "shop.db").read_bytes() == broken
    assert customers(stage) == ["Ada"]
    assert cli("env", "repair-database", "dev1", "qa", "--json").data["made_from"] == "whole"


def test_reset(shop: Place, cli: CommandLine) -> None:
    (shop.path(1) / "notes.txt").write_text("mine\n")
    cli("env", "reset").mistake(2)
    cli("env", "reset", "dev7").mistake(3)

    said = cli("env", "reset", "dev1", "--project", "shop", "--yes")

    assert said.code == 0, said
    assert said.lines[:2] == [
        "shop-dev1 is as new.",
        "  3 databases were backed up. Bring one back with gaia backup restore NAME:",
    ]
    assert "gaia env restore shop-dev1-2" in said.out
    assert not (shop.path(1) / "notes.txt").exists()
    [result] = cli("env", "reset", "--all", "--json").data["projects"]
    assert result["reset"] == ["dev1", "dev2"]


def test_reset_asks_once_on_a_terminal(shop: Place, cli: CommandLine) -> None:
    terminal = cli.on_a_terminal("env", "reset", "--all")
    terminal.until("Reset shop-dev1, shop-dev2? Stages and sessions in them end; work is salvaged and databases are")
    terminal.until("[y/N]")
    terminal.type("n\n")
    assert terminal.end() == 7
    assert not Backup.objects.exists()


# -- GAIA's own, in a home of its own


def test_gaias_own_restored_with_gaia_down(bare: CommandLine) -> None:
    """While it works, after it was replaced by nonsense, and after it is gone."""
    database = Path(bare.environ["GAIA_HOME"]) / "data" / "gaia.sqlite3"
    [own] = bare("backup", "take", "--gaia", "--json").data["taken"]
    assert own["of"] == "GAIA's own database"
    assert f"replaces  {database}" in bare("backup", "show", own["name"]).out

    database.write_bytes(b"this is no database any more" * 1000)
    Path(f"{database}-wal").unlink(missing_ok=True)
    lines = bare("events").mistake(6)
    assert lines[0].startswith("gaia: GAIA's own database is damaged: ")
    assert "gaia backup restore gaia" in lines[-1]
    listed = bare("backup", "list")
    assert own["name"] in listed.out
    assert "cannot be read" in listed.err
    said = bare("backup", "restore", own["name"], "--json")
    assert said.code == 0, said
    assert (Path(said.data["salvaged"]) / "gaia.sqlite3").read_bytes() == b"this is no database any more" * 1000
    with closing(sqlite3.connect(database)) as restored:
        assert restored.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    kinds = [event["kind"] for event in bare("events", "--json").data]
    assert kinds[-1] == "backup.restored"
    assert bare("backup", "list", "--json").data[0]["state"] == "verified", "it knows the backup that it is"

    database.unlink()
    assert "There are backups of the one that was here" in bare("operation", "list").err
    for path in database.parent.glob("gaia.sqlite3*"):
        path.unlink()
    again = bare("backup", "restore", "gaia", "--json").data
    assert (again["name"], again["before"], again["salvaged"]) == (own["name"], None, None)
    final = bare("backup", "restore", "gaia", "--json").data
    assert final["before"], "this time there was a whole one to back up"
    assert final["before"] in final["adopted"]


def test_gaias_own_is_not_replaced_under_it(bare: CommandLine) -> None:
    home = Path(bare.environ["GAIA_HOME"])
    bare("backup", "take", "--gaia")
    database = home / "data" / "gaia.sqlite3"
    restored = "SELECT count(*) FROM events_event WHERE kind = 'backup.restored'"

    with opened(database) as somebody:
        somebody.execute("SELECT count(*) FROM events_event").fetchone()
        lines = bare("backup", "restore", "gaia").mistake(DatabaseInUse.exit_code)
        assert "the database gaia.sqlite3 is in use by" in lines[0]

    from common.files import file_lock

    with file_lock(home / "run" / "node.lock"):
        lines = bare("backup", "restore", "gaia").mistake(4)
    assert lines[0] == "gaia: GAIA runs"
    assert "gaia down" in lines[-1]
    with opened(database) as unchanged:
        assert unchanged.execute(restored).fetchone() == (0,)
