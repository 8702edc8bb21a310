"""Where environments go: the directory of their checkouts and their ports. What cannot work is refused."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from django.conf import settings

from common.errors import InvalidInput, Refused
from environments.models import Environment, Layer
from environments.states import ENVIRONMENT_ACTIVE
from processes.actions.nodes import node_name
from processes.actions.ports import check_free, check_listening
from processes.drivers import ports
from processes.models import Node, PortLease
from projects.models import Project

MAX_COUNT = 100  # the qa ports begin 100 above the dev ports
_BLOCK = 3 * MAX_COUNT
_LOWEST_PORT, _HIGHEST_PORT = 1024, 65_535


def anchored(text: str, cwd: Path | None) -> Path:
    """A path that somebody typed, made absolute.

    Args:
        cwd: where the person stands; None when they stand nowhere, as in the API.

    Raises: InvalidInput for a relative path of somebody who stands nowhere.
    """
    path = Path(os.path.expanduser(text))
    if not path.is_absolute() and cwd is None:
        raise InvalidInput(
            f"{text!r} is a relative path",
            meaning="It would be looked for where GAIA's server happens to run.",
            fix="Give the whole path, beginning with a slash.",
            path=text,
        )
    return Path(cwd or "/", path).resolve()


def configured_root(beside: Path | None) -> Path:
    """Where checkouts go when nobody says: the setting, else beside a local source, else the home's `checkouts/`."""
    configured = str(settings.GAIA["environments.root"])
    if configured:
        return anchored(configured, settings.GAIA.home.root)
    return beside.parent if beside is not None else settings.GAIA.home.checkouts


def check_root(root: Path, source: str, *, project: str, writes: bool) -> None:
    """Refuse a directory in which checkouts cannot lie, or would be in somebody's way.

    Args:
        root: the directory; it is made when missing.
        source: path or URL of the project's source.
        writes: whether anything is going to be made there.

    Raises: InvalidInput, Refused.
    """
    inside = [source] if source.startswith("/") else []
    others = Environment.objects.filter(state__in=ENVIRONMENT_ACTIVE).exclude(project__name=project)
    inside += others.values_list("path", flat=True)
    for path in inside:
        if root.is_relative_to(path):
            raise InvalidInput(
                f"{root} lies inside {path}",
                meaning="Checkouts inside a repository would look like its own files, and be removed with it.",
                fix="Choose a directory outside of it with --root.",
                path=str(root),
            )
    there = next(parent for parent in (root, *root.parents) if parent.exists())
    if not there.is_dir():
        raise InvalidInput(f"{there} is not a directory", fix="Choose another place with --root.", path=str(there))
    if writes and not os.access(there, os.W_OK | os.X_OK):
        raise Refused(
            f"{there} may not be written",
            meaning=f"The checkouts would go to {root}.",
            fix="Give your user the right, or choose another place with --root.",
            path=str(there),
        )


def free_base_port(count: int, *, unused: bool = False) -> int:
    """The configured base port, or the first block above it that no other project has.

    Args:
        count: how many environments there will be.
        unused: pass over blocks in which somebody listens too; otherwise they are named when it comes to it.

    Raises: InvalidInput when there is none.
    """
    first = int(settings.GAIA["environments.base_port"])
    taken = set(Project.objects.values_list("base_port", flat=True))
    leased = set(PortLease.objects.filter(node__name=node_name()).values_list("port", flat=True))
    kept = [layer.ports for layer in Layer.objects.all() if layer.ports]
    for base in range(first, _HIGHEST_PORT - _BLOCK, _BLOCK):
        wanted = [base + offset + number for offset in range(0, _BLOCK, MAX_COUNT) for number in range(count)]
        if any(each.start < base + _BLOCK and base < each.stop for each in kept):
            continue
        if any(abs(base - other) < _BLOCK for other in taken) or not leased.isdisjoint(wanted):
            continue
        if not unused or all(ports.holder(port) is None for port in wanted):
            return base
    raise InvalidInput(
        f"from port {first} up there is no free block of {_BLOCK}", fix="Choose a base port with --base-port."
    )


def ports_of(planned: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """The ports of planned environments, by the keys of the stages that will own them."""
    return {
        f"environment/{Path(each['path']).name}/{stage}": port
        for each in planned
        for stage, port in each["ports"].items()
    }


def check_ports(wanted: Mapping[str, int]) -> None:
    """Refuse ports that are out of range, leased to somebody else or listened on; writes nothing.

    Args:
        wanted: port by owner key.

    Raises: InvalidInput; Conflict that names the holder.
    """
    lowest, highest = min(wanted.values()), max(wanted.values())
    if lowest < _LOWEST_PORT or highest > _HIGHEST_PORT:
        raise InvalidInput(
            f"ports {lowest} to {highest} cannot be used",
            meaning=f"GAIA hands out ports from {_LOWEST_PORT} to {_HIGHEST_PORT}.",
            fix="Choose --base-port between 1024 and 65000.",
            port=lowest,
        )
    node = Node.objects.filter(name=node_name()).first()
    if node is None:  # nothing was ever leased here
        for port in wanted.values():
            check_listening(port)
        return
    check_free(node, wanted)
