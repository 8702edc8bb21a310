"""What layers want of environments, gathered for the checks; a bounded number of queries, however many there are."""

from __future__ import annotations

from collections.abc import Sequence

from common.errors import GaiaError
from environments.actions.furnishing import layout
from environments.actions.layer_mcp import allowed
from environments.actions.layer_servers import server_url, shared_services
from environments.drivers import postgres
from environments.drivers.checks_layer import LayerFacts
from environments.models import Environment, Layer
from environments.states import Engine, Need
from events.models import Destination
from services.models import Service
from services.states import Desired, ServiceKind, ServiceState

_AS_WANTED = {ServiceState.RUNNING, ServiceState.STARTING, ServiceState.COMPLETED}


def facts_of(environments: Sequence[Environment]) -> dict[int, LayerFacts]:
    """What its layer wants of each environment, by id; their projects and stages are taken as they are."""
    layers = {layer.name: layer for layer in Layer.objects.all()}
    services = {service.name: service for service in Service.objects.exclude(kind=ServiceKind.STAGE)}
    told = Destination.objects.filter(enabled=True).exists()
    servers = {name: _server(layers[name]) for name in {each.layer_name for each in environments}}
    return {
        each.pk: _facts(each, layers[each.layer_name], layers, services, servers, told=told) for each in environments
    }


def _server(layer: Layer) -> tuple[str, tuple[str, str]]:
    """URL of its server, and why it has none."""
    if layer.engine != Engine.POSTGRESQL:
        return "", ("", "")
    try:
        return server_url(layer), ("", "")
    except GaiaError as error:
        return "", (error.what, error.fix)


def _facts(
    environment: Environment,
    layer: Layer,
    layers: dict[str, Layer],
    services: dict[str, Service],
    servers: dict[str, tuple[str, tuple[str, str]]],
    *,
    told: bool,
) -> LayerFacts:
    url, problem = servers[layer.name]
    wanted = layout(environment, sorted(environment.stages.all(), key=lambda stage: stage.port), layer, url)
    urls = {stage: own["DATABASE_URL"] for stage, own in wanted.own.items() if "DATABASE_URL" in own}
    mcp = allowed(layer, [name for name, service in services.items() if service.kind == ServiceKind.MCP])
    needed = {name: _state(services[name]) for name in dict.fromkeys([*mcp, *layer.services]) if name in services}
    others = [other for other in layers.values() if other.production and other.pk != layer.pk and other.postgresql_url]
    return LayerFacts(
        name=layer.name,
        ports=layer.ports,
        foreign=tuple(other.ports for other in layers.values() if other.ports and other.pk != layer.pk),
        layout=wanted,
        urls=urls,
        problem=problem,
        needed=needed,
        unknown=tuple(name for name in layer.services if name not in services),
        shared=shared_services(layer),
        unwatched=Need.MONITORING in layer.needs and not told,
        production=tuple(postgres.check_url(other.postgresql_url) for other in others),
    )


def _state(service: Service) -> str:
    """Its state for people; `running` as long as it is on its way there."""
    if service.desired == Desired.UP and service.state in _AS_WANTED:
        return str(ServiceState.RUNNING)
    return str(service.get_state_display()).lower()
