"""Making environments: what is there afterwards, what a second run does, what it repairs."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from django.conf import settings

from environments.actions.setup import plan_setup
from environments.models import Environment, GitState, Stage
from environments.states import EnvironmentState
from events.models import Event
from processes.models import Node, Operation, PortLease
from projects.models import Project
from tests.environments.drivers.repositories import commit, git, make_repository
from tests.environments.pictures import files_below, rows
from tests.environments.places import OFFSETS, Place

SCRIPTS = ("launch.sh", "stop.sh", "status.sh", "sync.sh")


def test_five_environments_with_branches_stages_ports_and_databases(place: Place) -> None:
    result = place.set_up(5)

    assert result["created"] == ["dev1", "dev2", "dev3", "dev4", "dev5"]
    assert [environment.state for environment in Environment.objects.all()] == [EnvironmentState.READY] * 5
    ports = {
        (stage.environment.number, stage.name): stage.port for stage in Stage.objects.select_related("environment")
    }
    assert ports == {
        (number, name): place.base_port + offset + number - 1
        for number in range(1, 6)
        for name, offset in OFFSETS.items()
    }
    leases = dict(PortLease.objects.values_list("owner", "port"))
    assert leases == {f"environment/shop-dev{number}/{name}": port for (number, name), port in ports.items()}
    for number in range(1, 6):
        path = place.path(number)
        assert git(path, "symbolic-ref", "--short", "HEAD") == f"env/dev{number}"
        assert git(path, "rev-parse", "HEAD") == git(place.source, "rev-parse", "HEAD")
        assert git(path, "status", "--porcelain") == ""
        assert all(os.access(path / script, os.X_OK) for script in SCRIPTS)
        variables = (path / ".env.local").read_text()
        for name in OFFSETS:
            with closing(sqlite3.connect(path / f"data/{name}/shop.db")) as database:
                assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert f"{name.upper()}_PORT={ports[number, name]}\n" in variables


def test_the_master_configuration_says_exactly_what_there_is(place: Place) -> None:
    place.set_up(2)

    written = json.loads((settings.GAIA.home.data / "environments.json").read_text())

    assert written == {
        "version": 1,
        "environments": [
            {
                "project": "shop",
                "name": f"dev{number}",
                "directory": f"shop-dev{number}",
                "path": str(place.path(number)),
                "branch": f"env/dev{number}",
                "stages": {
                    name: {
                        "port": place.base_port + offset + number - 1,
                        "url": f"http://localhost:{place.base_port + offset + number - 1}",
                        "database": f"data/{name}/shop.db",
                    }
                    for name, offset in OFFSETS.items()
                },
            }
            for number in (1, 2)
        ],
    }


def test_every_step_has_an_event_with_its_actor(place: Place) -> None:
    place.set_up(2)

    told = list(Event.objects.order_by("id").values_list("kind", "subject", "actor"))
    for kind, subject in [
        ("project.registered", "project/shop"),
        ("environment.requested", "environment/shop-dev1"),
        ("environment.requested", "environment/shop-dev2"),
        ("environment.ready", "environment/shop-dev1"),
        ("environment.ready", "environment/shop-dev2"),
    ]:
        assert told.count((kind, subject, "user:tester")) == 1
    assert {actor for _, _, actor in told} == {"user:tester"}


def test_a_second_run_changes_nothing_and_says_so(place: Place) -> None:
    place.gaia("env", "setup", "--source", place.source, "--count", "5")
    exported = settings.GAIA.home.data / "environments.json"
    places = [place.source, *(place.path(number) for number in range(1, 6))]
    before = files_below(*places), rows(), exported.stat().st_mtime_ns
    refs = git(settings.GAIA.home.hubs / "shop.git", "for-each-ref")

    again = place.gaia("env", "setup", "--source", place.source, "--count", "5")

    assert again.code == 0
    assert again.out.splitlines()[0] == "Nothing to do: 5 environments of shop are as wanted."
    assert (files_below(*places), rows(), exported.stat().st_mtime_ns) == before
    assert git(settings.GAIA.home.hubs / "shop.git", "for-each-ref") == refs


def test_only_what_was_deleted_comes_back(place: Place) -> None:
    place.set_up(3)
    with closing(sqlite3.connect(place.path(2) / "data/dev/shop.db")) as database, database:
        database.execute("CREATE TABLE kept (id)")
    (place.path(1) / "launch.sh").unlink()
    (place.path(3) / "data/qa/shop.db").unlink()
    before = files_below(*(place.path(number) for number in (1, 2, 3)))

    said = place.gaia("env", "setup")

    assert said.code == 0
    assert "repaired   shop-dev1: launch.sh\n" in said.out
    assert "repaired   shop-dev3: data/qa/shop.db\n" in said.out
    assert "shop-dev2" not in said.out
    after = files_below(*(place.path(number) for number in (1, 2, 3)))
    directories = {"shop-dev1/", "shop-dev3/data/qa"}
    assert set(after) - set(before) == {"shop-dev1/launch.sh", "shop-dev3/data/qa/shop.db"}
    assert {name for name, facts in before.items() if after[name] != facts} <= directories
    told = Event.objects.get(kind="environment.repaired", subject="environment/shop-dev1")
    assert told.data["repaired"] == ["launch.sh"]


def test_more_environments_later(place: Place) -> None:
    place.set_up(2)
    before = files_below(place.path(1), place.path(2))

    result = place.set_up(4)

    assert (result["created"], result["unchanged"]) == (["dev3", "dev4"], ["dev1", "dev2"])
    assert files_below(place.path(1), place.path(2)) == before
    assert place.stage(4, "staging").port == place.base_port + 203


def test_fewer_later_leaves_the_others_alone_and_says_so(place: Place) -> None:
    place.set_up(4)
    before = rows(), files_below(*(place.path(number) for number in range(1, 5)))

    said = place.gaia("env", "setup", "--count", "2")

    assert said.code == 0
    assert "Nothing to do: 2 environments" in said.out
    assert "dev3, dev4: not asked for, left alone" in said.out
    assert (rows(), files_below(*(place.path(number) for number in range(1, 5)))) == before


def test_without_a_count_it_is_the_number_asked_for_last(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.GAIA.values, "environments.count", 2)  # type: ignore[arg-type]
    assert place.set_up(None)["created"] == ["dev1", "dev2"]
    assert place.set_up(3)["created"] == ["dev3"]
    shutil.rmtree(place.path(3))
    assert place.set_up(None)["created"] == ["dev3"]
    place.clean("dev3")
    assert place.set_up(None)["created"] == ["dev3"]

    assert place.set_up(1)["others"] == ["dev2", "dev3"]
    assert place.set_up(None)["unchanged"] == ["dev1", "dev2", "dev3"]
    place.clean("dev2", "dev3")
    assert place.set_up(None)["unchanged"] == ["dev1"]


def test_a_damaged_row_is_repaired(place: Place) -> None:
    place.set_up(2)
    Environment.objects.filter(name="dev1").update(state=EnvironmentState.DAMAGED, problem="somebody tripped")
    Stage.objects.filter(environment__name="dev2", name="qa").delete()
    PortLease.objects.filter(owner="environment/shop-dev2/qa").delete()

    result = place.set_up(2)

    assert result["repaired"] == {"dev1": ["its record, which said: somebody tripped"]}
    assert place.environment(1).state == EnvironmentState.READY
    assert place.environment(1).problem == ""
    assert place.stage(2, "qa").port == place.base_port + 101
    assert PortLease.objects.filter(owner="environment/shop-dev2/qa", port=place.base_port + 101).exists()


def test_a_lost_database_finds_the_checkouts_again(place: Place) -> None:
    place.set_up(2)
    before = files_below(place.path(1), place.path(2))
    for model in (GitState, Stage, Environment, PortLease, Project):
        model.objects.all().delete()

    result = place.set_up(2)

    assert (result["created"], result["unchanged"]) == ([], ["dev1", "dev2"])
    assert files_below(place.path(1), place.path(2)) == before
    assert [environment.state for environment in Environment.objects.all()] == ["ready", "ready"]


def test_the_project_of_the_environment_one_stands_in(place: Place) -> None:
    place.set_up(1)
    place.set_up(1, source=str(make_repository(place.root / "other")))

    assert plan_setup(cwd=place.path(1) / "docs").project == "shop"
    assert plan_setup(cwd=place.path(1, "other")).project == "other"
    assert plan_setup(cwd=place.source).project == "shop"


def test_root_and_base_port_are_kept(place: Place, tmp_path: Path) -> None:
    stands = tmp_path / "stands"
    stands.mkdir()
    said = place.gaia(
        "env", "setup", "--source", place.source, "--count", 1, "--root", "../else where: here", "--base-port",
        place.base_port + 3, "--json", cwd=stands,
    )  # fmt: skip

    assert said.code == 0, said.err
    root = tmp_path / "else where: here"
    assert said.data["created"] == ["dev1"]
    assert (root / "shop-dev1" / "launch.sh").exists()
    assert not place.path(1).exists()
    project = Project.objects.get()
    assert (project.root, project.base_port) == (str(root), place.base_port + 3)
    assert place.set_up(2)["created"] == ["dev2"]
    assert place.stage(2, "qa").port == place.base_port + 3 + 101
    assert (root / "shop-dev2").is_dir()


def test_an_empty_project_may_move(place: Place, tmp_path: Path) -> None:
    place.set_up(1)
    place.clean()

    place.set_up(1, root=str(tmp_path / "new"), base_port=place.base_port + 5)

    assert place.set_up(1)["unchanged"] == ["dev1"]
    assert place.stage(1, "dev").port == place.base_port + 5
    assert place.environment(1).path == str(tmp_path / "new" / "shop-dev1")
    assert Event.objects.filter(kind="project.moved", subject="project/shop").count() == 1


def test_a_dry_run_writes_nothing(place: Place) -> None:
    place.gaia("config")
    before = files_below(place.root, settings.GAIA.home.hubs, settings.GAIA.home.locks)

    said = place.gaia("env", "setup", "--source", place.source, "--count", "2", "--dry-run")

    assert said.code == 0, said.err
    assert "create  shop-dev2            env/dev2" in said.out
    assert f"staging {place.base_port + 201}" in said.out
    assert said.out.endswith("Nothing was done (--dry-run).\n")
    assert files_below(place.root, settings.GAIA.home.hubs, settings.GAIA.home.locks) == before
    for model in (Project, Environment, Stage, PortLease, Node, Operation, Event):
        assert not model.objects.exists()


def test_a_dry_run_of_a_removal_removes_nothing(place: Place) -> None:
    place.set_up(2)

    said = place.gaia("env", "setup", "--clean", "--dry-run")

    assert said.code == 0
    assert "Would salvage and remove: shop-dev1, shop-dev2" in said.out
    assert place.path(1).is_dir()
    assert place.environment(2).state == EnvironmentState.READY


def test_clean_by_the_source(place: Place) -> None:
    place.set_up(1)
    place.set_up(1, source=str(make_repository(place.root / "other")))

    said = place.gaia("env", "setup", "--clean", "--source", "other")

    assert said.code == 0, said.err
    assert place.path(1).is_dir()
    assert not place.path(1, "other").exists()


def test_without_a_gaia_yaml_a_placeholder_is_said(place: Place) -> None:
    plain = make_repository(place.root / "plain")

    assert place.set_up(1, source=str(plain))["placeholder"] == ["dev1"]


def test_a_mistake_in_gaia_yaml_is_said_with_its_line(place: Place) -> None:
    commit(place.source, {"gaia.yaml": "command: run\nhelth: /health\n"})

    said = place.gaia("env", "setup", "--source", place.source, "--count", "2")

    assert said.code == 0
    assert "problem    dev1, dev2: gaia.yaml:2: the file has an unknown key 'helth'. Did you mean health?" in said.out
