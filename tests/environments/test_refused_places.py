"""Places and ports that are not ours: what lies there stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from projects.models import Project
from tests.environments.drivers.repositories import git, make_repository, snapshot_of
from tests.environments.places import Place
from tests.environments.refusals import UNPRIVILEGED, listening, nothing_written, own_home, problem, told


def test_a_path_that_is_not_ours(place: Place, post: Callable[..., Any]) -> None:
    (place.path(2) / "precious").mkdir(parents=True)
    before = snapshot_of(place.path(2))

    said = place.gaia("env", "setup", "--source", place.source, "--count", "3")

    told(said, 4, f"{place.path(2)} exists and was not made by GAIA", "--root")
    problem(post("setup", source=str(place.source), count=3), 409, str(place.path(2)))
    nothing_written()
    assert snapshot_of(place.path(2)) == before
    assert not place.path(1).exists()


@pytest.mark.parametrize("kind", ["file", "dangling link", "clone"])
def test_other_things_at_the_path(place: Place, kind: str) -> None:
    if kind == "file":
        place.path(1).write_text("mine")
    elif kind == "clone":
        git(place.root, "clone", "-q", place.source, place.path(1))
    else:
        place.path(1).symlink_to("nowhere")

    told(place.gaia("env", "setup", "--source", place.source), 4, "was not made by GAIA")

    nothing_written()


def test_a_checkout_of_another_gaia(place: Place, tmp_path: Path) -> None:
    place.set_up(1)
    before = snapshot_of(place.path(1))

    said = place.gaia("env", "setup", "--source", place.source, env={"GAIA_HOME": str(tmp_path / "other home")})

    told(said, 4, f"{place.path(1)} belongs to another GAIA or project", "--root")
    assert snapshot_of(place.path(1)) == before


def test_a_root_that_may_not_be_written(place: Place, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o500)

    words = ("env", "setup", "--source", place.source, "--root", tmp_path / "theirs/deep")

    said = place.gaia(*words, before=UNPRIVILEGED, env=own_home(tmp_path))

    told(said, 5, f"{tmp_path / 'theirs'} may not be written", "--root")
    assert list((tmp_path / "home/hubs").iterdir()) == []


def test_a_root_that_is_a_file(place: Place, post: Callable[..., Any]) -> None:
    (place.root / "file").write_text("")

    said = place.gaia("env", "setup", "--source", place.source, "--root", "file/deep")

    told(said, 2, "file is not a directory")
    problem(post("setup", source=str(place.source), root=str(place.root / "file")), 400)
    nothing_written()


def test_a_root_inside_the_source_or_an_environment(place: Place) -> None:
    told(place.gaia("env", "setup", "--root", ".", cwd=place.source), 2, f"lies inside {place.source}")
    nothing_written()
    place.set_up(1)

    said = place.gaia(
        "env", "setup", "--source", make_repository(place.root / "other"), "--root", place.path(1) / "docs"
    )  # fmt: skip

    told(said, 2, f"lies inside {place.path(1)}")


def test_a_path_that_is_too_long(place: Place, post: Callable[..., Any]) -> None:
    told(place.gaia("env", "setup", "--source", place.source, "--root", "/tmp/" + "x" * 300), 2, "cannot be used")
    told(place.gaia("env", "setup", "--source", "x" * 901), 2, "more than 900 characters")
    problem(post("setup", source="/" + "x" * 300), 400, "cannot be used")

    nothing_written()


def test_relative_paths_mean_nothing_to_the_api(place: Place, post: Callable[..., Any]) -> None:
    problem(post("setup", source="shop"), 400, "relative path")
    problem(post("setup", source="."), 400, "relative path")
    problem(post("setup", source=str(place.source), root="here"), 400, "relative path")
    nothing_written()


def test_the_api_never_means_the_servers_own_directory(place: Place, post: Callable[..., Any]) -> None:
    problem(post("setup"), 400, "which repository is meant is not clear")
    problem(post("setup", project="shop"), 404, "there is no project")
    nothing_written()


# -- ports


def test_a_port_that_a_stranger_has(place: Place, post: Callable[..., Any]) -> None:
    with listening(place.base_port + 101) as pid:
        said = place.gaia("env", "setup", "--source", place.source, "--count", "2")
        answer = post("setup", source=str(place.source), count=2)

    told(said, 4, f"port {place.base_port + 101} is taken by python3 (pid {pid})", "--base-port")
    problem(answer, 409, f"(pid {pid})")
    nothing_written()
    assert not place.path(1).exists()


def test_a_port_that_another_project_has(place: Place) -> None:
    place.set_up(1)
    other = make_repository(place.root / "other")

    said = place.gaia("env", "setup", "--source", other, "--base-port", place.base_port)

    told(said, 4, f"port {place.base_port} is leased to environment/shop-dev1/dev")
    assert Project.objects.count() == 1
    assert not place.path(1, "other").exists()
