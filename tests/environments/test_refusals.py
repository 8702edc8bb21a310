"""Names, numbers and moments that are not possible: refused at every door, and nothing is written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from environments.models import Environment
from environments.states import EnvironmentState
from processes.models import Operation
from tests.environments.drivers.repositories import make_repository
from tests.environments.places import Place
from tests.environments.refusals import nothing_written, problem, told

# -- names and numbers


@pytest.mark.parametrize("name", ["my shop", "..", ".", "a:b"])
def test_names_that_are_not_names(place: Place, name: str) -> None:
    told(place.gaia("env", "setup", "--source", place.source, f"--project={name}"), 2, "is not a valid project name")

    nothing_written()


@pytest.mark.parametrize("name", ["my shop", "..", "a.b", "a/b", "", "ä", "x" * 65])
def test_names_that_the_api_refuses(place: Place, name: str, post: Callable[..., Any]) -> None:
    problem(post("setup", source=str(place.source), project=name), 400)

    nothing_written()


@pytest.mark.parametrize("count", [0, 500, -1])
def test_numbers_that_are_not_possible(place: Place, count: int, post: Callable[..., Any]) -> None:
    said = place.gaia("env", "setup", "--source", place.source, f"--count={count}")

    told(said, 2, str(count), "environments")
    problem(post("setup", source=str(place.source), count=count), 400, "between 1 and 100")
    nothing_written()


def test_a_number_that_is_none(place: Place, post: Callable[..., Any]) -> None:
    said = place.gaia("env", "setup", "--source", place.source, "--count", "abc")

    assert said.code == 2
    assert "--count" in said.err
    assert "abc" in said.err
    problem(post("setup", source=str(place.source), count="abc"), 400, "count")
    nothing_written()


@pytest.mark.parametrize("port", [0, 80, 65_500, 10**9])
def test_base_ports_that_cannot_be_used(place: Place, port: int, post: Callable[..., Any]) -> None:
    problem(post("setup", source=str(place.source), base_port=port), 400, "cannot be used", "--base-port")

    nothing_written()


def test_a_base_port_that_the_command_line_refuses(place: Place) -> None:
    told(place.gaia("env", "setup", "--source", place.source, "--base-port", 80), 2, "cannot be used", "--base-port")


# -- two at once


def test_the_second_of_two_at_once_is_told_of_the_first(place: Place, tmp_path: Path, post: Callable[..., Any]) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    wrapper = tmp_path / "bin/git"
    wrapper.parent.mkdir()
    real = subprocess.run(["sh", "-c", "command -v git"], capture_output=True, text=True, check=True).stdout.strip()
    wrapper.write_text(
        f'#!/bin/sh\ncase "$*" in *" clone "*)\n'
        f"touch {tmp_path}/cloning; while [ -e {gate} ]; do sleep 0.05; done;;\n"
        f'esac\nexec {real} "$@"\n'
    )
    wrapper.chmod(0o755)
    words = ("env", "setup", "--source", place.source, "--count", "1")

    with place.start(*words, env={"PATH": f"{wrapper.parent}:{os.environ['PATH']}"}) as first:
        try:
            while not (tmp_path / "cloning").exists():
                assert first.poll() is None
            second = place.gaia(*words)
            answer = post("setup", source=str(place.source), count=1)
        finally:
            gate.unlink()
        first.communicate()

    operation = Operation.objects.get()
    who = f"operation {operation.pk}, asked for by {operation.actor}"
    told(second, 4, "Set-up of 1 environment of shop is already running", who, f"operation follow {operation.pk}")
    problem(answer, 409, who)
    assert first.returncode == 0
    assert [each.state for each in Environment.objects.all()] == [EnvironmentState.READY]


# -- removal and stages


def test_removing_what_is_not_there(place: Place, post: Callable[..., Any]) -> None:
    told(place.gaia("env", "clean"), 3, "there is no project yet", "gaia env setup")
    place.ready(1)

    told(place.gaia("env", "clean", "dev1", "dev9"), 3, "shop has no environment dev9", "It has dev1.")
    told(place.gaia("env", "clean", "--project", "shoe"), 3, "there is no project 'shoe'", "shop")
    problem(post("clean", names=["dev9"]), 404, "dev9")
    problem(post("clean", names=[]), 400, "names")
    assert place.environment(1).state == EnvironmentState.READY


def test_launching_what_is_not_there(place: Place, post: Callable[..., Any]) -> None:
    told(place.gaia("env", "launch", "dev1"), 3, "there is no environment 'dev1'", "gaia env setup")
    place.ready(1)
    place.set_up(1, source=str(make_repository(place.root / "other")))

    told(place.gaia("env", "launch", "dev1"), 4, "dev1 is not clear", "other-dev1 or shop-dev1")
    problem(post("shop-dev7/stages/qa/launch/"), 404, "shop-dev1")
    problem(post("shop-dev1/stages/prod/launch/"), 404, "dev, qa, staging")
