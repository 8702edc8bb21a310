"""Sources that are none, that could run commands, that carry secrets, that are somebody else's."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests.environments.drivers.repositories import commit, git, make_repository
from tests.environments.places import Place
from tests.environments.refusals import UNPRIVILEGED, nothing_written, own_home, problem, told


def test_no_repository(place: Place, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()

    said = place.gaia("env", "setup", cwd=tmp_path / "plain")

    told(said, 2, f"{tmp_path / 'plain'} is not a git repository", "--source PATH-OR-URL", "init && git")
    nothing_written()
    assert list((tmp_path / "plain").iterdir()) == []


def test_an_empty_repository(place: Place, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "empty")

    told(place.gaia("env", "setup", "--source", tmp_path / "empty"), 2, "has no commits yet", "first commit")

    nothing_written()


def test_a_source_that_does_not_exist(place: Place, post: Callable[..., Any]) -> None:
    told(place.gaia("env", "setup", "--source", "nowhere"), 3, "nowhere does not exist")
    problem(post("setup", source="/nowhere/at/all"), 404, "does not exist", "fix")

    nothing_written()


def test_a_source_that_may_not_be_read(place: Place, tmp_path: Path) -> None:
    place.source.chmod(0)

    said = place.gaia("env", "setup", "--source", place.source, before=UNPRIVILEGED, env=own_home(tmp_path))

    place.source.chmod(0o755)
    told(said, 5, "may not be read", "Give your user the right")
    assert list((tmp_path / "home/hubs").iterdir()) == []


@pytest.mark.parametrize("source", ["ext::sh -c 'touch %s'", "-u./touch", "--upload-pack=touch", "fd::17", "a\nb", ""])
def test_sources_that_could_run_commands(place: Place, source: str, post: Callable[..., Any]) -> None:
    problem(post("setup", source=source), 400)

    nothing_written()


@pytest.mark.parametrize("source", ["ext::sh -c 'touch here'", "--upload-pack=touch here"])
def test_sources_that_could_run_commands_at_the_terminal(place: Place, source: str) -> None:
    told(place.gaia("env", "setup", f"--source={source}"), 2, "is not a repository GAIA can use")

    nothing_written()
    assert not (place.root / "here").exists()


def test_an_unknown_kind_of_address(place: Place) -> None:
    told(place.gaia("env", "setup", "--source", "ftp://example.org/x.git"), 2, "ftp:// are not supported")


def test_a_server_that_does_not_answer(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    told(place.gaia("env", "setup", "--source", f"git://127.0.0.1:{port}/x"), 6, "cannot be read", "Connection refused")

    nothing_written()


@pytest.mark.parametrize(
    "address",
    [
        "https://ada:s3cr3t-pass@example.org/x.git",
        "https://ghp_s3cr3tpass0123456789@example.org/x.git",
        "ssh://git:s3cr3t-pass@example.org/x.git",
        "https://example.org/x.git?private_token=s3cr3t-pass",
    ],
)
def test_credentials_in_an_address_are_refused_and_kept_nowhere(
    place: Place, address: str, post: Callable[..., Any]
) -> None:
    said = place.gaia("env", "setup", "--source", address, "--json")
    answer = post("setup", source=address)

    told(said, 2, "the address carries a password or token", "git credential", "ssh", "docs/environments.md")
    problem(answer, 400, "credential")
    assert "s3cr3t" not in said.out + said.err + answer.content.decode()
    nothing_written()
    for file in settings.GAIA.home.root.rglob("*"):
        assert not file.is_file() or b"s3cr3t" not in file.read_bytes(), file


def test_git_is_missing(place: Place) -> None:
    said = place.gaia("env", "setup", "--source", place.source, env={"PATH": "/nowhere"})

    told(said, 6, "git is not installed", "apt-get install git")
    nothing_written()


def test_git_is_too_old(place: Place, tmp_path: Path) -> None:
    (tmp_path / "git").write_text("#!/bin/sh\necho git version 2.20.1\n")
    (tmp_path / "git").chmod(0o755)

    said = place.gaia(
        "env", "setup", "--source", place.source, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    )  # fmt: skip

    told(said, 6, "git 2.20.1 is too old", "Install git 2.31")


# -- what is registered


def test_another_source_under_a_known_name(place: Place, post: Callable[..., Any]) -> None:
    place.set_up(1)
    other = make_repository(place.root / "elsewhere/shop")

    told(place.gaia("env", "setup", "--source", other), 4, "already comes from", "--project")
    problem(post("setup", source=str(other)), 409, "already comes from")


def test_environments_do_not_move(place: Place, tmp_path: Path) -> None:
    place.set_up(1)

    said = place.gaia("env", "setup", "--root", tmp_path / "other")
    told(said, 4, f"lie in {place.root} with ports from {place.base_port}", "gaia env clean --project shop")
    told(place.gaia("env", "setup", "--base-port", place.base_port + 10), 4, "Leave --root and --base-port away")


def test_a_source_under_several_names_none_of_which_is_its_own(place: Place) -> None:
    place.set_up(1, project="one")
    place.set_up(1, project="two")

    told(place.gaia("env", "setup", "--source", place.source), 4, "one and as two", "--project")


# -- repositories with peculiarities


def test_submodules_pointers_and_a_tracked_script_are_said(place: Place, tmp_path: Path) -> None:
    inner = make_repository(tmp_path / "inner")
    git(place.source, "submodule", "add", "-q", inner, "vendor/inner")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n"
    commit(
        place.source,
        {
            ".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n",
            "large.bin": pointer,
            "launch.sh": "#!/bin/sh\necho theirs\n",
        },
    )

    said = place.gaia("env", "setup", "--source", place.source, "--count", "2")

    assert said.code == 0, said.err
    assert "submodule  dev1, dev2: vendor/inner; fetch it there with: git submodule update --init" in said.out
    assert "kept       dev1, dev2: launch.sh (is tracked by the repository; GAIA's is .gaia/launch.sh)" in said.out
    for number in (1, 2):
        assert (place.path(number) / "launch.sh").read_text() == "#!/bin/sh\necho theirs\n"
        assert (place.path(number) / "large.bin").read_text() == pointer
        assert git(place.path(number), "status", "--porcelain") == ""
