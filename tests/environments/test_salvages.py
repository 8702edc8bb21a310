"""Work that was salvaged comes back: by the command that was printed, and by GAIA."""

from __future__ import annotations

import subprocess
from pathlib import Path

from django.conf import settings

from environments.actions.salvages import list_salvages
from events.models import Event
from tests.environments.drivers.repositories import commit, git
from tests.environments.places import Place
from tests.environments.work import files_of, run_in_sh, work_in


def test_the_printed_command_brings_everything_back(place: Place, tmp_path: Path) -> None:
    place.ready(2)
    before = work_in(place.path(1))

    said = place.gaia("env", "clean")

    assert said.code == 0, said.err
    assert not place.path(1).exists()
    lines = said.out.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("    (set -e"))
    last = next(number for number, line in enumerate(lines) if number >= first and line.endswith(")"))
    run_in_sh("\n".join(lines[first : last + 1]), tmp_path)
    assert files_of(place.path(1)) == before
    assert "shop-dev2: it had no work that the hub does not have" in said.out
    # what the command made is an environment again
    assert place.set_up(2)["created"] == ["dev2"]
    assert files_of(place.path(1)) == before


def test_gaia_brings_everything_back(place: Place) -> None:
    place.ready(1)
    before = work_in(place.path(1))
    place.clean()
    place.set_up(1)

    listed = place.gaia("env", "restore")
    name = listed.out.split()[0]
    said = place.gaia("env", "restore", name)

    assert listed.code == said.code == 0
    assert name.startswith("shop-dev1-")
    assert "heads/env/dev1, worktree" in listed.out
    assert files_of(place.path(1)) == before
    assert Event.objects.filter(kind="salvage.restored", subject="project/shop").count() == 1


def test_the_command_works_in_an_environment_that_was_made_again(place: Place, tmp_path: Path) -> None:
    place.ready(1)
    before = work_in(place.path(1))
    [removed] = place.clean()
    place.set_up(1)

    run_in_sh(removed["salvage"]["restore_command"], tmp_path)

    assert files_of(place.path(1)) == before


def test_a_detached_head_and_a_stash(place: Place, tmp_path: Path) -> None:
    place.ready(1)
    path = place.path(1)
    (path / "README.md").write_text("for later\n")
    git(path, "stash", "push", "-q", "-m", "later")
    git(path, "checkout", "-q", "--detach")
    detached = commit(path, {"lone.txt": "on no branch\n"})

    [removed] = place.clean()
    run_in_sh(removed["salvage"]["restore_command"], tmp_path)

    assert git(path, "rev-parse", "HEAD") == detached
    assert git(path, "show", "stash@{0}:README.md") == "for later"


def test_restoring_is_refused_where_work_could_get_mixed_up(place: Place) -> None:
    place.ready(1)
    work_in(place.path(1))
    [removed] = place.clean()
    name = removed["salvage"]["name"]

    gone = place.gaia("env", "restore", name)
    place.set_up(1)
    (place.path(1) / "README.md").write_text("new work\n")
    dirty = place.gaia("env", "restore", name)
    unknown = place.gaia("env", "restore", "shop-dev1-20000101T000000Z")
    nowhere = place.gaia("env", "restore", name, "--into", "nowhere")

    assert (gone.code, dirty.code, unknown.code, nowhere.code) == (3, 4, 3, 2)
    assert "gaia env setup" in gone.err
    assert "uncommitted work" in dirty.err
    assert "gaia env restore lists them" in unknown.err
    assert "nowhere is not a directory" in nowhere.err
    assert (place.path(1) / "README.md").read_text() == "new work\n"


def test_salvages_outlive_everything(place: Place) -> None:
    place.ready(1)
    work_in(place.path(1))
    [first] = place.clean()
    refs = first["salvage"]["refs"]
    place.set_up(1)
    commit(place.source, {"new.txt": "the source moves on\n"})
    place.set_up(1)
    work_in(place.path(1))
    [second] = place.clean()

    hub = settings.GAIA.home.hubs / "shop.git"
    listed = list_salvages()
    assert [each["name"] for each in listed] == sorted([first["salvage"]["name"], second["salvage"]["name"]])
    assert listed[0]["restore_command"] == first["salvage"]["restore_command"]
    for ref, sha in refs.items():
        assert git(hub, "rev-parse", f"refs/salvage/{first['salvage']['name']}/{ref}") == sha


def test_a_checkout_deleted_by_hand_does_not_touch_what_was_salvaged(place: Place) -> None:
    place.ready(1)
    work_in(place.path(1))
    place.clean()
    place.set_up(1)
    before = git(settings.GAIA.home.hubs / "shop.git", "for-each-ref", "refs/salvage")
    subprocess.run(["rm", "-rf", place.path(1)], check=True)

    assert place.set_up(1)["created"] == ["dev1"]

    assert before
    assert git(settings.GAIA.home.hubs / "shop.git", "for-each-ref", "refs/salvage") == before
