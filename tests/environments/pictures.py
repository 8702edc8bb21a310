"""All that is there, to be compared with what is there later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.serializers import serialize

from environments.models import Environment, GitState, Stage
from processes.models import PortLease
from projects.models import Project
from tests.environments.drivers.repositories import snapshot_of


def files_below(*places: Path) -> dict[str, Any]:
    """Every file outside of .git: inode, mode, time of modification, content."""
    return {
        f"{place.name}/{name}": facts
        for place in places
        for name, facts in snapshot_of(place).items()
        if not f"/{name}".startswith("/.git")
    }


def rows() -> str:
    """All that is on record of environments; when git was asked last may change."""
    kept = [*Project.objects.all(), *Environment.objects.all(), *Stage.objects.all(), *PortLease.objects.all()]
    return str(serialize("json", kept)) + str(
        list(GitState.objects.order_by("id").values_list("environment", "branch", "head"))
    )
