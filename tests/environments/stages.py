"""What tests of stages ask and do: what is shown of one, its scripts, its command."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from environments.models import Stage
from environments.overview import environments_overview
from tests.environments.places import Place

QA = "environment/shop-dev1/qa"


def shown(stage: Stage) -> dict[str, Any]:
    """What every door shows of a stage."""
    [found] = [
        one
        for environment in environments_overview()
        for one in environment["stages"]
        if (one["environment"], one["name"]) == (stage.environment.directory, stage.name)
    ]
    return found


def is_shown(stage: Stage, **facts: Any) -> Callable[[], bool]:
    """Asks whether a stage is shown with these facts."""
    return lambda: {name: shown(stage)[name] for name in facts} == facts


def answer_of(stage: Stage) -> str:
    """What the stage answers on its health path."""
    with urllib.request.urlopen(f"{stage.url}/health", timeout=10) as answer:  # noqa: S310  our own address
        return str(answer.read().decode())


def script(stage: Stage, name: str, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run one of a stage's scripts, as a person does."""
    return subprocess.run(
        [Path(stage.environment.path, name), *words], env={**os.environ, **environ}, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip


def pid_by_script(stage: Stage) -> int:
    """The pid that status.sh says."""
    stages_ = json.loads(script(stage, "status.sh", "--json").stdout)["stages"]
    return int(next(one["pid"] for one in stages_ if one["name"] == stage.name))


def mend_command(place: Place, command: str, number: int = 1) -> None:
    """Have an environment's stages run another command."""
    (place.path(number) / "gaia.yaml").write_text(f"command: {json.dumps(command)}\n")


def answers(stage: Stage) -> bool:
    """Whether it answers there at all."""
    try:
        answer_of(stage)
    except OSError:
        return False
    return True
