"""What GAIA keeps in a checkout, brought into agreement with the rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from django.conf import settings

from environments.actions import stage_services
from environments.actions.layer_servers import shared_variables, stage_variables, usable_url
from environments.drivers.stage_files import Layout, Report, ensure
from environments.models import Environment, Layer, Stage


def layout_of(environment: Environment) -> Layout:
    """What is to be where in an environment's checkout: names, ports, databases, which stages serve HTTPS."""
    stages = list(environment.stages.order_by("port"))  # asked anew: what was read with the row may be of before
    layer = Layer.objects.get(environments=environment)
    return layout(environment, stages, layer, usable_url(layer))


def layout(environment: Environment, stages: Sequence[Stage], layer: Layer, url: str) -> Layout:
    """As `layout_of`, for who has looked up what it follows from.

    Args:
        url: of the layer's server, as `usable_url` gives it.
    """
    own = stage_variables(environment, layer, stages, url)
    return Layout(
        project=environment.project.name,
        environment=environment.directory,
        path=Path(environment.path),
        stages={stage.name: (stage.port, stage.database) for stage in stages},
        https=frozenset(stage.name for stage in stages if stage.https),
        authority=settings.GAIA.home.ca,
        shared=shared_variables(layer, own),
        own=own,
    )


def furnish_as(environment: Environment, stages: Sequence[Stage], layer: Layer) -> Report:
    """Write what would follow from another layer, which the rows do not say yet. Raises: as `furnish`."""
    return ensure(Path(environment.path), layout(environment, stages, layer, usable_url(layer)))


def furnish(environment: Environment) -> Report:
    """Write what follows from the rows into the checkout; what is in order there is left alone.

    The next start of its stages follows from it, too, whoever starts them.

    Raises: as `environments.drivers.stage_files.ensure`.
    """
    report = ensure(Path(environment.path), layout_of(environment))
    stage_services.refresh(environment)
    return report
