"""Half-made directories that nobody builds any more: clones and hubs whose makers were killed."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from environments.drivers.partial import dead_partials, remove_dead_partial
from events import log
from projects.models import Project


def half_made() -> list[Path]:
    """Where they lie; nothing is removed."""
    home = settings.GAIA.home
    places = {home.hubs, home.checkouts, *(Path(root) for root in Project.objects.values_list("root", flat=True))}
    return sorted(each for place in places for each in dead_partials(place))


def remove_half_made(directory: Path) -> bool:
    """Remove one, with an event. Returns: False when somebody works in it after all."""
    if not remove_dead_partial(directory):
        return False
    with log.atomic():
        told = f"A half-made {_target(directory)} was removed: whoever made it was killed"
        log.emit("directory.half_made_removed", subject="environments", message=told, path=str(directory))
    return True


def _target(directory: Path) -> str:
    return directory.name.removeprefix(".").partition(".gaia-partial-")[0]
