"""Registering projects, and finding the one that is meant."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from django.db import connection

from common.errors import Conflict, InvalidInput, NotFound
from common.home import gaia_home
from events.actor import acting_as
from events.models import Event
from projects.actions import find, record_default_branch, register
from projects.models import Project


def registered(name: str = "shop", source: str = "/code/shop") -> Project:
    return register(name, source, root=Path("/code"), base_port=8081)


def test_a_project_is_registered_once(db: None, acting: str) -> None:
    first = registered()
    assert registered() == first
    assert Event.objects.filter(kind="project.registered").count() == 1
    assert first.hub == gaia_home().hubs / "shop.git"


def test_a_name_belongs_to_one_source(db: None, acting: str) -> None:
    registered(source="https://me:secret@host/shop.git")
    with pytest.raises(Conflict) as caught:
        registered(source="/elsewhere")
    assert caught.value.what == "project shop already comes from https://me:***@host/shop.git"
    assert "secret" not in repr(list(Event.objects.values()))


@pytest.mark.parametrize("name", ["two words", "..", "a/b", "a:b", "a.b", ""])
def test_bad_names(db: None, acting: str, name: str) -> None:
    with pytest.raises(InvalidInput, match="is not a valid project name"):
        registered(name)


def test_registered_by_many_at_once(transactional_db: None) -> None:
    found, problems = list[int](), list[BaseException]()
    together = threading.Barrier(4)

    def work() -> None:
        try:
            with acting_as("cli:test"):
                together.wait(20)
                found.append(registered().pk)
        except BaseException as error:
            problems.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(set(found)) == 1
    assert Event.objects.filter(kind="project.registered").count() == 1


def test_the_default_branch_is_told_when_it_changes(db: None, acting: str) -> None:
    project = registered()
    record_default_branch(project, "main")
    assert not Event.objects.filter(kind="project.default_branch_changed").exists()
    record_default_branch(project, "trunk")
    record_default_branch(project, "trunk")
    project.refresh_from_db()
    assert project.default_branch == "trunk"
    assert Event.objects.filter(kind="project.default_branch_changed").count() == 1


def test_which_one_is_meant(db: None, acting: str) -> None:
    with pytest.raises(NotFound, match="there is no project yet"):
        find(None)
    with pytest.raises(NotFound, match="there is no project yet"):
        find("shop")
    shop = registered()
    assert find(None) == find("shop") == shop
    registered("bank", "/code/bank")
    with pytest.raises(NotFound) as caught:
        find(None)
    assert (caught.value.what, caught.value.meaning) == ("there are several projects", "Projects: bank, shop.")
    with pytest.raises(NotFound, match="there is no project 'nowhere'"):
        find("nowhere")
