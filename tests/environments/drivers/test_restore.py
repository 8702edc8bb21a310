"""Salvaged work comes back as it was, or beside what is there now."""

from __future__ import annotations

import pytest

from common.errors import Conflict, NotFound
from environments.drivers.salvage import restore
from tests.environments.drivers.repositories import (
    commit,
    create_checkout,
    git,
)
from tests.environments.drivers.salvages import NAME, Environment, picture, run_command, same_work


@pytest.mark.parametrize("how", ["git", "gaia"])
def test_everything_comes_back(environment: Environment, how: str) -> None:
    commit(environment.path, {"unpushed": "1"}, "mine")
    sha = git(environment.path, "rev-parse", "HEAD")
    environment.make_a_mess()
    before = picture(environment.path)
    found = environment.clean()
    assert not environment.path.exists()
    if how == "git":
        run_command(found.restore_command)
    else:
        environment.make()
        restored = restore(environment.path, environment.hub, found.name)
        assert (restored.branches, restored.aside, restored.files) == (("env/dev1",), (), True)
    assert git(environment.path, "rev-parse", "HEAD") == sha
    assert git(environment.path, "symbolic-ref", "--short", "HEAD") == "env/dev1"
    assert picture(environment.path) == before if how == "gaia" else same_work(environment.path, before)
    assert git(environment.path, "stash", "list") == ""


def test_the_command_works_on_an_environment_that_was_made_again(environment: Environment) -> None:
    commit(environment.path, {"unpushed": "1"})
    environment.make_a_mess()
    before = picture(environment.path)
    found = environment.clean()
    environment.make()
    run_command(found.restore_command)
    assert picture(environment.path) == before


def test_a_checkout_with_work_of_its_own_is_not_mixed_up(environment: Environment) -> None:
    (environment.path / "x").write_text("1")
    found = environment.clean()
    environment.make()
    (environment.path / "mine").write_text("1")
    with pytest.raises(Conflict, match="uncommitted work"):
        restore(environment.path, environment.hub, found.name)
    assert not (environment.path / "x").exists()


def test_a_branch_that_has_gone_another_way_gets_the_work_beside_it(environment: Environment) -> None:
    old = commit(environment.path, {"x": "1"})
    found = environment.clean()
    environment.make()
    new = commit(environment.path, {"y": "1"})
    restored = restore(environment.path, environment.hub, found.name)
    assert restored.aside == (f"env/dev1-{NAME}",)
    assert git(environment.path, "rev-parse", "env/dev1") == new
    assert git(environment.path, "rev-parse", restored.aside[0]) == old


def test_a_branch_made_anew_from_a_newer_base_goes_back(environment: Environment) -> None:
    old = commit(environment.path, {"x": "1"})
    found = environment.clean()
    commit(environment.repository, {"newer": "1"})
    environment.make()
    assert restore(environment.path, environment.hub, found.name).branches == ("env/dev1",)
    assert git(environment.path, "rev-parse", "HEAD") == old


def test_files_that_do_not_fit_any_more_are_a_conflict(environment: Environment) -> None:
    (environment.path / "unstaged").write_text("mine\n")
    found = environment.clean()
    create_checkout(environment.hub, environment.path, branch="env/other", base="main", timeout=60)
    commit(environment.path, {"unstaged": "quite different\n"})
    with pytest.raises(Conflict, match="do not fit"):
        restore(environment.path, environment.hub, found.name)


def test_an_unknown_salvage(environment: Environment) -> None:
    with pytest.raises(NotFound):
        restore(environment.path, environment.hub, "nothing-20250101T000000Z")
