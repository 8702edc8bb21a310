"""The whole picture by the API: totals, health, and what it costs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from common.files import file_lock
from environments.models import Environment, GitState, Stage
from environments.states import STAGE_NAMES
from gaia_site import multi_env
from processes.actions.nodes import ensure_node
from processes.models import Process
from projects.models import Project
from sessions.configured import fleet
from sessions.models import Session
from tests.endpoints import client_of


def furnish(environments: int, sessions: int) -> None:
    """Rows as a set-up and a start leave them."""
    node = ensure_node()
    project = Project.objects.create(name="demo", source="/demo", root="/")
    names = [one.name for one in fleet().sessions]
    for number in range(1, environments + 1):
        environment = Environment.objects.create(
            project=project, name=f"dev{number}", number=number, path=f"/demo-dev{number}", branch="b", state="ready"
        )
        GitState.objects.create(environment=environment, branch="b")
        for offset, name in enumerate(STAGE_NAMES):
            stage = Stage.objects.create(
                environment=environment, name=name, port=9000 + 3 * number + offset, database="d"
            )
            Process.objects.create(
                node=node, owner=stage.owner, argv=["x"], cwd="/", state="running", token=stage.owner
            )
    names += [f"more{number}" for number in range(sessions - len(names))]
    for number, name in enumerate(names[:sessions]):
        known = fleet().session(name)
        Session.objects.create(
            gaia_id=str(number), name=name, group=known.group if known else "other", provider="system", cwd="/",
            state="running", environment=Environment.objects.first(),
        )  # fmt: skip


@pytest.fixture
def api(operator: Any) -> APIClient:
    return client_of(operator.token)


@pytest.mark.parametrize(("environments", "sessions"), [(5, 26), (50, 500)])
def test_the_picture_costs_the_same_at_any_size(
    api: APIClient, acting: str, django_assert_num_queries: Any, environments: int, sessions: int
) -> None:
    furnish(environments, sessions)
    with django_assert_num_queries(7):  # token and person, environments, stages, processes, services, sessions
        answer = api.get("/api/multi-env/status").json()
    assert answer["totals"] == {"environments": environments, "stages": 3 * environments, "sessions": sessions}
    assert len(answer["directories"]) == environments
    assert len(answer["environments"]) == 3 * environments
    assert {stage["state"] for stage in answer["environments"]} == {"running"}
    assert [len(group["sessions"]) for group in answer["pr_groups"]] == [3, 4, 3]
    with django_assert_num_queries(3):
        api.get("/api/orchestration/sessions/groups/")
    with django_assert_num_queries(10):  # and environments again with their health
        api.get("/api/multi-env/health")


def test_its_parts_say_the_same(api: APIClient, acting: str) -> None:
    furnish(5, 26)
    whole = {**api.get("/api/multi-env/status").json()}
    for part, path in (("directories", "directories"), ("environments", "environments"), ("pr_groups", "pr-groups")):
        assert steady(api.get(f"/api/multi-env/{path}").json()) == steady(whole[part]), part


def steady(data: Any) -> Any:
    """Without what moves by itself."""
    if isinstance(data, dict):
        return {name: steady(value) for name, value in data.items() if name != "age_s"}
    return [steady(each) for each in data] if isinstance(data, list) else data


def test_health_names_what_is_wrong(api: APIClient, acting: str, home: Any) -> None:
    furnish(2, 3)
    with file_lock(home.run / "node.lock"):
        answer = api.get("/api/multi-env/health").json()
        assert (answer["verdict"], answer["reasons"]) == ("healthy", [])
        Environment.objects.filter(name="dev1").update(state="damaged", problem="launch.sh is missing")
        GitState.objects.filter(environment__name="dev2").update(error="not a repository")
        Process.objects.filter(owner="environment/demo-dev2/qa").update(
            state="lost", ended_at=timezone.now(), problem="it was killed"
        )
        Session.objects.filter(name="architect").update(state="exited")
        for name in ("foundation", "inspector"):
            ended = {"state": "gone", "ended_at": timezone.now(), "problem": "tmux no longer has it"}
            Session.objects.filter(name=name).update(**ended)
        Session.objects.create(
            gaia_id="again", name="inspector", group="other", provider="system", cwd="/", state="running"
        )
        (home.root / "fleet.yaml").write_text("nonsense")
        answer = api.get("/api/multi-env/health").json()
    assert answer["verdict"] == "unhealthy"
    assert answer["reasons"][:-1] == [
        "demo-dev1 is damaged: launch.sh is missing",
        "git in demo-dev2: not a repository",
        "stage qa of demo-dev2 failed: it was killed",
        "session architect: its program has ended",
        "session foundation is gone: tmux no longer has it",
    ]
    assert answer["reasons"][-1].startswith("the fleet file: ")


def test_what_was_ended_on_purpose_is_well(acting: str, db: None) -> None:
    furnish(1, 2)
    Session.objects.update(state="stopped", ended_at=timezone.now() - timedelta(minutes=1))
    assert multi_env.problems() == []


def test_without_a_daemon_the_picture_may_be_old(api: APIClient) -> None:
    assert "the node daemon does not run" in api.get("/api/multi-env/health").json()["reasons"][0]


def test_the_probes(db: None, home: Any) -> None:
    client = Client()
    assert client.get("/health").json() == {"status": "ok"}
    waiting = client.get("/ready")
    assert (waiting.status_code, waiting.json()) == (503, {"status": "waiting", "waiting": ["daemon: not running"]})
    with file_lock(home.run / "node.lock"):
        ready = client.get("/ready")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready", "waiting": []})


def test_an_unchanged_picture_is_not_sent_twice(api: APIClient, acting: str) -> None:
    furnish(1, 0)
    first = api.get("/api/multi-env/status")
    again = api.get("/api/multi-env/status", HTTP_IF_NONE_MATCH=first["ETag"])
    assert (again.status_code, again.content) == (304, b"")
