"""Projects whose environments were all removed, or never made, stand in nobody's way."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from environments.actions.stages import find_environment
from environments.models import Environment
from environments.states import EnvironmentState
from projects.models import Project
from sessions.actions import control, start
from tests import warm
from tests.conftest import Operator
from tests.endpoints import client_of
from tests.live import ROOT
from tests.sessions.by_hand import Tmux

MakeEnvironments = Callable[..., list[Environment]]


@pytest.fixture
def environment(acting: str, make_environments: MakeEnvironments, tmp_path: Path) -> Environment:
    """The only live one. Its project has an older one before it, and two newer ones behind it without any."""
    make_environments(1, "older")
    [live] = make_environments(1, "newest")
    [removed] = make_environments(1, "removed")
    Environment.objects.filter(pk=removed.pk).update(state=EnvironmentState.REMOVED)
    Environment.objects.filter(project__name="older").update(state=EnvironmentState.REMOVED)
    Project.objects.create(name="hollow", source=str(tmp_path / "hollow"), root=str(tmp_path))
    return live


def manage(*words: str) -> Any:
    done = warm.run([ROOT / "manage.py", *words, "--json"], cwd=ROOT, environ=os.environ, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_fleet_goes_to_the_newest_project_that_has_environments(
    acting: str, tmux: Tmux, environment: Environment, make_environments: MakeEnvironments
) -> None:
    done = start.start_fleet(group="dev_workers")
    assert control.find("dev1_worker").environment == environment
    assert control.find("dev1_worker").cwd == environment.path
    assert done.notes.keys() == {f"dev{number}_worker" for number in (2, 3, 4, 5)}
    start.stop_fleet()
    [newer] = make_environments(1, "newer")
    start.start_fleet(group="dev_workers")
    assert control.find("dev1_worker").environment == newer


def test_without_any_environment_it_starts_all_the_same(
    acting: str, tmux: Tmux, environment: Environment, home: Any
) -> None:
    Environment.objects.update(state=EnvironmentState.REMOVED)
    done = start.start_fleet(only=["dev1_worker"])
    assert done.notes == {"dev1_worker": "environment dev1 is not set up, so it runs in a directory of its own"}
    assert control.find("dev1_worker").cwd == str(home.root / "workspaces" / "dev1_worker")


def test_an_environment_is_found_by_its_name_alone(environment: Environment) -> None:
    assert find_environment("dev1") == environment


def test_the_pictures_show_what_there_is(
    transactional_db: None, tmux: Tmux, environment: Environment, operator: Operator
) -> None:
    start.start_fleet(group="dev_workers")
    groups = manage("group_status")
    workers = {one["name"]: one["environment"] for group in groups for one in group["sessions"]}
    assert workers == {"dev1_worker": "newest-dev1"} | {f"dev{number}_worker": None for number in (2, 3, 4, 5)}
    for status in (manage("multi_env_status"), client_of(operator.token).get("/api/multi-env/status").json()):
        assert status["totals"] == {"environments": 1, "stages": 0, "sessions": 5}
        assert [one["directory"] for one in status["directories"]] == ["newest-dev1"]


def test_the_home_page_shows_what_there_is(tmux: Tmux, environment: Environment, operator: Operator) -> None:
    start.start_fleet(group="dev_workers")
    console = Client()
    console.force_login(operator.user)
    page = console.get("/admin/").content.decode()
    assert "newest-dev1" in page
    assert "dev1_worker" in page
    for name in ("hollow", "removed", "older"):
        assert f">{name}" not in page
        assert f"{name}-dev" not in page
